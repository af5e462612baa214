//! What is written as text or as a batch reads back as itself, and nothing else does.

use proptest::prelude::*;
use vigia_protocol::batch::{
    BadMessage, BatchHead, Bytes, Content, Count, Marker, Message, QuarantineReason, RawFrame,
    RawFrames, VerifiedFrame, VerifiedFrames, decode, decode_borrowed, decode_head, encode,
};
use vigia_protocol::header::{Place, SEALED_OVERHEAD, SensorId};
use vigia_protocol::keys::Secret;
use vigia_protocol::limits::{
    BATCH_TEXT_BYTES, MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES, MAX_READINGS_PER_FRAME, text_bound,
};
use vigia_protocol::position::{LogId, Position};
use vigia_protocol::profile::{Number, Profile, Quantity};
use vigia_protocol::quality::{Quality, Status};
use vigia_protocol::reading::{Flags, Reading};
use vigia_protocol::sealed::GapReason;
use vigia_protocol::stage::StageKey;
use vigia_protocol::text::{BadText, Entry, Text, TextWriter, judge, open};
use vigia_protocol::time::Micros;

const TOPIC: &str = "vigia/v1/text/here";

fn key() -> StageKey {
    StageKey::new(Secret::new([5; 32]))
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9_]{1,24}"
}

fn finite() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("finite", |value| value.is_finite())
}

fn profile() -> impl Strategy<Value = Profile> {
    let range =
        prop_oneof![Just(None), (finite(), finite()).prop_map(|(a, b)| (a < b).then_some([a, b])),];
    let quantity = ("[ -~°µΩ]{0,12}", any::<bool>(), range);
    (name(), prop::collection::btree_set(name(), 1..=16), prop::collection::vec(quantity, 16))
        .prop_map(|(profile, names, quantities)| {
            let quantities = names.into_iter().zip(quantities);
            let quantities = quantities.map(|(name, (unit, single, range))| Quantity {
                name,
                unit,
                number: if single { Number::F32 } else { Number::F64 },
                range,
            });
            Profile::new(&profile, quantities.collect()).unwrap()
        })
}

/// Any bits at all: also what is no number.
fn reading(profile: &Profile, bits: &[u64], time: i64, flags: u16, status: u16) -> Reading {
    let values =
        profile.quantities().iter().zip(bits).map(|(quantity, bits)| match quantity.number {
            Number::F32 => f64::from(f32::from_bits(*bits as u32)),
            Number::F64 => f64::from_bits(*bits),
        });
    Reading {
        time: Micros(time),
        flags: Flags(flags),
        status: Status(status),
        values: values.collect(),
    }
}

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(i64::MIN),
        Just(i64::MAX),
        Just(0),
        any::<i64>(),
        1_000_000_000_000_000..2_000_000_000_000_000i64
    ]
}

/// The time that a text can say.
fn said(time: i64) -> Micros {
    Micros(time).to_string().parse().unwrap()
}

