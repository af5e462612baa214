//! How a reading is judged, as a table.

use vigia_protocol::profile::{Number, Profile, Quantity};
use vigia_protocol::quality::{Quality, Status};
use vigia_protocol::reading::{Flags, Reading};
use vigia_protocol::text::judge;
use vigia_protocol::time::Micros;

const SYNCED: u16 = 1;

#[test]
fn statuses_have_the_quality_of_their_two_top_bits() {
    for (code, quality, name) in [
        (0x0000, Quality::Good, "Good"),
        (0x00ba, Quality::Good, "Good"),
        (0x3fff, Quality::Good, "Good"),
        (0x4000, Quality::Uncertain, "Uncertain"),
        (0x4093, Quality::Uncertain, "UncertainSensorNotAccurate"),
        (0x4094, Quality::Uncertain, "UncertainEngineeringUnitsExceeded"),
        (0x7fff, Quality::Uncertain, "Uncertain"),
        (0x8000, Quality::Bad, "Bad"),
        (0x8031, Quality::Bad, "BadNoCommunication"),
        (0x808b, Quality::Bad, "BadDeviceFailure"),
        (0x808c, Quality::Bad, "BadSensorFailure"),
        (0xffff, Quality::Bad, "Bad"),
    ] {
        assert_eq!(Status(code).quality(), quality, "{code:#06x}");
        assert_eq!(Status(code).name(), name, "{code:#06x}");
    }
    assert!(Quality::Good < Quality::Uncertain && Quality::Uncertain < Quality::Bad);
}

#[test]
fn a_reading_is_as_good_as_its_worst_value() {
    const GOOD: Status = Status::GOOD;
    const ACCURACY: Status = Status::SENSOR_NOT_ACCURATE;
    const NO_ANSWER: Status = Status::NO_COMMUNICATION;
    const OUTSIDE: Status = Status::RANGE_EXCEEDED;
    const BROKEN: Status = Status::SENSOR_FAILURE;
    const UNSYNCED: Status = Status::UNCERTAIN;
    let other_good = Status(0x00ba);
    let nan = f64::NAN;
    let infinite = f64::INFINITY;
    for (flags, own, values, status, quality) in [
        (SYNCED, GOOD, [20.0, 1000.0, 50.0], [GOOD; 3], Quality::Good),
        (SYNCED, other_good, [20.0, 1000.0, 50.0], [other_good; 3], Quality::Good),
        // The bounds themselves are plausible.
        (SYNCED, GOOD, [-90.0, 1200.0, 100.0], [GOOD; 3], Quality::Good),
        (SYNCED, GOOD, [20.0, 1000.0, 100.5], [GOOD, GOOD, OUTSIDE], Quality::Uncertain),
        (SYNCED, GOOD, [-91.0, 299.0, -0.1], [OUTSIDE; 3], Quality::Uncertain),
        (SYNCED, GOOD, [nan, 1000.0, 50.0], [BROKEN, GOOD, GOOD], Quality::Bad),
        (SYNCED, GOOD, [20.0, infinite, -infinite], [GOOD, BROKEN, BROKEN], Quality::Bad),
        (SYNCED, GOOD, [nan, 1000.0, 101.0], [BROKEN, GOOD, OUTSIDE], Quality::Bad),
        // What the sensor says itself is more than what can be seen from outside.
        (SYNCED, ACCURACY, [20.0, 1000.0, 101.0], [ACCURACY; 3], Quality::Uncertain),
        (SYNCED, ACCURACY, [nan, 1000.0, 50.0], [BROKEN, ACCURACY, ACCURACY], Quality::Bad),
        (SYNCED, NO_ANSWER, [nan, nan, nan], [NO_ANSWER; 3], Quality::Bad),
        (SYNCED, NO_ANSWER, [20.0, 1000.0, 500.0], [NO_ANSWER; 3], Quality::Bad),
        // Without a clock everything is in doubt, unless there is worse to say.
        (0, GOOD, [20.0, 1000.0, 50.0], [UNSYNCED; 3], Quality::Uncertain),
        (0, GOOD, [20.0, 1000.0, 101.0], [UNSYNCED; 3], Quality::Uncertain),
        (0, GOOD, [nan, 1000.0, 50.0], [BROKEN, UNSYNCED, UNSYNCED], Quality::Bad),
        (0, ACCURACY, [20.0, 1000.0, 50.0], [ACCURACY; 3], Quality::Uncertain),
        (0, NO_ANSWER, [20.0, 1000.0, 50.0], [NO_ANSWER; 3], Quality::Bad),
        // Other flags, known or not, change nothing.
        (0xffff, GOOD, [20.0, 1000.0, 50.0], [GOOD; 3], Quality::Good),
        (0xfffe, GOOD, [20.0, 1000.0, 50.0], [UNSYNCED; 3], Quality::Uncertain),
    ] {
        let values = values.to_vec();
        let reading = Reading { time: Micros(0), flags: Flags(flags), status: own, values };
        let judged = judge(&Profile::climate(), &reading);
        assert_eq!((&judged.status[..], judged.quality), (&status[..], quality), "{reading:?}");
    }
}

#[test]
fn without_a_range_every_number_is_plausible() {
    let quantity =
        Quantity { name: "count".into(), unit: String::new(), number: Number::F64, range: None };
    let profile = Profile::new("meter", vec![quantity]).unwrap();
    for (value, quality) in
        [(f64::MAX, Quality::Good), (-0.0, Quality::Good), (f64::NAN, Quality::Bad)]
    {
        let reading = Reading {
            time: Micros(0),
            flags: Flags::CLOCK_SYNCED,
            status: Status::GOOD,
            values: vec![value],
        };
        assert_eq!(judge(&profile, &reading).quality, quality);
    }
}
