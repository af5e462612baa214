//! What is stored of Modbus devices against what was done to them. Pure, and as little trusting as the oracle.
//!
//! Nobody but the role sees what it takes from a device, so that no truth file can be held against the export. What
//! can: every tick of the interval makes a reading, with the time at which it was due, and numbers are dense. A reading
//! that is lost leaves a hole in both, and one that is there twice stands twice at one time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::truth::Place;

/// A poll may be so much later than it was due, and still see how the device is then.
const LATE: i64 = 500_000;
/// On a machine that stalls; one that polls seldom misses many more.
const MISSED_ONE_IN: i64 = 20;
/// What was taken is durable so soon, on a busy disk.
const DURABLE_WITHIN: i64 = 2_000_000;

/// A stored reading of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polled {
    /// Where it stands.
    pub place: Place,
    /// When it was due, µs since the epoch.
    pub time: i64,
    /// Whether it was taken while no broker took readings.
    pub waited: bool,
    /// The status of what is bad in it; `None` if all is good.
    pub trouble: Option<String>,
}

/// A fault, and when it was certainly there, µs since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lasted {
    /// As the simulator names it.
    pub fault: String,
    /// From then.
    pub from: i64,
    /// Until then.
    pub until: i64,
}

/// What is known of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its sensor.
    pub sensor: i16,
    /// Its name.
    pub name: &'static str,
    /// What was done to it, in order; nothing to a healthy one.
    pub faults: Vec<Lasted>,
}

impl Account {
    /// Nothing was done to it yet.
    pub fn new(sensor: i16, name: &'static str) -> Self {
        Self { sensor, name, faults: Vec::new() }
    }
}

/// What the role says that it has made durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// When it was asked, µs since the epoch.
    pub asked: i64,
    /// By device.
    pub durable: BTreeMap<String, u64>,
    /// Samples that it says it has left out, of all devices.
    pub left_out: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Readings stored.
    pub stored: u64,
    /// How it shows that the healthy were polled and the others troubled.
    pub evidence: Vec<String>,
    /// What is wrong.
    pub defects: Vec<String>,
}

/// Judges all devices.
pub fn judge(
    exports: &[(&Account, Vec<Polled>)],
    counted: &Counted,
    interval: Duration,
) -> Findings {
    let mut findings = Findings::default();
    let mut deviations = Vec::new();
    for (device, polled) in exports {
        let complain = |words: String| format!("Modbus device {}: {words}", device.name);
        findings.stored += polled.len() as u64;
        let wrong = [numbers(polled), durable(device, polled, counted), qualities(device, polled)];
        findings.defects.extend(wrong.into_iter().filter_map(Result::err).map(complain));
        if device.faults.is_empty() {
            let kept = interval_is_kept(polled, counted, interval);
            findings.defects.extend(kept.as_ref().err().cloned().map(complain));
            deviations.extend(kept.unwrap_or_default());
        } else {
            findings.evidence.push(format!("Modbus device {}", troubles(device, polled)));
        }
    }
    if counted.left_out > 0 {
        findings.defects.push(format!("the modbus role left {} samples out", counted.left_out));
    }
    deviations.sort_unstable();
    let at = |part: usize| deviations.get(deviations.len().saturating_sub(1) * part / 100);
    if let (Some(p99), Some(worst)) = (at(99), at(100)) {
        let healthy = exports.iter().filter(|(device, _)| device.faults.is_empty());
        let waited =
            healthy.clone().flat_map(|(_, polled)| polled).filter(|one| one.waited).count();
        let healthy = healthy.count();
        findings.evidence.push(format!(
            "{healthy} healthy Modbus devices: a good reading at every tick of {interval:?}, {} of them and \
             {waited} while there was no broker; {:.2} ms off at p99, {:.2} ms at most",
            deviations.len() + healthy,
            *p99 as f64 / 1e3,
            *worst as f64 / 1e3
        ));
    }
    if !exports.iter().flat_map(|(_, polled)| polled).any(|one| one.waited) {
        findings.defects.push("no Modbus device was polled while there was no broker".to_owned());
    }
    let durable: u64 = counted.durable.values().sum();
    findings.evidence.push(format!(
        "{durable} readings of Modbus devices said to be durable, {} stored when polling had ended",
        findings.stored
    ));
    findings
}