fn head(n: u64) -> BatchHead {
    BatchHead {
        position: Position { log: LogId(u64::MAX - 7), n },
        before: Count { readings: n, frames: 1 },
        has: Count { readings: 2, frames: u64::MAX },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn a_batch_reads_back_as_itself(
        profile in profile(),
        bits in prop::collection::vec(prop::collection::vec(any::<u64>(), 16), 1..4),
        (time, received) in (any_time(), any_time()),
        (flags, status) in (any::<u16>(), prop_oneof![Just(0), any::<u16>()]),
        (sensor, stream, seq, n) in (any::<i16>(), any::<u32>(), any::<u64>(), any::<u64>()),
        frame in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let who = (SensorId(sensor), Place { stream, seq });
        let readings: Vec<Reading> =
            bits.iter().map(|bits| reading(&profile, bits, time, flags, status)).collect();
        let mut writer = TextWriter::batch(&head(n), [&profile]);
        for (index, reading) in readings.iter().enumerate() {
            let first = (index == 0).then_some(readings.len() as u16);
            writer.reading(who, Micros(received), first, &profile, reading);
        }
        writer.gap(who.0, who.1, 65535, Micros(received), GapReason::SpoolDamaged);
        writer.quarantine(who, 3, Micros(received), QuarantineReason::Malformed, &frame);
        let bytes = writer.seal(&key(), TOPIC);

        let text = open(&key(), TOPIC, &bytes).unwrap();
        let Text::Batch { head: read, profiles, lines } = text else { panic!("not a batch") };
        prop_assert_eq!(read, head(n));
        prop_assert_eq!(&profiles, std::slice::from_ref(&profile));
        let entries: Vec<Entry<'_>> = lines.collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(entries.len(), readings.len() + 2);
        for (index, (entry, reading)) in entries.iter().zip(&readings).enumerate() {
            let Entry::Reading(line) = entry else { panic!("not a reading: {entry:?}") };
            prop_assert_eq!((line.sensor, line.stream, line.seq), (who.0, stream, seq));
            prop_assert_eq!((line.time, line.received), (said(time), said(received)));
            prop_assert_eq!((line.flags, line.profile), (flags, profile.name()));
            prop_assert_eq!(line.frame, (index == 0).then_some(readings.len() as u16));
            let judged = judge(&profile, reading);
            prop_assert_eq!(line.quality, judged.quality);
            let codes: Vec<u16> = judged.status.iter().map(|status| status.0).collect();
            prop_assert_eq!(&line.status, &if judged.quality == Quality::Good { vec![] } else { codes });
            for ((quantity, value), (name, shown)) in
                profile.quantities().iter().zip(&reading.values).zip(&line.values.0)
            {
                prop_assert_eq!(&quantity.name, name);
                match (shown, quantity.number) {
                    (None, _) => prop_assert!(!value.is_finite() && judged.quality == Quality::Bad),
                    (Some(shown), Number::F32) => {
                        prop_assert_eq!((*shown as f32).to_bits(), (*value as f32).to_bits());
                    }
                    (Some(shown), Number::F64) => prop_assert_eq!(shown.to_bits(), value.to_bits()),
                }
            }
        }
        let Entry::Gap(gap) = &entries[readings.len()] else { panic!("not a gap") };
        prop_assert_eq!((gap.gap, gap.count, gap.received), (GapReason::SpoolDamaged, 65535, said(received)));
        let Entry::Quarantine(line) = &entries[readings.len() + 1] else { panic!("not quarantined") };
        prop_assert_eq!((line.quarantine, line.count), (QuarantineReason::Malformed, 3));
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        prop_assert_eq!(line.frame, hex);
    }

    #[test]
    fn a_marker_reads_back_as_itself(
        session in any::<u64>(),
        number in any::<u64>(),
        logs in prop::collection::vec(any::<u64>().prop_map(LogId), 0..70),
    ) {
        let marker = Marker { session, number, logs };
        let bytes = TextWriter::marker(&marker).seal(&key(), TOPIC);
        let Text::Marker(read) = open(&key(), TOPIC, &bytes).unwrap() else { panic!("not a marker") };
        prop_assert_eq!(&read, &marker);
        let message = Message::<RawFrames<'_>>::Marker(marker);
        let bytes = encode(&message);
        prop_assert_eq!(decode_borrowed::<Message<RawFrames<'_>>>(&bytes), Ok(message));
        prop_assert_eq!(decode_head(&bytes), Ok(None));
    }

    #[test]
    fn no_seal_fits_anything_else(bit in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()) {
        let mut writer = TextWriter::batch(&head(3), [&Profile::climate()]);
        let climate = reading(&Profile::climate(), &[0, 0, 0], 0, 1, 0);
        writer.reading((SensorId(1), Place { stream: 1, seq: 1 }), Micros(0), Some(1), &Profile::climate(), &climate);
        let bytes = writer.seal(&key(), TOPIC);
        let is_refused = |topic: &str, bytes: &[u8]| matches!(open(&key(), topic, bytes), Err(BadText::Seal(_)));
        prop_assert!(!is_refused(TOPIC, &bytes));
        let at = bit.index(bytes.len() * 8);
        let mut flipped = bytes.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        prop_assert!(is_refused(TOPIC, &flipped));
        prop_assert!(is_refused(TOPIC, &bytes[..cut.index(bytes.len())]));
        prop_assert!(is_refused("vigia/v1/text/elsewhere", &bytes));
        let other = StageKey::new(Secret::new([6; 32]));
        prop_assert!(open(&other, TOPIC, &bytes).is_err());

        let sealed = key().seal(TOPIC, b"payload".to_vec());
        prop_assert_eq!(key().open(TOPIC, &sealed), Ok(&b"payload"[..]));
        let at = bit.index(sealed.len() * 8);
        let mut flipped = sealed.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        prop_assert!(key().open(TOPIC, &flipped).is_err());
        prop_assert!(key().open(TOPIC, &sealed[..cut.index(sealed.len())]).is_err());
        prop_assert!(key().open("vigia/v1/text/her", &sealed).is_err());
    }

    #[test]
    fn no_frame_becomes_more_text_than_it_was_counted_for(
        profile in profile(),
        count in 1..=MAX_READINGS_PER_FRAME,
        bits in prop::collection::vec(any::<u64>(), 16),
        (time, received) in (any_time(), any_time()),
        (flags, status) in (any::<u16>(), any::<u16>()),
        (sensor, stream, seq) in (any::<i16>(), any::<u32>(), any::<u64>()),
    ) {
        let bytes = SEALED_OVERHEAD + usize::from(count) * profile.reading_bytes();
        prop_assume!(bytes <= MAX_FRAME_BYTES);
        let reading = reading(&profile, &bits, time, flags, status);
        let who = (SensorId(sensor), Place { stream, seq });
        assert_bound(&profile, &reading, who, count, Micros(received), bytes);
    }

    #[test]
    fn binary_batches_read_back_as_themselves(
        frames in prop::collection::vec((any::<i64>(), prop::collection::vec(any::<u8>(), 0..200)), 0..6),
        n in any::<u64>(),
        (count, reason) in (any::<u16>(), any::<bool>()),
        cut in any::<prop::sample::Index>(),
    ) {
        let raw: RawFrames<'_> =
            frames.iter().map(|(time, bytes)| RawFrame { received: Micros(*time), bytes }).collect();
        let message = Message::Batch(head(n), raw);
        let bytes = encode(&message);
        prop_assert_eq!(decode_head(&bytes), Ok(Some(head(n))));
        prop_assert_eq!(decode_borrowed::<Message<RawFrames<'_>>>(&bytes), Ok(message));
        // What ends early is not taken for less.
        let short = &bytes[..cut.index(bytes.len())];
        prop_assert!(decode_borrowed::<Message<RawFrames<'_>>>(short).is_err());

        let verified: VerifiedFrames<'_> = frames.iter().map(|(time, bytes)| VerifiedFrame {
            sensor: SensorId(count as i16),
            place: Place { stream: 1, seq: n },
            count,
            received: Micros(*time),
            content: match (bytes.len() % 3, reason) {
                (0, _) => Content::Gap(GapReason::Removed),
                (1, true) => Content::Refused(QuarantineReason::BadBox, bytes),
                _ => Content::Readings(Bytes(bytes.into())),
            },
        }).collect();
        let message = Message::Batch(head(n), verified);
        let bytes = encode(&message);
        prop_assert_eq!(decode_head(&bytes), Ok(Some(head(n))));
        prop_assert_eq!(decode_borrowed::<Message<VerifiedFrames<'_>>>(&bytes), Ok(message));
    }

    #[test]
    fn a_head_is_read_where_the_whole_is_and_only_there(mut bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        if let Ok(message) = decode_borrowed::<Message<RawFrames<'_>>>(&bytes) {
            let head = match message {
                Message::Batch(head, _) => Some(head),
                Message::Marker(_) => None,
            };
            prop_assert_eq!(decode_head(&bytes), Ok(head));
        }
    }

    #[test]
    fn every_time_has_a_text_that_reads_back(time in any_time()) {
        let text = Micros(time).to_string();
        prop_assert!(text.ends_with('Z') && text.len() <= 30, "{}", text);
        prop_assert_eq!(said(time).to_string(), text);
        // Years -9999 to 9999.
        if time.unsigned_abs() < 250_000_000_000_000_000 {
            prop_assert_eq!(said(time), Micros(time));
        }
    }
}

fn assert_bound(
    profile: &Profile,
    reading: &Reading,
    who: (SensorId, Place),
    count: u16,
    received: Micros,
    frame_bytes: usize,
) {
    let written = |write: &dyn Fn(&mut TextWriter)| {
        let mut writer = TextWriter::batch(&head(0), []);
        write(&mut writer);
        let empty = TextWriter::batch(&head(0), []).seal(&key(), TOPIC).len();
        writer.seal(&key(), TOPIC).len() - empty
    };
    let understood = written(&|writer| {
        for index in 0..count {
            writer.reading(who, received, (index == 0).then_some(count), profile, reading);
        }
    });
    let quarantined = written(&|writer| {
        let frame = vec![0xff; frame_bytes];
        writer.quarantine(who, count, received, QuarantineReason::ProfileMismatch, &frame);
    });
    let bound = text_bound(frame_bytes, count);
    assert!(understood <= bound, "{understood} > {bound} for {count} of {:?}", profile.name());
    assert!(quarantined <= bound, "{quarantined} > {bound} in quarantine");
}

#[test]
fn the_longest_lines_keep_within_their_bound() {
    let who = (SensorId(i16::MIN), Place { stream: u32::MAX, seq: u64::MAX });
    for number in [Number::F32, Number::F64] {
        let value = match number {
            Number::F32 => f64::from(-1.175_494_2e-38_f32),
            Number::F64 => -2.225_073_858_507_201_4e-308,
        };
        for quantities in 1..=16u8 {
            let named = |index: u8| Quantity {
                name: format!("{}{}", "n".repeat(23), char::from(b'a' + index)),
                unit: String::new(),
                number,
                range: None,
            };
            let profile =
                Profile::new(&"p".repeat(24), (0..quantities).map(named).collect()).unwrap();
            let reading = Reading {
                time: Micros(i64::MIN),
                flags: Flags(u16::MAX - 1),
                status: Status(0x7fff),
                values: vec![value; usize::from(quantities)],
            };
            for count in 1..=MAX_READINGS_PER_FRAME {
                let bytes = SEALED_OVERHEAD + usize::from(count) * profile.reading_bytes();
                if bytes <= MAX_FRAME_BYTES {
                    assert_bound(&profile, &reading, who, count, Micros(i64::MIN), bytes);
                }
            }
        }
    }
    // A GAP counts readings that it does not carry.
    let mut writer = TextWriter::batch(&head(0), []);
    writer.gap(who.0, who.1, u16::MAX, Micros(i64::MIN), GapReason::SpoolDamaged);
    let line = writer.seal(&key(), TOPIC).len()
        - TextWriter::batch(&head(0), []).seal(&key(), TOPIC).len();
    assert!(line <= text_bound(SEALED_OVERHEAD + 2, u16::MAX));
    assert!(text_bound(SEALED_OVERHEAD + 2, u16::MAX) < 1024);
}

#[test]
fn the_longest_batch_fits_a_message() {
    // Whatever readings the last frame has, and the first and last line of the text.
    let most =
        (1..=MAX_READINGS_PER_FRAME).map(|count| text_bound(MAX_FRAME_BYTES, count)).max().unwrap();
    let frameless = TextWriter::batch(&head(u64::MAX), []).seal(&key(), TOPIC).len();
    assert!(BATCH_TEXT_BYTES + most + frameless < MAX_PAYLOAD_BYTES);
}

#[test]
fn other_versions_are_named() {
    let good = encode(&Message::<RawFrames<'_>>::Batch(head(1), vec![]));
    let mut newer = good.clone();
    newer[0] = 2;
    assert_eq!(decode::<Marker>(&newer), Err(BadMessage::Version(2)));
    assert_eq!(decode_head(&newer), Err(BadMessage::Version(2)));
    assert_eq!(decode_head(&[]), Err(BadMessage::Undecodable));
    assert_eq!(decode_head(&good[..5]), Err(BadMessage::Undecodable));
    assert_eq!(decode::<Marker>(&[1, 0xff]), Err(BadMessage::Undecodable));

    let sealed_line = |text: &str| {
        let code: String =
            key().code(TOPIC, text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{text}{{\"seal\":\"{code}\"}}\n").into_bytes()
    };
    for (text, problem) in [
        ("{\"vigia\":\"text/2\"}\n", "version \"text/2\""),
        ("{\"vigia\":\"text/1\"}\n", "neither log nor marker"),
        ("{\"vigia\":\"text/1\",\"later\":1}\n", "unknown field"),
        ("", "no line end"),
    ] {
        let BadText::Line { line, problem: named } =
            open(&key(), TOPIC, &sealed_line(text)).unwrap_err()
        else {
            panic!("the seal fits");
        };
        assert_eq!(line, 1);
        assert!(named.contains(problem), "{named}");
    }
}

#[test]
fn a_profile_that_could_not_travel_is_none() {
    let with = |range| {
        Profile::new(
            "p",
            vec![Quantity { name: "q".into(), unit: String::new(), number: Number::F32, range }],
        )
    };
    assert!(with(Some([0.0, 1.0])).is_ok());
    for range in [[f64::NEG_INFINITY, 0.0], [0.0, f64::INFINITY], [f64::NAN, 0.0], [1.0, 1.0]] {
        assert!(with(Some(range)).is_err(), "{range:?}");
    }
}
