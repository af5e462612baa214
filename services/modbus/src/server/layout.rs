//! Where each sensor stands: a rule, so that no address moves when sensors come and go.
//!
//! A sensor has a block of 100 registers, and 500 blocks are a unit. Sensors from 0 up are in the units 1 to 66, those
//! below 0 in 101 to 166:
//!
//! ```text
//! sensor ≥ 0:  unit   1 + sensor / 500           address  sensor mod 500 × 100
//! sensor < 0:  unit 101 + (-1 - sensor) / 500    address  (-1 - sensor) mod 500 × 100
//! ```
//!
//! A block fits in one request. Everything of more than one register has its most significant one first. `docs/MODBUS.md`
//! has the table of a block.

use vigia_protocol::header::SensorId;
use vigia_protocol::limits::MAX_QUANTITIES;
use vigia_protocol::profile::{Number, Profile};

use crate::encoding::Type;
use crate::limits::MAX_REGISTERS_PER_REQUEST;

/// Registers of a sensor's block.
pub const BLOCK: u16 = 100;
/// Blocks of a unit.
pub const BLOCKS_OF_A_UNIT: u16 = 500;
/// The unit of sensor 0.
const FIRST_UNIT: u8 = 1;
/// The unit of sensor -1.
const FIRST_NEGATIVE_UNIT: u8 = 101;
/// What clients say who mean the TCP address alone (MODBUS Messaging on TCP/IP V1.0b, 4.4.2.2): the first unit.
const ANY_UNITS: [u8; 2] = [0, 255];

/// Offset of the quality: 0 good, 1 uncertain, 2 bad.
pub const QUALITY: u16 = 0;
/// Offset of the worst status.
pub const STATUS: u16 = 1;
/// Offset of the number of alarms.
pub const ALARMS: u16 = 2;
/// Offset of the quantities above a limit, a bit each.
pub const HIGH: u16 = 3;
/// Offset of the quantities below a limit, a bit each.
pub const LOW: u16 = 4;
/// Offset of the number of quantities.
pub const QUANTITIES: u16 = 5;
/// Offset of the age in seconds.
pub const AGE: u16 = 6;
/// Offset of the time of the reading: seconds, then microseconds.
pub const TIME: u16 = 8;
/// Offset of the time at which the site had it: seconds, then microseconds.
pub const RECEIVED: u16 = 12;
/// Offset of the reading's number in its stream.
pub const SEQ: u16 = 16;
/// Offset of the first quantity's status; one register each.
pub const EACH_STATUS: u16 = 20;
/// Offset of the first quantity's value.
pub const VALUES: u16 = 36;
/// Registers from one value to the next; a single fills the first two.
pub const VALUE: u16 = 4;

/// The age where there is no reading.
pub const NO_AGE: u32 = u32::MAX;

const _: () = assert!(EACH_STATUS as usize + MAX_QUANTITIES == VALUES as usize);
const _: () = assert!(VALUES as usize + MAX_QUANTITIES * VALUE as usize == BLOCK as usize);
const _: () = assert!(BLOCK <= MAX_REGISTERS_PER_REQUEST);

/// A sensor's unit and the address of its first register.
pub fn block_of(sensor: SensorId) -> (u8, u16) {
    let (first, index) = match u16::try_from(sensor.0) {
        Ok(index) => (FIRST_UNIT, index),
        // -1 is the first, -32768 the last.
        Err(_) => (FIRST_NEGATIVE_UNIT, !sensor.0 as u16),
    };
    // At most 65: there are 32,768 of each sign.
    let unit = first + (index / BLOCKS_OF_A_UNIT) as u8;
    (unit, index % BLOCKS_OF_A_UNIT * BLOCK)
}