/// One stream, numbered from 1 without holes, at ever later times.
fn numbers(polled: &[Polled]) -> Result<(), String> {
    let Some(stream) = polled.first().map(|one| one.place.0) else {
        return Err("nothing is stored of it".to_owned());
    };
    for (one, seq) in polled.iter().zip(1..) {
        if one.place != (stream, seq) {
            return Err(format!("{:?} stands where {:?} is to be", one.place, (stream, seq)));
        }
    }
    let backward = polled.windows(2).find(|pair| pair[0].time >= pair[1].time);
    backward
        .map_or(Ok(()), |pair| Err(format!("{:?} is not later than the one before", pair[1].place)))
}

/// What is said to be durable is what was taken until then.
fn durable(device: &Account, polled: &[Polled], counted: &Counted) -> Result<(), String> {
    let Some(said) = counted.durable.get(device.name) else {
        return Err("the role does not count it".to_owned());
    };
    let taken_by = |time| polled.iter().filter(|one| one.time <= time).count() as u64;
    let (least, most) = (taken_by(counted.asked - DURABLE_WITHIN), taken_by(counted.asked));
    if (least..=most).contains(said) {
        return Ok(());
    }
    Err(format!("{said} readings were said to be durable, of those {least} to {most} are stored"))
}

/// Good without a fault, bad with one, and good again afterwards.
fn qualities(device: &Account, polled: &[Polled]) -> Result<(), String> {
    let mut recovering = false;
    for one in polled {
        let mut faults = device.faults.iter();
        let lasts = faults.clone().any(|it| (it.from..=it.until - LATE).contains(&one.time));
        let comes = faults.any(|it| (it.from - LATE..it.from).contains(&one.time));
        match &one.trouble {
            None if lasts => return Err(format!("{:?} is good under its fault", one.place)),
            None => recovering = false,
            Some(_) if lasts => recovering = true,
            Some(_) if recovering || comes => {}
            Some(trouble) => return Err(format!("{:?} is {trouble} without a fault", one.place)),
        }
    }
    for fault in &device.faults {
        let under = |one: &&Polled| (fault.from..=fault.until - LATE).contains(&one.time);
        if polled.iter().filter(under).count() == 0 {
            return Err(format!("no reading was taken under {}", fault.fault));
        }
    }
    let is_good = |one: Option<&Polled>| one.is_some_and(|one| one.trouble.is_none());
    if is_good(polled.first()) && is_good(polled.last()) {
        Ok(())
    } else {
        Err("its first or its last reading is bad".to_owned())
    }
}

/// A reading at every tick until the role was asked, of which a machine that stalls may miss one in
/// [`MISSED_ONE_IN`]: those are not taken, not lost. Returns by how much each distance differs from the interval, in µs.
fn interval_is_kept(
    polled: &[Polled],
    counted: &Counted,
    interval: Duration,
) -> Result<Vec<i64>, String> {
    let interval = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX);
    let apart = |pair: &[Polled]| pair[1].time - pair[0].time;
    let (kept, holes): (Vec<&[Polled]>, Vec<&[Polled]>) =
        polled.windows(2).partition(|pair| (apart(pair) - interval).abs() <= interval / 2);
    let missed: i64 = holes.iter().map(|pair| (apart(pair) / interval - 1).max(1)).sum();
    if let Some(hole) = holes.first().filter(|_| missed * MISSED_ONE_IN > polled.len() as i64) {
        let (before, after) = (hole[0].place, hole[1].place);
        return Err(format!(
            "{missed} ticks were missed, the first between {before:?} and {after:?}, which are {} ms apart",
            apart(hole) / 1000
        ));
    }
    match polled.last() {
        Some(last) if last.time + 2 * interval > counted.asked => {
            Ok(kept.into_iter().map(|pair| (apart(pair) - interval).abs()).collect())
        }
        _ => Err("it was not polled until the end".to_owned()),
    }
}

