//! What one MQTT user may do.

use std::num::NonZeroU32;

use vigia_kit::secret_hash::SecretHash;
use vigia_kit::users::{User, UserName};
use vigia_protocol::filter::Filter;

/// An account, as the file of accounts had it when it was read.
#[derive(Debug)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// How many packets it may send a second; `None`: the gate's default, or none for our own roles.
    pub messages_per_second: Option<NonZeroU32>,
    pub(super) secret: Option<SecretHash>,
    publish: Vec<Filter>,
    subscribe: Vec<Filter>,
}

impl Account {
    pub(super) fn new(name: &UserName, user: &User) -> Self {
        Self {
            name: name.to_string(),
            messages_per_second: user.messages_per_second,
            secret: user.secret.clone(),
            publish: user.publish.clone(),
            subscribe: user.subscribe.clone(),
        }
    }

    /// Whether it may publish to this topic, now or as a will.
    pub fn may_publish(&self, topic: &str) -> bool {
        self.publish.iter().any(|allowed| allowed.matches(topic))
    }

    /// What it gets of a subscription to `wanted`: filters that match exactly the topics that it wants and
    /// may receive, none of them covered by another, in the order of its permissions. None: it is not
    /// authorized.
    pub fn narrowed(&self, wanted: &Filter) -> Vec<Filter> {
        let mut narrowed: Vec<Filter> = Vec::new();
        for allowed in &self.subscribe {
            if let Some(common) = wanted.intersection(allowed)
                && !narrowed.iter().any(|filter| filter.covers(&common))
            {
                narrowed.retain(|filter| !common.covers(filter));
                narrowed.push(common);
            }
        }
        narrowed
    }

    /// Whether the secret is still the one of `earlier`: who logged in with that one may stay.
    pub fn has_secret_of(&self, earlier: &Self) -> bool {
        self.secret == earlier.secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(publish: &[&str], subscribe: &[&str]) -> Account {
        let filters =
            |texts: &[&str]| texts.iter().map(|text| Filter::parse(text).unwrap()).collect();
        let user = User {
            secret: None,
            publish: filters(publish),
            subscribe: filters(subscribe),
            messages_per_second: None,
        };
        Account::new(&UserName::new("somebody").unwrap(), &user)
    }

    #[test]
    fn nothing_is_allowed_that_is_not_permitted() {
        let nobody = account(&[], &[]);
        assert!(
            !nobody.may_publish("a") && nobody.narrowed(&Filter::parse("#").unwrap()).is_empty()
        );
        let somebody = account(&["a/+", "b/#"], &[]);
        for (topic, allowed) in [
            ("a/x", true),
            ("a", false),
            ("a/x/y", false),
            ("b", true),
            ("b/x/y", true),
            ("c", false),
        ] {
            assert_eq!(somebody.may_publish(topic), allowed, "{topic}");
        }
    }

    #[test]
    fn a_subscription_is_narrowed_to_what_is_permitted() {
        let permitted = ["a/+", "b/#", "b/x", "+/x", "$SYS/#"];
        let somebody = account(&[], &permitted);
        let cases: [(&str, &[&str]); 8] = [
            ("#", &["a/+", "b/#", "+/x"]),
            ("+/x", &["+/x"]),
            ("a/#", &["a/+"]),
            ("b/x", &["b/x"]),
            ("b/+", &["b/+"]),
            ("c/#", &["c/x"]),
            ("c/y", &[]),
            ("$SYS/+", &["$SYS/+"]),
        ];
        for (wanted, expected) in cases {
            let narrowed = somebody.narrowed(&Filter::parse(wanted).unwrap());
            let texts: Vec<&str> = narrowed.iter().map(Filter::as_str).collect();
            assert_eq!(texts, expected, "{wanted}");
        }
    }

    #[test]
    fn the_order_of_permissions_makes_no_difference_to_what_is_covered() {
        let wanted = Filter::parse("#").unwrap();
        for permitted in [["a/#", "a/b", "a/#"], ["a/b", "a/#", "a/#"], ["a/b", "a/b", "a/#"]] {
            let narrowed = account(&[], &permitted).narrowed(&wanted);
            assert_eq!(narrowed, [Filter::parse("a/#").unwrap()], "{permitted:?}");
        }
    }
}
