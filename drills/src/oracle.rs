//! The oracle: what sensors claim against what the API exports. Pure, and it believes neither the
//! system's counters nor its words; those it only compares with what it found.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::books::Books;
use crate::truth::{Measured, Place, Truth};

/// Defects that are spelled out; the rest is counted.
const EXAMPLES: usize = 5;

/// A reading as the API gives it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exported {
    /// Where it stands.
    pub place: Place,
    /// What it says.
    pub measured: Measured,
}

/// What the oracle found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Physical readings acknowledged to their sensors.
    pub acknowledged: u64,
    /// Readings exported.
    pub stored: u64,
    /// Acknowledged, and not exported as they were sent.
    pub lost: u64,
    /// Exported once more, under whatever number.
    pub duplicated: u64,
    /// Of those, the ones that stand in another stream, into which their sensor has renumbered them.
    pub moved: u64,
    /// Exported, but never sent like that.
    pub unexpected: u64,
    /// Exported after a later one of the same sensor.
    pub disordered: u64,
    /// Acknowledged numbers of which the truth file says nothing: it cannot be judged by.
    pub unclaimed: u64,
    /// Dropped by sensors that said so.
    pub dropped: u64,
    /// Named in quarantine as poison: neither lost nor stored.
    pub poison: u64,
    /// Some of the defects.
    pub examples: Vec<String>,
}

/// Readings that the API names in quarantine: whose they say they are, and where they stand.
pub type Quarantined = HashSet<(i16, Place)>;

/// Judges one sensor after the other, each by what all claim that have its number; `exported` is in the
/// API's order.
pub fn judge<'a>(
    sensors: impl IntoIterator<Item = (i16, Vec<&'a Truth>, &'a [Exported])>,
    poison: &Quarantined,
) -> Findings {
    let mut findings = Findings { poison: poison.len() as u64, ..Findings::default() };
    for (sensor, truths, exported) in sensors {
        findings.judge(sensor, &truths, exported, poison);
    }
    findings
}

impl Findings {
    fn judge(
        &mut self,
        sensor: i16,
        truths: &[&Truth],
        exported: &[Exported],
        poison: &Quarantined,
    ) {
        // Clones take turns: only within its stream, which has one writer, does time run forward.
        let is_later = |one: &Exported, last: &Exported| {
            let one_writer = truths.len() == 1 || one.place.0 == last.place.0;
            one.place > last.place && (one.measured.time > last.measured.time || !one_writer)
        };
        let mut times: HashMap<i64, u32> = HashMap::with_capacity(exported.len());
        // By time, because a sensor may have to send what it holds again in another stream.
        let mut present = HashSet::with_capacity(exported.len());
        let mut last: Option<&Exported> = None;
        for one in exported {
            let Measured { time, .. } = one.measured;
            self.stored += 1;
            let (stream, _) = one.place;
            if let Some(first) = times.insert(time, stream) {
                self.duplicated += 1;
                self.moved += u64::from(first != stream);
                self.example(|| format!("sensor {sensor}: time {time} again at {:?}", one.place));
            } else if last.is_some_and(|last| !is_later(one, last)) {
                self.disordered += 1;
                self.example(|| format!("sensor {sensor}: {:?} is out of order", one.place));
            }
            let sent = || truths.iter().filter_map(|truth| truth.sent.get(&one.place));
            if sent().any(|sent| *sent == one.measured) {
                present.insert(time);
            } else {
                self.unexpected += 1;
                let sent: Vec<_> = sent().collect();
                self.example(|| {
                    format!("sensor {sensor}: stored {one:?}, but sent {sent:?} at that place")
                });
            }
            last = Some(one);
        }
        self.look_for_lost(sensor, truths, &present, poison);
        self.look_for_unclaimed(sensor, truths);
    }