/// What it had, and how long it was bad.
fn troubles(device: &Account, polled: &[Polled]) -> String {
    let faults: BTreeSet<&str> = device.faults.iter().map(|fault| fault.fault.as_str()).collect();
    let bad: Vec<&str> = polled.iter().filter_map(|one| one.trouble.as_deref()).collect();
    let named: BTreeSet<&str> = bad.iter().copied().collect();
    format!(
        "{}: {} time(s) {faults:?}, {} of {} readings {named:?}",
        device.name,
        device.faults.len(),
        bad.len(),
        polled.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(200);
    const BAD: &str = "BadNoCommunication";

    /// A reading every 0.2 s for 10 s, bad from `bad` on until before its end.
    fn polled(bad: std::ops::Range<u64>) -> Vec<Polled> {
        let one = |seq: u64| Polled {
            place: (3, seq),
            time: seq as i64 * 200_000,
            waited: seq == 9,
            trouble: bad.contains(&seq).then(|| BAD.to_owned()),
        };
        (1..=50).map(one).collect()
    }

    fn healthy() -> Account {
        Account::new(1, "pump")
    }

    /// Troubled from 2 s to 4 s.
    fn troubled() -> Account {
        let fault = Lasted { fault: "dead".to_owned(), from: 2_000_000, until: 4_000_000 };
        Account { faults: vec![fault], ..healthy() }
    }

    fn counted(durable: u64) -> Counted {
        let durable = [("pump".to_owned(), durable)].into();
        Counted { asked: 9_900_000, durable, left_out: 0 }
    }

    #[track_caller]
    fn finds(device: &Account, polled: Vec<Polled>, durable: u64, words: &str) {
        let findings = judge(&[(device, polled)], &counted(durable), INTERVAL);
        match words {
            "" => assert!(findings.defects.is_empty(), "{findings:?}"),
            _ => assert!(findings.defects.iter().any(|it| it.contains(words)), "{findings:?}"),
        }
    }

    #[test]
    fn a_good_reading_at_every_tick_is_all_right() {
        finds(&healthy(), polled(0..0), 49, "");
        let findings = judge(&[(&healthy(), polled(0..0))], &counted(49), INTERVAL);
        assert_eq!(findings.stored, 50);
        assert!(findings.evidence[0].contains("50 of them and 1 while"), "{findings:?}");
    }

    #[test]
    fn a_lost_a_doubled_and_an_untaken_reading_are_seen() {
        let without = |index: usize| {
            let mut polled = polled(0..0);
            polled.remove(index);
            polled
        };
        finds(&healthy(), without(20), 48, "(3, 22) stands where (3, 21)");
        let mut twice = polled(0..0);
        twice.insert(20, twice[20].clone());
        finds(&healthy(), twice, 49, "(3, 21) stands where (3, 22)");
        let untaken = |ticks: std::ops::Range<usize>| {
            let mut polled = polled(0..0);
            polled.drain(ticks);
            polled.iter_mut().zip(1..).for_each(|(one, seq)| one.place = (3, seq));
            polled
        };
        finds(&healthy(), untaken(20..22), 47, "");
        finds(&healthy(), untaken(20..23), 46, "3 ticks were missed");
        finds(&healthy(), polled(0..0)[..40].to_vec(), 40, "not polled until the end");
        finds(&healthy(), Vec::new(), 0, "nothing is stored");
        finds(&healthy(), without(8), 48, "while there was no broker");
    }

    #[test]
    fn what_was_said_to_be_durable_is_stored_and_nothing_else_was() {
        for said in [39, 49] {
            finds(&healthy(), polled(0..0), said, "");
        }
        for said in [38, 50] {
            finds(&healthy(), polled(0..0), said, "said to be durable");
        }
    }

    #[test]
    fn a_device_is_bad_under_its_fault_and_good_before_and_after() {
        finds(&troubled(), polled(10..25), 49, "");
        finds(&troubled(), polled(8..18), 49, "");
        finds(&troubled(), polled(11..25), 49, "(3, 10) is good under its fault");
        finds(&troubled(), polled(7..25), 49, "(3, 7) is BadNoCommunication without");
        finds(&troubled(), polled(10..51), 49, "its last reading is bad");
        let mut again = polled(10..25);
        again[30].trouble = Some(BAD.to_owned());
        finds(&troubled(), again, 49, "(3, 31) is BadNoCommunication without");
        finds(&healthy(), polled(20..21), 49, "without a fault");
        let mut short = troubled();
        short.faults[0].until = 2_100_000;
        finds(&short, polled(0..0), 49, "no reading was taken under dead");
    }
}
