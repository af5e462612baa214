//! What the server shows: of each sensor the newest reading and the alarms.
//!
//! A request sees one moment: it is answered under one lock, so it never mixes two readings. A reading that is not newer
//! than the one shown changes nothing. The age is computed when it is read. Until a sensor's first reading its
//! values are no numbers, and bad.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::profile::{Number, Profile};
use vigia_protocol::quality::{Quality, Status};
use vigia_protocol::time::Micros;

use crate::limits::MAX_ALARMS_OF_A_SENSOR;
use crate::register::Span;
use crate::server::frame::exception::ILLEGAL_ADDRESS;
use crate::server::layout::{
    AGE, ALARMS, BLOCK, EACH_STATUS, HIGH, LOW, NO_AGE, QUALITY, QUANTITIES, RECEIVED, SEQ, STATUS,
    TIME, VALUE, VALUES, sensor_at,
};

/// BadWaitingForInitialData of OPC UA: nothing came yet.
pub const WAITING: Status = Status(0x8032);

/// All sensors.
#[derive(Debug, Default)]
pub struct Image(RwLock<HashMap<SensorId, Sensor>>);

#[derive(Debug, Default)]
struct Sensor {
    profile: Option<Arc<Profile>>,
    newest: Option<Newest>,
    alarms: BTreeMap<String, Alarm>,
}

/// A sensor's newest reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Newest {
    /// Where it stands; a later place is newer.
    pub place: Place,
    /// By the sensor's clock.
    pub time: Micros,
    /// By the site's clock.
    pub received: Micros,
    /// Whether the sensor's clock was right: else the age counts from when the site had it.
    pub is_clock_synced: bool,
    /// One for each quantity.
    pub status: Vec<Status>,
    /// One for each quantity; not a number where there is none.
    pub values: Vec<f64>,
}

/// An alarm that is raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Of which quantity.
    pub quantity: String,
    /// Above a limit, or below.
    pub side: Side,
}

/// Which limit is exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The value is above the high one.
    High,
    /// The value is below the low one.
    Low,
}

impl Image {
    /// Of these sensors, without readings.
    pub fn new(sensors: impl IntoIterator<Item = (SensorId, Arc<Profile>)>) -> Self {
        let sensors = sensors
            .into_iter()
            .map(|(id, profile)| (id, Sensor { profile: Some(profile), ..Sensor::default() }));
        Self(RwLock::new(sensors.collect()))
    }

    /// A reading came. A sensor that was not there is from now on.
    pub fn update(&self, sensor: SensorId, profile: &Arc<Profile>, newest: Newest) {
        let mut sensors = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let known = sensors.entry(sensor).or_default();
        if known.newest.as_ref().is_some_and(|shown| newest.place <= shown.place) {
            return;
        }
        known.profile = Some(Arc::clone(profile));
        known.newest = Some(newest);
    }

    /// An alarm was raised, or with `None` has ended.
    pub fn alarm(&self, sensor: SensorId, rule: &str, alarm: Option<Alarm>) {
        let mut sensors = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let alarms = &mut sensors.entry(sensor).or_default().alarms;
        match alarm {
            Some(alarm) if alarms.len() < MAX_ALARMS_OF_A_SENSOR || alarms.contains_key(rule) => {
                alarms.insert(rule.to_owned(), alarm);
            }
            Some(_) => tracing::warn!(%sensor, rule, "too many alarms of one sensor are raised"),
            None => {
                alarms.remove(rule);
            }
        }
    }

    /// What stands in a unit's registers at this moment.
    ///
    /// # Errors
    /// The exception's code, if some of them are no sensor's.
    pub fn read(&self, unit: u8, span: Span, now: Micros) -> Result<Vec<u16>, u8> {
        let sensors = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut words = Vec::with_capacity(span.count().into());
        let mut address = u32::from(span.start());
        while address < span.end() {
            // Below the end, which is at most 65,536.
            let (id, offset) = sensor_at(unit, address as u16).ok_or(ILLEGAL_ADDRESS)?;
            let block = sensors.get(&id).ok_or(ILLEGAL_ADDRESS)?.block(now);
            let end = (u32::from(offset) + span.end() - address).min(BLOCK.into());
            words.extend(&block.0[usize::from(offset)..end as usize]);
            address += end - u32::from(offset);
        }
        Ok(words)
    }
}