    fn look_for_lost(
        &mut self,
        sensor: i16,
        truths: &[&Truth],
        present: &HashSet<i64>,
        poison: &Quarantined,
    ) {
        let of_one = |truth: &&'_ Truth| -> Vec<(i64, Place)> {
            let acknowledged =
                truth.sent.iter().filter(|(place, _)| truth.is_acknowledged(**place));
            acknowledged.map(|(place, measured)| (measured.time, *place)).collect()
        };
        let acknowledged: BTreeMap<i64, Place> = truths.iter().flat_map(of_one).collect();
        self.acknowledged += acknowledged.len() as u64;
        let is_missing = |time: &i64, place: &Place| {
            !present.contains(time) && !poison.contains(&(sensor, *place))
        };
        for (time, place) in acknowledged.iter().filter(|(time, place)| is_missing(time, place)) {
            self.lost += 1;
            self.example(|| format!("sensor {sensor}: {place:?} of time {time} is not there"));
        }
    }

    fn look_for_unclaimed(&mut self, sensor: i16, truths: &[&Truth]) {
        let gaps = truths.iter().flat_map(|truth| &truth.gaps);
        let dropped: HashSet<Place> = gaps
            .flat_map(|((stream, seq), count)| (*seq..seq + count).map(|seq| (*stream, seq)))
            .collect();
        self.dropped += dropped.len() as u64;
        let is_claimed = |place: &Place| {
            dropped.contains(place) || truths.iter().any(|truth| truth.sent.contains_key(place))
        };
        for (stream, below) in truths.iter().flat_map(|truth| &truth.acknowledged) {
            for place in (1..*below).map(|seq| (*stream, seq)).filter(|place| !is_claimed(place)) {
                self.unclaimed += 1;
                self.example(|| {
                    format!("sensor {sensor}: {place:?} is acknowledged, but never sent")
                });
            }
        }
        let mut unreadable = truths.iter().flat_map(|truth| &truth.unreadable);
        if let Some(line) = unreadable.next() {
            self.unclaimed += 1 + unreadable.count() as u64;
            self.example(|| format!("sensor {sensor}: unreadable in its truth file: {line:?}"));
        }
    }

    fn example(&mut self, words: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(words());
        }
    }

    /// What is wrong with what was found, in sentences.
    pub fn defects(&self, expected: Expected) -> Vec<String> {
        let moved = if expected.copies { self.moved } else { 0 };
        let defects = [
            (self.lost, "acknowledged readings are lost"),
            (self.duplicated - moved, "readings are stored more than once"),
            (self.unexpected, "stored readings were never sent like that"),
            (self.disordered, "readings are out of order"),
            (self.unclaimed, "lines are missing or wrong in the sensors' truth files"),
        ];
        let named = defects.into_iter().filter(|(count, _)| *count > 0);
        named.map(|(count, what)| format!("{count} {what}")).collect()
    }
}

/// What the fault of a drill may leave in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    /// Sensors deliver again what the store has already.
    pub duplicates: bool,
    /// Sensors whose memory was rolled back deliver what they hold again, in a new stream: another
    /// identity, so that nobody but an oracle can know them again.
    pub copies: bool,
    /// Readings are named in quarantine as poison. They are missing in their sensors' numbering.
    pub poison: bool,
}

impl Expected {
    /// Nothing out of the ordinary.
    pub const NOTHING: Self = Self { duplicates: false, copies: false, poison: false };
}

