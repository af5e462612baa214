//! The journal's rows as they go to the bus.
//!
//! A row that the disk has changed goes out too: sealed anew, with the head that its neighbours require. As it stands,
//! nobody behind would take it, and nothing after it would ever be freed. What is damaged in it is no frame of its
//! sensor any more, and ends in quarantine with all its bytes.

use std::sync::Arc;

use vigia_disk::Disk;
use vigia_disk::redb;
use vigia_kit::clock;
use vigia_protocol::batch::{
    BatchHead, Count, Message, RawFrame, RawFrames, decode_borrowed, decode_head, encode,
};
use vigia_protocol::position::Position;
use vigia_protocol::stage::{SEAL_BYTES, StageKey};

use super::state::{HeldLog, read_row};

/// Reads rows, and proves their seals.
#[derive(Debug)]
pub struct Rows {
    disk: Arc<Disk>,
    key: StageKey,
    topic: String,
}

impl Rows {
    /// The rows of this disk, sealed with this key for this topic.
    pub fn new(disk: Arc<Disk>, key: StageKey, topic: String) -> Self {
        Self { disk, key, topic }
    }

    /// The row at a place, as everybody behind will take it; `None` if it was let go.
    ///
    /// # Errors
    /// What redb says.
    pub fn read(&self, log: &HeldLog, n: u64) -> Result<Option<Vec<u8>>, redb::Error> {
        let Some((row, _)) = read_row(&self.disk, log.order, n)? else { return Ok(None) };
        if self.is_intact(&row) {
            return Ok(Some(row));
        }
        let head = self.head(log, n)?;
        tracing::error!(
            position = %head.position,
            readings = head.has.readings,
            "the disk has changed a row of the journal; what is damaged in it goes to quarantine"
        );
        let frames = match decode_borrowed(&row[..row.len().saturating_sub(SEAL_BYTES)]) {
            Ok(Message::Batch(_, frames)) => frames,
            _ => vec![RawFrame { received: clock::now(), bytes: &row }],
        };
        let message: Message<RawFrames<'_>> = Message::Batch(head, frames);
        Ok(Some(self.key.seal(&self.topic, encode(&message))))
    }

    fn is_intact(&self, row: &[u8]) -> bool {
        self.key.open(&self.topic, row).is_ok()
    }

    /// What must stand in front of a damaged row, so that the counts go on from row to row.
    fn head(&self, log: &HeldLog, n: u64) -> Result<BatchHead, redb::Error> {
        let (begin, end) = (self.accepted_before(log, n)?, self.accepted_before(log, n + 1)?);
        let before = begin.or(end).unwrap_or(log.before_oldest);
        let has = end.and_then(|end| end.minus(before)).unwrap_or_default();
        Ok(BatchHead { position: Position { log: log.id, n }, before, has })
    }

    /// What was accepted before a row, by the best of those who tell: the journal's own count, the rows on both sides
    /// of the place where they are intact, and where they are not.
    fn accepted_before(&self, log: &HeldLog, n: u64) -> Result<Option<Count>, redb::Error> {
        if n <= log.oldest {
            return Ok(Some(log.before_oldest));
        }
        if n >= log.end {
            return Ok(Some(log.accepted));
        }
        let (left, right) = (self.head_of(log, n - 1)?, self.head_of(log, n)?);
        let end = |(_, head): (bool, BatchHead)| head.before.plus(head.has);
        let begin = |(_, head): (bool, BatchHead)| head.before;
        let intact = |told: &(bool, BatchHead)| told.0;
        Ok(left
            .filter(intact)
            .map(end)
            .or(right.filter(intact).map(begin))
            .or(left.map(end))
            .or(right.map(begin)))
    }

    /// A row's head, and whether the row is intact.
    fn head_of(&self, log: &HeldLog, n: u64) -> Result<Option<(bool, BatchHead)>, redb::Error> {
        let Some((row, _)) = read_row(&self.disk, log.order, n)? else { return Ok(None) };
        let head = decode_head(&row).ok().flatten();
        let position = Position { log: log.id, n };
        Ok(head.filter(|head| head.position == position).map(|head| (self.is_intact(&row), head)))
    }
}