impl Sensor {
    fn block(&self, now: Micros) -> Block {
        let mut block = Block([0; BLOCK as usize]);
        let quantities = self.profile.as_ref().map_or(&[][..], |profile| profile.quantities());
        block.put_u16(QUANTITIES, quantities.len() as u16);
        block.put_u16(ALARMS, self.alarms.len() as u16);
        for alarm in self.alarms.values() {
            let bit = quantities.iter().position(|quantity| quantity.name == alarm.quantity);
            let at = if alarm.side == Side::High { HIGH } else { LOW };
            block.0[usize::from(at)] |= bit.map_or(0, |bit| 1 << bit);
        }
        let newest = self.newest.as_ref();
        let status = |index: usize| {
            newest.map_or(WAITING, |newest| newest.status.get(index).copied().unwrap_or_default())
        };
        let mut worst = if newest.is_some() { Status::GOOD } else { WAITING };
        for (index, quantity) in quantities.iter().enumerate() {
            let (at, status) = (index as u16, status(index));
            if status.quality() > worst.quality() {
                worst = status;
            }
            block.put_u16(EACH_STATUS + at, status.0);
            let value = newest.and_then(|newest| newest.values.get(index).copied());
            let value = value.unwrap_or(f64::NAN);
            match quantity.number {
                Number::F32 => block.put(VALUES + VALUE * at, &(value as f32).to_be_bytes()),
                Number::F64 => block.put(VALUES + VALUE * at, &value.to_be_bytes()),
            }
        }
        block.put_u16(STATUS, worst.0);
        block.put_u16(
            QUALITY,
            match worst.quality() {
                Quality::Good => 0,
                Quality::Uncertain => 1,
                Quality::Bad => 2,
            },
        );
        block.put(AGE, &newest.map_or(NO_AGE, |newest| newest.age(now)).to_be_bytes());
        if let Some(newest) = newest {
            block.put_time(TIME, newest.time);
            block.put_time(RECEIVED, newest.received);
            block.put(SEQ, &newest.place.seq.to_be_bytes());
        }
        block
    }
}

impl Newest {
    /// Whole seconds.
    fn age(&self, now: Micros) -> u32 {
        let since = if self.is_clock_synced { self.time } else { self.received };
        let seconds = now.0.saturating_sub(since.0).max(0) / 1_000_000;
        u32::try_from(seconds).unwrap_or(NO_AGE).min(NO_AGE - 1)
    }
}

/// A sensor's registers.
struct Block([u16; BLOCK as usize]);

impl Block {
    fn put_u16(&mut self, at: u16, value: u16) {
        self.0[usize::from(at)] = value;
    }

    fn put(&mut self, at: u16, bytes: &[u8]) {
        for (word, pair) in self.0[usize::from(at)..].iter_mut().zip(bytes.chunks_exact(2)) {
            *word = u16::from_be_bytes([pair[0], pair[1]]);
        }
    }

