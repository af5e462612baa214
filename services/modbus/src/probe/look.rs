//! Reads a range of registers twice: what moves, and how, tells types and orders apart.
//!
//! A request that touches one register which is not there is refused as a whole. So a range that is refused is halved,
//! until what is there is known.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::time::sleep;

use crate::limits::{ADDRESSES, MAX_REGISTERS_PER_REQUEST, PROBE_PAUSE};
use crate::link::{Answer, Link, Trouble};
use crate::map::Transport;
use crate::register::{Kind, Span};
use crate::server::frame::exception::{ILLEGAL_ADDRESS, ILLEGAL_VALUE};

/// Which registers of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The way there.
    pub transport: Transport,
    /// Which unit.
    pub unit: u8,
    /// Input or holding registers.
    pub kind: Kind,
    /// The addresses that were asked for, from 0.
    pub asked: RangeInclusive<u16>,
    /// The time that each answer has.
    pub within: Duration,
}

/// What stood there, at two moments. Also one register before and three behind what was asked for, where they are
/// there: a value may begin one address off, and the last one may be long.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// By address.
    pub first: BTreeMap<u16, u16>,
    /// The same ones a moment later.
    pub second: BTreeMap<u16, u16>,
}

/// Registers behind the last one that are read too: the rest of the longest value.
const BEHIND: u16 = 3;

/// Looks twice.
///
/// # Errors
/// If nothing of it can be read: why.
pub async fn look(target: &Target) -> Result<Seen, Trouble> {
    let mut link = Link::open(&target.transport, target.unit, target.within).await?;
    let first = read_all(&mut link, target).await?;
    sleep(PROBE_PAUSE).await;
    let second = read_all(&mut link, target).await?;
    Ok(Seen { first, second })
}

async fn read_all(link: &mut Link, target: &Target) -> Result<BTreeMap<u16, u16>, Trouble> {
    let (from, to) = (*target.asked.start(), *target.asked.end());
    let mut words = BTreeMap::new();
    // Some of it is enough.
    if let Err(trouble) = read(link, target, from, to, &mut words).await
        && (words.is_empty() || !is_refusal(&trouble))
    {
        return Err(trouble);
    }
    // What was not asked for may be missing.
    if let Some(before) = from.checked_sub(1) {
        ignore_refusal(read(link, target, before, before, &mut words).await)?;
    }
    let last = u32::from(to) + u32::from(BEHIND);
    let last = u16::try_from(last.min(ADDRESSES - 1)).unwrap_or(u16::MAX);
    if last > to {
        ignore_refusal(read(link, target, to + 1, last, &mut words).await)?;
    }
    Ok(words)
}

fn ignore_refusal(read: Result<(), Trouble>) -> Result<(), Trouble> {
    read.or_else(|trouble| if is_refusal(&trouble) { Ok(()) } else { Err(trouble) })
}

/// Whether less of it may be readable.
fn is_refusal(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Exception(ILLEGAL_ADDRESS | ILLEGAL_VALUE))
}

/// Reads what is there from `from` to `to`. The last refusal, if something is not; any other trouble at once.
async fn read(
    link: &mut Link,
    target: &Target,
    from: u16,
    to: u16,
    words: &mut BTreeMap<u16, u16>,
) -> Result<(), Trouble> {
    let mut outcome = Ok(());
    let mut left = vec![(from, to)];
    while let Some((from, to)) = left.pop() {
        let most = from.saturating_add(MAX_REGISTERS_PER_REQUEST - 1);
        if to > most {
            left.extend([(most + 1, to), (from, most)]);
            continue;
        }
        // At most 125 and at least one.
        let Some(span) = Span::new(target.kind, from, to - from + 1) else { continue };
        match link.read(span, target.within).await {
            Ok(Answer::Words(answer)) => words.extend((from..).zip(answer)),
            Ok(Answer::Bits(_)) => return Err(Trouble::Foreign("bits for registers".to_owned())),
            Err(trouble) if is_refusal(&trouble) => {
                if from < to {
                    let middle = from + (to - from) / 2;
                    left.extend([(middle + 1, to), (from, middle)]);
                }
                outcome = Err(trouble);
            }
            Err(trouble) => return Err(trouble),
        }
    }
    outcome
}

/// What to try next.
pub fn advice(trouble: &Trouble, kind: Kind) -> String {
    let other = if kind == Kind::Input { "holding" } else { "input" };
    match trouble {
        Trouble::Connect(_) => {
            "is the device on, and the port right? Some take one connection at a \
             time only"
                .to_owned()
        }
        Trouble::Silent(_) => {
            "try another --unit: mostly 1, 255 or 0; or --rtu, if a converter for a \
             serial line stands there"
                .to_owned()
        }
        Trouble::Broken(_) | Trouble::Foreign(_) => {
            "something else may listen there; try --rtu, if it is a converter for a serial line"
                .to_owned()
        }
        Trouble::Length { .. } => "try fewer --registers at once".to_owned(),
        Trouble::Exception(1) => {
            format!("it cannot read registers of this kind: try --kind {other}")
        }
        Trouble::Exception(2 | 3) => format!(
            "none of these registers is there: try others, or --kind {other}; addresses here count from 0, \
             so the manual's 40001 is 0"
        ),
        Trouble::Exception(10 | 11) => {
            "a gateway is there, but no such unit behind it: try another --unit".to_owned()
        }
        Trouble::Exception(_) => "the device cannot answer now: try again later".to_owned(),
    }
}
