//! Topics: what parses is a topic of its arrow, letter for letter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigia_protocol::topic::{Arrow, NodeName};

fuzz_target!(|text: &str| {
    for arrow in Arrow::ALL {
        if let Some(node) = arrow.parse(text) {
            assert_eq!(arrow.topic(&node), text);
        }
    }
    if let Some(node) = NodeName::new(text) {
        assert!(Arrow::ALL.into_iter().all(|arrow| arrow.parse(&arrow.topic(&node)) == Some(node.clone())));
    }
});