/// Whose register stands there, and which of its block. `None` where no sensor can be.
pub fn sensor_at(unit: u8, address: u16) -> Option<(SensorId, u16)> {
    let unit = if ANY_UNITS.contains(&unit) { FIRST_UNIT } else { unit };
    let block = address / BLOCK;
    let is_negative = unit >= FIRST_NEGATIVE_UNIT;
    let page = unit - if is_negative { FIRST_NEGATIVE_UNIT } else { FIRST_UNIT };
    let index = u32::from(page) * u32::from(BLOCKS_OF_A_UNIT) + u32::from(block);
    let index = i16::try_from(index).ok().filter(|_| block < BLOCKS_OF_A_UNIT)?;
    Some((SensorId(if is_negative { !index } else { index }), address % BLOCK))
}

/// One entry of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Registers from the block's first.
    pub offset: u16,
    /// How to read it; always in the order ABCD.
    pub what: Type,
    /// What it is, in a word: `age`, or a quantity of the profile.
    pub name: String,
    /// As people write it.
    pub unit: String,
}

/// What a block has of a sensor with this profile, by address.
pub fn fields(profile: &Profile) -> Vec<Field> {
    let own = |offset, what, name: &str, unit: &str| Field {
        offset,
        what,
        name: name.to_owned(),
        unit: unit.to_owned(),
    };
    let mut fields = vec![
        own(QUALITY, Type::U16, "quality", ""),
        own(STATUS, Type::U16, "status", ""),
        own(ALARMS, Type::U16, "alarms", ""),
        own(HIGH, Type::U16, "high", ""),
        own(LOW, Type::U16, "low", ""),
        own(QUANTITIES, Type::U16, "quantities", ""),
        own(AGE, Type::U32, "age", "s"),
        own(TIME, Type::U32, "time", "s"),
        own(TIME + 2, Type::U32, "time_micros", "µs"),
        own(RECEIVED, Type::U32, "received", "s"),
        own(RECEIVED + 2, Type::U32, "received_micros", "µs"),
        own(SEQ, Type::U64, "seq", ""),
    ];
    let quantities = || (0..).zip(profile.quantities());
    fields.extend(quantities().map(|(index, quantity)| {
        own(EACH_STATUS + index, Type::U16, &format!("{}_status", quantity.name), "")
    }));
    fields.extend(quantities().map(|(index, quantity)| {
        let what = match quantity.number {
            Number::F32 => Type::F32,
            Number::F64 => Type::F64,
        };
        own(VALUES + VALUE * index, what, &quantity.name, &quantity.unit)
    }));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensors_place_can_be_worked_out_by_hand() {
        for (sensor, unit, address) in [
            (0, 1, 0),
            (7, 1, 700),
            (499, 1, 49_900),
            (500, 2, 0),
            (1_234, 3, 23_400),
            (32_767, 66, 26_700),
            (-1, 101, 0),
            (-500, 101, 49_900),
            (-501, 102, 0),
            (-32_768, 166, 26_700),
        ] {
            assert_eq!(block_of(SensorId(sensor)), (unit, address), "{sensor}");
        }
    }

    #[test]
    fn every_sensor_has_a_block_of_its_own_and_every_other_address_is_nobodys() {
        let mut found = 0;
        for unit in 1..=254 {
            for block in 0..=u16::MAX / BLOCK {
                let address = block * BLOCK;
                if let Some((sensor, 0)) = sensor_at(unit, address) {
                    assert_eq!(block_of(sensor), (unit, address));
                    assert_eq!(sensor_at(unit, address + BLOCK - 1), Some((sensor, BLOCK - 1)));
                    found += 1;
                }
            }
        }
        assert_eq!(found, 65_536);
        for unit in [0, 255] {
            assert_eq!(sensor_at(unit, 701), Some((SensorId(7), 1)));
        }
    }

    #[test]
    fn the_fields_of_a_block_do_not_overlap() {
        let fields = fields(&Profile::climate());
        for pair in fields.windows(2) {
            assert!(pair[0].offset + pair[0].what.count() <= pair[1].offset, "{pair:?}");
        }
        assert_eq!(fields.len(), 12 + 2 * 3);
    }
}
