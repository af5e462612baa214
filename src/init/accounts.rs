//! The MQTT accounts of a new site: which topics each role needs, and what people are shown.

use std::collections::BTreeMap;

use vigia_kit::secret_hash::SecretHash;
use vigia_kit::site::{Password, Role};
use vigia_kit::users::{User, UserName, Users};
use vigia_protocol::filter::Filter;
use vigia_protocol::topic::{self, Arrow};

use super::INSPECTOR;

/// One account per role, with the topics it needs and no others, and the inspector's, which publishes
/// nothing.
///
/// # Panics
/// If a password is missing.
pub fn of(passwords: &BTreeMap<String, Password>) -> Users {
    let mut users = Users::default();
    for role in Role::ALL {
        let (name, user) = of_role(role, &passwords[role.name()]);
        users.insert(name, user);
    }
    let shown = vec![
        topic::sensor_filter(),
        Arrow::Text.filter(),
        topic::alarm_filter(),
        topic::quarantine_filter(),
        topic::status_filter(),
        topic::sys_filter(),
    ];
    let (name, user) = account(INSPECTOR, &passwords[INSPECTOR], Vec::new(), shown);
    users.insert(name, user);
    users
}

/// The account of one role.
pub fn of_role(role: Role, password: &Password) -> (UserName, User) {
    let (mut publish, mut subscribe) = topics(role);
    // What it says of itself its health check reads.
    publish.push(topic::role_status_filter(role.name()));
    subscribe.push(topic::role_status_filter(role.name()));
    account(role.name(), password, publish, subscribe)
}

fn account(
    name: &str,
    password: &Password,
    publish: Vec<String>,
    subscribe: Vec<String>,
) -> (UserName, User) {
    let user = User {
        secret: Some(SecretHash::of_random(password)),
        publish: filters(publish),
        subscribe: filters(subscribe),
        messages_per_second: None,
    };
    (UserName::new(name).expect("names of roles are names of users"), user)
}

/// What a role publishes, besides its status, and what it subscribes to.
fn topics(role: Role) -> (Vec<String>, Vec<String>) {
    match role {
        Role::Broker => (
            vec![Arrow::Raw.filter(), Arrow::Journal.filter(), topic::watchdog_filter()],
            vec![Arrow::Stored.filter(), topic::watchdog_filter()],
        ),
        Role::Verify => (vec![Arrow::Verified.filter()], vec![Arrow::Raw.filter()]),
        Role::Transform => (
            vec![Arrow::Text.filter(), topic::sensor_filter(), topic::quarantine_filter()],
            vec![Arrow::Verified.filter()],
        ),
        Role::Store => {
            let works = [Arrow::Text.filter(), Arrow::Journal.filter()];
            let shows = [topic::alarm_filter(), topic::status_filter()];
            (vec![Arrow::Stored.filter()], works.into_iter().chain(shows).collect())
        }
        Role::Alert => {
            (vec![topic::alarm_filter()], vec![Arrow::Text.filter(), topic::alarm_filter()])
        }
        Role::Modbus => (Vec::new(), vec![Arrow::Text.filter(), topic::alarm_filter()]),
    }
}

fn filters(texts: Vec<String>) -> Vec<Filter> {
    let parse = |text: &String| Filter::parse(text).expect("the pipeline's filters are filters");
    texts.iter().map(parse).collect()
}
