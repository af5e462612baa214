//! One device's polling. Each device has a loop of its own, so that a dead, slow or lying one delays no other.
//!
//! Every tick makes a sample, whatever the device does: values where there are any, and for the others the reason. The
//! ticks are multiples of the interval from the first one, they do not drift; those that a slow device misses are left out.
//! A device that cannot be reached is tried on ever fewer ticks, and as often as ever after its first answer.
//!
//! Devices behind one serial line or one gateway share its connection and take turns, a request each: there a dead one costs
//! each of the others its timeout, whenever it is tried. By TCP each device has a connection of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use vigia_protocol::quality::{Quality, Status};

use crate::decode::{Decoded, Doubt, decode};
use crate::limits::MAX_RETRY_MS;
use crate::link::{Answer, Link, Trouble};
use crate::map::{Device, Transport};
use crate::plan::Plan;
use crate::register::Span;

/// What one poll brought.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// When it was due.
    pub due: Instant,
    /// For each quantity, in the profile's order.
    pub values: Vec<Result<Decoded, Trouble>>,
}

impl Sample {
    /// The values as a reading carries them: not a number where there is none.
    pub fn numbers(&self) -> Vec<f64> {
        let number = |value: &Result<Decoded, _>| value.as_ref().map_or(f64::NAN, |it| it.value);
        self.values.iter().map(number).collect()
    }

    /// The one status of the reading. A value that is none says so itself: only if there is none at all, the reading is bad.
    pub fn status(&self) -> Status {
        let status = |value: &Result<Decoded, Trouble>| match value {
            Ok(decoded) => decoded.status,
            Err(trouble) => trouble.status(),
        };
        let all = || self.values.iter().map(status);
        let usable = all().filter(|status| status.quality() != Quality::Bad);
        usable.max_by_key(|status| status.quality()).or_else(|| all().next()).unwrap_or_default()
    }

    /// Why a value is not good, if it is not.
    pub fn reason(&self, index: usize) -> Option<String> {
        match self.values.get(index)? {
            Ok(decoded) => decoded.doubt.as_ref().map(Doubt::to_string),
            Err(trouble) => Some(trouble.to_string()),
        }
    }
}

/// A device with what is known of it.
pub struct Poller {
    device: Device,
    plan: Plan,
    line: Line,
    retry: Retry,
}

/// A connection, while there is one, for all who take turns on it.
type Line = Arc<Mutex<Option<Link>>>;

/// The lines that several devices share.
#[derive(Default)]
pub struct Lines(BTreeMap<Transport, Line>);

impl Lines {
    /// A device that takes turns with those before it that are reached in the same way.
    pub fn poller(&mut self, device: Device) -> Poller {
        let line = match &device.transport {
            Transport::Tcp(_) => Line::default(),
            shared => Arc::clone(self.0.entry(shared.clone()).or_default()),
        };
        Poller { line, ..Poller::new(device) }
    }
}

impl Poller {
    /// Of a device that was not asked yet, and has its line for itself.
    pub fn new(device: Device) -> Self {
        let spans: Vec<Span> = device.points.iter().map(|point| point.span).collect();
        let plan = Plan::new(&spans, device.gap);
        let most = MAX_RETRY_MS / device.interval.as_millis().max(1);
        let retry = Retry::new(u32::try_from(most).unwrap_or(u32::MAX));
        Self { device, plan, line: Line::default(), retry }
    }

    /// Polls from `first` on, at every interval, until it is dropped.
    pub async fn run(mut self, first: Instant, mut each: impl FnMut(Sample)) {
        let mut ticks = interval_at(first, self.device.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            // After a pause it is the oldest tick that was missed; what is read now is of the newest.
            let oldest = ticks.tick().await;
            let missed = oldest.elapsed().as_nanos() / self.device.interval.as_nanos().max(1);
            let due = oldest + self.device.interval * u32::try_from(missed).unwrap_or_default();
            each(Sample { due, values: self.poll().await });
        }
    }

    /// Asks the device once for everything, unless it is not its turn yet.
    pub async fn poll(&mut self) -> Vec<Result<Decoded, Trouble>> {
        if let Some(trouble) = self.retry.skips() {
            return vec![Err(trouble); self.device.points.len()];
        }
        let mut answers: Vec<Result<Answer, Trouble>> = Vec::new();
        let mut hopeless = None;
        for span in self.plan.requests() {
            if let Some(trouble) = &hopeless {
                answers.push(Err(Trouble::clone(trouble)));
                continue;
            }
            let answer = ask(&self.device, &mut *self.line.lock().await, *span).await;
            if let Err(trouble) = &answer {
                hopeless = Some(trouble.clone()).filter(Trouble::is_of_the_device);
            }
            answers.push(answer);
        }
        self.retry.learn(hopeless);
        let points = self.device.points.iter().enumerate();
        points
            .map(|(index, point)| {
                let answer =
                    answers[self.plan.request_of(index)].as_ref().map_err(Trouble::clone)?;
                let cells = self.plan.cut(index, answer.cells());
                let short = Trouble::Length { expected: point.span.count().into(), got: 0 };
                Ok(decode(point, cells.ok_or(short)?))
            })
            .collect()
    }
}

/// Asks on the connection there is, or on a new one. What may not be used again is not put back.
async fn ask(device: &Device, link: &mut Option<Link>, span: Span) -> Result<Answer, Trouble> {
    if let Some(mut used) = link.take() {
        used.ask_of(device.unit);
        let answer = read(device, link, used, span).await;
        // A device that was restarted since the last poll closed its side then: that is no trouble of this one.
        if !matches!(answer, Err(Trouble::Broken(_))) {
            return answer;
        }
    }
    let opened = Link::open(&device.transport, device.unit, device.timeout).await?;
    read(device, link, opened, span).await
}

async fn read(
    device: &Device,
    place: &mut Option<Link>,
    mut link: Link,
    span: Span,
) -> Result<Answer, Trouble> {
    let answer = link.read(span, device.timeout).await;
    if answer.as_ref().err().is_none_or(Trouble::leaves_link_usable) {
        *place = Some(link);
    }
    answer
}

/// How many ticks a device that cannot be reached is left alone: 0, 1, 3, 7, … up to a bound.
#[derive(Debug)]
struct Retry {
    most: u32,
    next: u32,
    skip: u32,
    trouble: Option<Trouble>,
}

impl Retry {
    fn new(most: u32) -> Self {
        Self { most, next: 0, skip: 0, trouble: None }
    }

    /// The trouble for which this tick is left out.
    fn skips(&mut self) -> Option<Trouble> {
        self.skip = self.skip.checked_sub(1)?;
        self.trouble.clone()
    }

    fn learn(&mut self, trouble: Option<Trouble>) {
        (self.skip, self.next) = match trouble {
            Some(_) => (self.next, self.next.saturating_mul(2).saturating_add(1).min(self.most)),
            None => (0, 0),
        };
        self.trouble = trouble;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_cannot_be_reached_is_tried_ever_less_often_and_then_at_once() {
        let mut retry = Retry::new(5);
        let mut skipped = Vec::new();
        for _ in 0..5 {
            retry.learn(Some(Trouble::Connect(String::new())));
            skipped.push(std::iter::from_fn(|| retry.skips()).count());
        }
        assert_eq!(skipped, [0, 1, 3, 5, 5]);
        retry.learn(None);
        assert_eq!(retry.skips(), None);
        retry.learn(Some(Trouble::Connect(String::new())));
        assert_eq!(retry.skips(), None);
    }
}
