//! All streams in memory.

use std::collections::BTreeMap;

use vigia_kit::config::Sabotage;
use vigia_protocol::header::SensorId;
use vigia_protocol::profile::Profile;

use crate::limits::TAIL_BYTES_KEPT;
use crate::run::{Run, Sample};
use crate::sabotage;
use crate::stream::{Stream, StreamId};
use crate::tables::{StreamRow, Writes};

/// See the module.
#[derive(Debug, Default)]
pub struct Streams {
    by_id: BTreeMap<StreamId, usize>,
    all: Vec<Stream>,
    /// The one that was asked for last: readings come in groups.
    last: Option<(StreamId, usize)>,
    open_bytes: usize,
    defect: Option<Sabotage>,
}

impl Streams {
    /// Takes over what was loaded.
    pub fn new(loaded: BTreeMap<StreamId, Stream>, defect: Option<Sabotage>) -> Self {
        let mut streams = Self { defect, ..Self::default() };
        for (id, stream) in loaded {
            streams.by_id.insert(id, streams.all.len());
            streams.all.push(stream);
        }
        streams.open_bytes = streams.count_open_bytes();
        streams
    }

    /// The stream, made if it is new.
    pub fn entry(&mut self, id: StreamId) -> &mut Stream {
        let at = match self.last {
            Some((last, at)) if last == id => at,
            _ => *self.by_id.entry(id).or_insert_with(|| {
                self.all.push(Stream::default());
                self.all.len() - 1
            }),
        };
        self.last = Some((id, at));
        &mut self.all[at]
    }

    /// The stream, if there is one.
    pub fn get(&self, id: StreamId) -> Option<&Stream> {
        self.by_id.get(&id).map(|at| &self.all[*at])
    }

    /// All, by sensor and stream.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (StreamId, &Stream)> {
        self.by_id.iter().map(|(id, at)| (*id, &self.all[*at]))
    }

    /// A sensor's, in their order.
    pub fn of(&self, sensor: SensorId) -> impl DoubleEndedIterator<Item = (StreamId, &Stream)> {
        let bound = |stream| StreamId { sensor, stream };
        self.by_id.range(bound(0)..=bound(u32::MAX)).map(|(id, at)| (*id, &self.all[*at]))
    }

    /// The ids of at most `limit` sensors above `after`.
    pub fn sensors(&self, after: Option<SensorId>, limit: usize) -> Vec<SensorId> {
        let mut found = Vec::new();
        let mut next = match after {
            None => Some(i16::MIN),
            Some(after) => after.0.checked_add(1),
        };
        while let Some(least) = next
            && found.len() < limit
        {
            let from = StreamId { sensor: SensorId(least), stream: 0 };
            let Some((id, _)) = self.by_id.range(from..).next() else { break };
            found.push(id.sensor);
            next = id.sensor.0.checked_add(1);
        }
        found
    }

    /// Takes a reading in; says whether it is new. `full` gets a run that became full with it.
    pub fn take(
        &mut self,
        id: StreamId,
        sample: &Sample<'_>,
        profile: &Profile,
        full: &mut impl FnMut(StreamId, &Run),
    ) -> bool {
        let defect = self.defect;
        let stream = self.entry(id);
        if !stream.account.stored.insert(sample.seq) {
            return false;
        }
        let mut bytes = 0;
        for offset in sabotage::copies(defect, id, sample.seq) {
            let grown = stream.push(&Sample { seq: sample.seq + offset, ..*sample }, profile);
            bytes += grown.bytes;
            if let Some(run) = grown.full {
                full(id, &run);
            }
        }
        stream.changed = true;
        self.open_bytes = self.open_bytes.saturating_add_signed(bytes);
        true
    }

    /// Bytes of open runs.
    pub fn open_bytes(&self) -> usize {
        self.open_bytes
    }

    /// Writes everything that the last checkpoint has not. Of each stream the last run stays open, as
    /// long as all of them together are small enough.
    pub fn checkpoint(&mut self, writes: &mut Writes) -> Vec<(StreamId, StreamRow)> {
        let keep = self.open_bytes <= TAIL_BYTES_KEPT;
        let mut rows = Vec::new();
        for (id, at) in &self.by_id {
            let stream = &mut self.all[*at];
            if !stream.changed && (keep || stream.open.is_empty()) {
                continue;
            }
            for open in &mut stream.open {
                if open.written < open.run.len() {
                    writes.block(*id, &open.run);
                    open.written = open.run.len();
                }
            }
            let end = stream.open.iter().map(|open| open.run.end()).max();
            stream.open.retain(|open| keep && Some(open.run.end()) == end);
            stream.changed = false;
            rows.push((
                *id,
                StreamRow {
                    account: stream.account.clone(),
                    open: stream
                        .open
                        .iter()
                        .map(|open| (open.run.first, open.run.len() as u64))
                        .collect(),
                },
            ));
        }
        self.open_bytes = self.count_open_bytes();
        rows
    }

    fn count_open_bytes(&self) -> usize {
        self.all.iter().flat_map(|stream| &stream.open).map(|open| open.bytes()).sum()
    }
}
