//! Text with a good seal around any bytes, and any bytes as they are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigia_fuzz::{TOPIC, stage_key};
use vigia_protocol::text::{Entry, Text, open};

fuzz_target!(|data: &[u8]| {
    let key = stage_key();
    assert!(open(&key, TOPIC, data).is_err(), "a seal out of nothing");
    let mut bytes = data.to_vec();
    let code: String = key.code(TOPIC, data).iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.extend_from_slice(format!("{{\"seal\":\"{code}\"}}\n").as_bytes());
    if let Ok(Text::Batch { lines, .. }) = open(&key, TOPIC, &bytes) {
        for line in lines {
            if let Ok(Entry::Reading(line)) = line {
                let _ = (line.time.to_string(), line.received.to_string());
            }
        }
    }
    let _ = key.open(TOPIC, data);
});
