//! Topic filters: what two of them say about a topic, and about each other, agrees.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigia_protocol::filter::{Filter, check_topic};

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(3, '\n');
    let (Some(a), Some(b), Some(topic)) = (lines.next(), lines.next(), lines.next()) else { return };
    let (Ok(a), Ok(b), Ok(())) = (Filter::parse(a), Filter::parse(b), check_topic(topic)) else { return };
    let both = a.matches(topic) && b.matches(topic);
    let common = a.intersection(&b);
    assert_eq!(common.as_ref().is_some_and(|common| common.matches(topic)), both);
    assert!(common.is_none_or(|common| a.covers(&common) && b.covers(&common)));
    assert!(!a.covers(&b) || a.matches(topic) || !b.matches(topic));
});