    /// Seconds since 1970 and the microseconds within. What u32 cannot say is shown as the nearest.
    fn put_time(&mut self, at: u16, time: Micros) {
        let seconds = time.0.div_euclid(1_000_000).clamp(0, u32::MAX.into()) as u32;
        self.put(at, &seconds.to_be_bytes());
        self.put(at + 2, &(time.0.rem_euclid(1_000_000) as u32).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use vigia_protocol::profile::Quantity;

    use super::*;
    use crate::encoding::{Encoding, Order, Raw};
    use crate::register::{Cells, Kind};
    use crate::server::layout::fields;

    const SENSOR: SensorId = SensorId(7);
    const NOW: Micros = Micros(1_800_000_000_000_000);

    /// A single, a double and a single.
    fn boiler() -> Arc<Profile> {
        let quantity = |name: &str, number| Quantity {
            name: name.to_owned(),
            unit: String::new(),
            number,
            range: None,
        };
        let quantities = vec![
            quantity("flow", Number::F32),
            quantity("energy", Number::F64),
            quantity("return", Number::F32),
        ];
        Arc::new(Profile::new("boiler", quantities).unwrap())
    }

    fn newest(seq: u64, values: [f64; 3]) -> Newest {
        Newest {
            place: Place { stream: 1, seq },
            time: Micros(NOW.0 - 5_500_000),
            received: Micros(NOW.0 - 2_250_000),
            is_clock_synced: true,
            status: vec![Status::GOOD; 3],
            values: values.to_vec(),
        }
    }

    fn span(start: u16, count: u16) -> Span {
        Span::new(Kind::Input, start, count).unwrap()
    }

    /// A field of the block, as the printed map says it is to be read.
    fn field(image: &Image, profile: &Profile, name: &str) -> Raw {
        let field = fields(profile).into_iter().find(|field| field.name == name).unwrap();
        let words = image.read(1, span(700 + field.offset, field.what.count()), NOW).unwrap();
        Encoding::Number(field.what, Order::Abcd).read(Cells::Words(&words)).unwrap()
    }

    #[test]
    fn before_the_first_reading_all_is_bad_and_no_number() {
        let profile = boiler();
        let image = Image::new([(SENSOR, Arc::clone(&profile))]);
        let field = |name| field(&image, &profile, name);
        assert_eq!(field("quality"), Raw::Integer(2));
        assert_eq!(field("status"), Raw::Integer(0x8032));
        assert_eq!(field("energy_status"), Raw::Integer(0x8032));
        assert_eq!(field("quantities"), Raw::Integer(3));
        assert_eq!(field("age"), Raw::Integer(NO_AGE.into()));
        for name in ["flow", "energy", "return"] {
            assert!(matches!(field(name), Raw::Float(value) if value.is_nan()), "{name}");
        }
    }

    #[test]
    fn a_reading_is_shown_as_the_map_says() {
        let profile = boiler();
        let image = Image::default();
        let mut reading = newest(42, [21.5, 123_456_789_012.0, f64::NAN]);
        reading.status[2] = Status::SENSOR_FAILURE;
        image.update(SENSOR, &profile, reading);
        let field = |name| field(&image, &profile, name);
        assert_eq!(field("flow"), Raw::Float(21.5));
        assert_eq!(field("energy"), Raw::Float(123_456_789_012.0));
        assert!(matches!(field("return"), Raw::Float(value) if value.is_nan()));
        assert_eq!(field("quality"), Raw::Integer(2), "the worst of them");
        assert_eq!(field("status"), Raw::Integer(0x808C));
        assert_eq!(field("flow_status"), Raw::Integer(0));
        assert_eq!(field("return_status"), Raw::Integer(0x808C));
        assert_eq!(field("time"), Raw::Integer(1_799_999_994));
        assert_eq!(field("time_micros"), Raw::Integer(500_000));
        assert_eq!(field("received"), Raw::Integer(1_799_999_997));
        assert_eq!(field("received_micros"), Raw::Integer(750_000));
        assert_eq!(field("seq"), Raw::Integer(42));
        assert_eq!(field("age"), Raw::Integer(5), "by the sensor's clock, which is right");
    }

    #[test]
    fn the_age_is_of_the_moment_of_the_read_and_believes_only_clocks_that_are_right() {
        let profile = boiler();
        let image = Image::default();
        image.update(SENSOR, &profile, Newest { is_clock_synced: false, ..newest(1, [0.0; 3]) });
        let age = |now| image.read(1, span(700 + AGE, 2), now).unwrap();
        assert_eq!(age(NOW), [0, 2]);
        assert_eq!(age(Micros(NOW.0 + 65_536_000_000)), [1, 2]);
        assert_eq!(age(Micros(0)), [0, 0], "a clock that went back");
        assert_eq!(age(Micros(i64::MAX)), [0xFFFF, 0xFFFE], "not what says that there is none");
    }

    #[test]
    fn what_is_not_newer_changes_nothing() {
        let profile = boiler();
        let image = Image::default();
        image.update(SENSOR, &profile, newest(5, [5.0; 3]));
        for seq in [4, 5] {
            image.update(SENSOR, &profile, newest(seq, [4.0; 3]));
            assert_eq!(field(&image, &profile, "flow"), Raw::Float(5.0));
        }
        image.update(SENSOR, &profile, newest(6, [6.0; 3]));
        assert_eq!(field(&image, &profile, "flow"), Raw::Float(6.0));
    }

    #[test]
    fn alarms_are_counted_and_mark_their_quantity() {
        let profile = boiler();
        let image = Image::new([(SENSOR, Arc::clone(&profile))]);
        let alarm = |quantity: &str, side| Some(Alarm { quantity: quantity.to_owned(), side });
        image.alarm(SENSOR, "hot", alarm("flow", Side::High));
        image.alarm(SENSOR, "hotter", alarm("flow", Side::High));
        image.alarm(SENSOR, "cold", alarm("return", Side::Low));
        let shown = || image.read(1, span(700 + ALARMS, 3), NOW).unwrap();
        assert_eq!(shown(), [3, 0b001, 0b100]);
        image.alarm(SENSOR, "hot", None);
        assert_eq!(shown(), [2, 0b001, 0b100]);
        image.alarm(SENSOR, "hotter", alarm("energy", Side::Low));
        assert_eq!(shown(), [2, 0, 0b110]);
    }

    #[test]
    fn requests_may_cross_blocks_but_not_touch_what_is_nobodys() {
        let profile = boiler();
        let image = Image::new([7, 8].map(|id| (SensorId(id), Arc::clone(&profile))));
        let whole = image.read(1, span(750, 100), NOW).unwrap();
        let (first, second) =
            (image.read(1, span(750, 50), NOW), image.read(1, span(800, 50), NOW));
        assert_eq!(whole, [first.unwrap(), second.unwrap()].concat());
        for (unit, start, count) in
            [(1, 699, 2), (1, 899, 2), (2, 700, 1), (1, 65_535, 1), (99, 0, 1)]
        {
            assert_eq!(image.read(unit, span(start, count), NOW), Err(ILLEGAL_ADDRESS));
        }
    }
}
