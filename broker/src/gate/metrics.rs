//! The gate's numbers for Prometheus.

use vigia_kit::metrics::Page;

use super::Shared;

/// Adds them to the broker's page.
pub fn write(shared: &Shared, page: &mut Page) {
    let counters = &shared.counters;
    let (online, offline) = shared.sessions.count();
    let (retained, retained_bytes) = shared.retained.size();
    page.gauge("vigia_gate_sessions", "MQTT sessions, with a connection and kept without one.")
        .with("state", "online", online)
        .with("state", "offline", offline);
    page.gauge("vigia_gate_subscriptions", "Subscriptions of all sessions.")
        .is(counters.subscriptions.get());
    page.gauge("vigia_gate_retained_messages", "Topics with a retained message.").is(retained);
    page.gauge("vigia_gate_retained_bytes", "Bytes of all retained messages.").is(retained_bytes);
    for (name, help, count) in [
        ("connections", "MQTT connections that logged in.", &counters.connections),
        (
            "connections_refused",
            "Connections closed unheard: too many.",
            &counters.connections_refused,
        ),
        ("logins_refused", "CONNECTs with a wrong or missing identity.", &counters.logins_refused),
        ("violations", "Connections closed because what came was not MQTT.", &counters.violations),
        ("too_slow", "Connections closed because their client did not read.", &counters.too_slow),
        ("received_bytes", "Bytes from clients.", &counters.bytes_received),
        ("sent_bytes", "Bytes to clients.", &counters.bytes_sent),
        ("received_packets", "MQTT packets from clients.", &counters.packets_received),
        (
            "dropped_messages",
            "Messages that a subscriber was too slow or too small for.",
            &counters.publish_dropped,
        ),
    ] {
        page.counter(&format!("vigia_gate_{name}_total"), help).is(count.get());
    }
    for (name, help, refusals) in [
        ("publish", "Messages refused.", &counters.publish_refused),
        ("subscribe", "Subscriptions refused.", &counters.subscribe_refused),
    ] {
        let mut family = page.counter(&format!("vigia_gate_{name}_refused_total"), help);
        for (reason, count) in refusals.all() {
            family.with("reason", reason, count);
        }
    }
    let users = counters.users.all();
    let mut family =
        page.counter("vigia_gate_user_published_total", "Messages by their publisher.");
    for (user, count) in &users {
        family.with("user", user, count.published.get());
    }
    let mut family = page.counter("vigia_gate_user_delivered_total", "Messages by their receiver.");
    for (user, count) in &users {
        family.with("user", user, count.delivered.get());
    }
}
