//! Profiles from JSON, and readings by them: what is a profile travels and reads back, what is a reading too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigia_fuzz::{TOPIC, stage_key};
use vigia_protocol::batch::{BatchHead, Count};
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::position::{LogId, Position};
use vigia_protocol::profile::{Profile, Quantity};
use vigia_protocol::reading::Reading;
use vigia_protocol::text::{Text, TextWriter, open};

fuzz_target!(|data: (&str, &[u8])| {
    let (json, bytes) = data;
    let Ok(quantities) = serde_json::from_str::<Vec<Quantity>>(json) else { return };
    let Ok(profile) = Profile::new("fuzzed", quantities) else { return };
    let head = BatchHead {
        position: Position { log: LogId(1), n: 1 },
        before: Count::default(),
        has: Count::default(),
    };
    let mut writer = TextWriter::batch(&head, [&profile]);
    let mut long = bytes.to_vec();
    long.resize(profile.reading_bytes(), 0);
    let reading = Reading::decode(&profile, &long).expect("as long as the profile says");
    let mut encoded = Vec::new();
    reading.encode(&profile, &mut encoded);
    assert_eq!(encoded.len(), long.len());
    writer.reading((SensorId(1), Place { stream: 1, seq: 1 }), reading.time, None, &profile, &reading);
    let text = writer.seal(&stage_key(), TOPIC);
    match open(&stage_key(), TOPIC, &text) {
        Ok(Text::Batch { profiles, lines, .. }) => {
            assert_eq!(profiles, [profile]);
            assert!(lines.into_iter().all(|line| line.is_ok()));
        }
        other => panic!("{other:?}"),
    }
});
