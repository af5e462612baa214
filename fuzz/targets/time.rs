//! RFC 3339: what parses prints to what parses to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigia_protocol::position::LogId;
use vigia_protocol::time::Micros;

fuzz_target!(|text: &str| {
    if let Ok(time) = text.parse::<Micros>() {
        assert_eq!(time.to_string().parse(), Ok(time));
    }
    if let Ok(log) = text.parse::<LogId>() {
        assert_eq!(log.to_string().parse(), Ok(log));
    }
});