/// Where the ledger says otherwise than what was found, in sentences.
pub fn disagreements(findings: &Findings, books: &Books, expected: Expected) -> Vec<String> {
    let counts = &books.readings;
    let mut found = Vec::new();
    let mut unless = |holds: bool, words: String| {
        if !holds {
            found.push(words);
        }
    };
    unless(books.verdict == "balanced", format!("the ledger's verdict is {}", books.verdict));
    unless(
        counts.stored == findings.stored,
        format!("the ledger says {} are stored, {} are exported", counts.stored, findings.stored),
    );
    let accounted = counts.accounted();
    unless(
        counts.accepted == Some(accounted),
        format!(
            "the ledger says {:?} were accepted, {accounted} are accounted for",
            counts.accepted
        ),
    );
    unless(
        counts.in_flight == Some(0),
        format!("the ledger says {:?} are in flight", counts.in_flight),
    );
    unless(counts.lost == 0, format!("the ledger says {} are lost", counts.lost));
    let poison = if expected.poison { findings.poison } else { 0 };
    unless(
        counts.quarantined == poison,
        format!("the ledger says {} are in quarantine, expected {poison}", counts.quarantined),
    );
    unless(
        counts.duplicate == 0 || expected.duplicates,
        format!("the ledger says {} came twice", counts.duplicate),
    );
    unless(
        books.gaps.unexplained == poison,
        format!(
            "the ledger says {} are missing unexplained, expected {poison}",
            books.gaps.unexplained
        ),
    );
    unless(
        books.gaps.declared == findings.dropped,
        format!(
            "the ledger says {} were declared dropped, sensors say {}",
            books.gaps.declared, findings.dropped
        ),
    );
    unless(books.conflicts == 0, format!("the ledger says {} conflicts", books.conflicts));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::{Counts, Gaps};

    const COUNT: u64 = 20;

    fn measured(seq: u64) -> Measured {
        Measured { time: seq as i64 * 10, values: [Some(seq as f32), None, Some(0.1)] }
    }

    /// A sensor that sent 20 readings, of which 15 are acknowledged; and all 20 are stored.
    fn healthy() -> (Truth, Vec<Exported>) {
        let mut truth = Truth::default();
        let places = (1..=COUNT).map(|seq| (1, seq));
        truth.sent = places.clone().map(|place| (place, measured(place.1))).collect();
        truth.acknowledged.insert(1, 16);
        (truth, places.map(|place| Exported { place, measured: measured(place.1) }).collect())
    }

    fn found(truth: &Truth, exported: &[Exported]) -> Findings {
        Findings {
            examples: Vec::new(),
            ..judge([(7, vec![truth], exported)], &Quarantined::default())
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_is_wrong() {
        let (truth, exported) = healthy();
        let clean = Findings { acknowledged: 15, stored: 20, ..Findings::default() };
        assert_eq!(judge([(7, vec![&truth], exported.as_slice())], &Quarantined::default()), clean);
        // What is not acknowledged may be missing.
        let clean = Findings { stored: 15, ..clean };
        assert_eq!(found(&truth, &exported[..15]), clean);
        assert!(clean.defects(Expected::default()).is_empty());
    }

    #[test]
    fn an_acknowledged_reading_that_is_missing_is_lost() {
        let (truth, mut exported) = healthy();
        exported.remove(14);
        exported.remove(3);
        let findings = found(&truth, &exported);
        assert_eq!((findings.lost, findings.stored), (2, 18));
        assert_eq!(findings.defects(Expected::default()), ["2 acknowledged readings are lost"]);
    }

    #[test]
    fn one_stored_twice_is_duplicated_under_whatever_number() {
        let (truth, exported) = healthy();
        let mut same = exported.clone();
        same.insert(5, exported[4]);
        assert_eq!(found(&truth, &same).duplicated, 1);
        let mut elsewhere = exported.clone();
        elsewhere.push(Exported { place: (1, 1_000_000_007), ..exported[6] });
        let findings = found(&truth, &elsewhere);
        assert_eq!((findings.duplicated, findings.unexpected, findings.lost), (1, 1, 0));
    }

    #[test]
    fn one_that_was_never_sent_is_unexpected() {
        let (truth, mut exported) = healthy();
        exported.push(Exported { place: (1, 21), measured: measured(21) });
        assert_eq!(found(&truth, &exported).unexpected, 1);
    }

    #[test]
    fn an_altered_one_is_unexpected_and_the_true_one_lost() {
        let (truth, mut exported) = healthy();
        exported[2].measured.values[0] = Some(3.000_000_2);
        let findings = found(&truth, &exported);
        assert_eq!((findings.unexpected, findings.lost, findings.duplicated), (1, 1, 0));
        let (truth, mut exported) = healthy();
        exported[2].measured.time += 1;
        let findings = found(&truth, &exported);
        assert_eq!((findings.unexpected, findings.lost), (1, 1));
    }

    #[test]
    fn readings_out_of_order_are_seen() {
        let (truth, mut exported) = healthy();
        exported.swap(3, 4);
        let findings = found(&truth, &exported);
        assert_eq!((findings.disordered, findings.lost, findings.unexpected), (1, 0, 0));
    }

    #[test]
    fn a_reading_that_moved_to_another_stream_is_neither_lost_nor_counted_twice() {
        let (mut truth, mut exported) = healthy();
        // The ingress forgot 15; the sensor renumbered it as the first of stream 2.
        truth.sent.insert((2, 1), measured(15));
        exported.truncate(14);
        exported.push(Exported { place: (2, 1), measured: measured(15) });
        assert_eq!(
            found(&truth, &exported),
            Findings { acknowledged: 15, stored: 15, ..Findings::default() }
        );
        // Unless both are there.
        let (_, mut both) = healthy();
        both.truncate(15);
        both.push(Exported { place: (2, 1), measured: measured(15) });
        let findings = found(&truth, &both);
        assert_eq!((findings.duplicated, findings.moved), (1, 1));
        // Which is expected of one whose memory was rolled back.
        assert!(findings.defects(Expected { copies: true, ..Expected::default() }).is_empty());
        assert_eq!(findings.defects(Expected::default()).len(), 1);
    }

    #[test]
    fn a_truth_file_with_holes_cannot_be_judged_by() {
        let (mut truth, exported) = healthy();
        truth.sent.remove(&(1, 3));
        assert_eq!(found(&truth, &exported).unclaimed, 1);
        truth.gaps.push(((1, 3), 1));
        let findings = found(&truth, &exported);
        assert_eq!((findings.unclaimed, findings.dropped), (0, 1));
        truth.unreadable.push("?".to_owned());
        assert_eq!(found(&truth, &exported).unclaimed, 1);
    }

    #[test]
    fn what_quarantine_names_is_not_lost_but_only_that() {
        let (truth, mut exported) = healthy();
        exported.drain(3..6);
        let poison = Quarantined::from([(7, (1, 4)), (7, (1, 5)), (8, (1, 6))]);
        let findings = judge([(7, vec![&truth], exported.as_slice())], &poison);
        assert_eq!((findings.lost, findings.poison), (1, 3));
    }

    #[test]
    fn sensors_are_judged_apart() {
        let (truth, exported) = healthy();
        let findings = judge(
            [(1, vec![&truth], exported.as_slice()), (2, vec![&truth], exported.as_slice())],
            &Quarantined::default(),
        );
        assert_eq!((findings.acknowledged, findings.duplicated), (30, 0));
        assert_eq!(
            judge(
                [(1, vec![&truth], exported.as_slice()), (2, vec![&truth], &[])],
                &Quarantined::default()
            )
            .lost,
            15
        );
    }

    #[test]
    fn what_clones_sent_is_expected_of_their_number_and_what_either_was_acknowledged() {
        let (mut truth, mut exported) = healthy();
        let mut clone = Truth::default();
        clone.sent = [((2, 1), measured(18)), ((2, 2), measured(30))].into();
        clone.acknowledged.insert(2, 3);
        // The first has gone on meanwhile.
        truth.sent.insert((3, 1), measured(25));
        exported.truncate(17);
        exported.extend([(2, 1, 18), (2, 2, 30), (3, 1, 25)].map(|(stream, seq, reading)| {
            Exported { place: (stream, seq), measured: measured(reading) }
        }));
        let found = |exported: &[Exported]| {
            let findings = judge([(7, vec![&truth, &clone], exported)], &Quarantined::default());
            (findings.lost, findings.unexpected, findings.disordered, findings.unclaimed)
        };
        assert_eq!(found(&exported), (0, 0, 0, 0));
        exported.swap(17, 18);
        assert_eq!(found(&exported), (0, 0, 1, 0));
        exported.remove(17);
        assert_eq!(found(&exported), (1, 0, 0, 0));
    }

    fn books() -> Books {
        let readings =
            Counts { accepted: Some(20), stored: 20, in_flight: Some(0), ..Counts::default() };
        Books { verdict: "balanced".to_owned(), readings, ..Books::default() }
    }

    #[test]
    fn a_ledger_that_says_the_same_agrees() {
        let (truth, exported) = healthy();
        let findings = judge([(7, vec![&truth], exported.as_slice())], &Quarantined::default());
        assert!(disagreements(&findings, &books(), Expected::default()).is_empty());
    }

    #[test]
    fn every_term_of_the_ledger_is_held_against_what_was_found() {
        let (truth, exported) = healthy();
        let findings = judge([(7, vec![&truth], exported.as_slice())], &Quarantined::default());
        let wrong: [fn(&mut Books); 9] = [
            |books| books.verdict = "unknown".to_owned(),
            |books| (books.readings.stored, books.readings.accepted) = (19, Some(19)),
            |books| books.readings.accepted = Some(21),
            |books| books.readings.in_flight = None,
            |books| (books.readings.lost, books.readings.accepted) = (1, Some(21)),
            |books| (books.readings.quarantined, books.readings.accepted) = (1, Some(21)),
            |books| (books.readings.duplicate, books.readings.accepted) = (1, Some(21)),
            |books| books.gaps = Gaps { declared: 0, unexplained: 2 },
            |books| books.gaps = Gaps { declared: 1, unexplained: 0 },
        ];
        for (number, change) in wrong.into_iter().enumerate() {
            let mut books = books();
            change(&mut books);
            let found = disagreements(&findings, &books, Expected::default());
            assert_eq!(found.len(), 1, "{number}: {found:?}");
        }
        let mut again = books();
        (again.readings.duplicate, again.readings.accepted) = (1, Some(21));
        assert!(
            disagreements(&findings, &again, Expected { duplicates: true, ..Expected::default() })
                .is_empty()
        );
    }
}
