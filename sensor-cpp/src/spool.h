// The sensor's memory: readings, how they were cut into frames, and what became of them. A bounded
// directory of append-only segments that survives kill -9, power loss, torn and damaged bytes.
//
// DIRECTORY
//   lock                     held with flock() by the one process that uses the spool
//   0000000000000001.spool   segments, numbered in hex; the highest is written to
//
// SEGMENT: 32 bytes header, then records without holes. Little-endian.
//
//   0        4     5     6        8         10       12      16        24         32
//   +--------+-----+-----+--------+---------+--------+-------+---------+----------+
//   | "VGSP" | ver |  0  | sensor | reading |   0    |   0   | number  | checksum |
//   |  u32   | u8  | u8  |  i16   | size u16|  u16   |  u32  |  u64    |   u64    |
//   +--------+-----+-----+--------+---------+--------+-------+---------+----------+
//   checksum: the first 8 bytes of BLAKE3 over the 24 before it.
//
// RECORD
//   0        2      3     4          12
//   +--------+------+-----+----------+------------------+
//   | length | type |  0  | checksum | body, length     |
//   |  u16   |  u8  | u8  |   u64    | bytes            |
//   +--------+------+-----+----------+------------------+
//   checksum: the first 8 bytes of BLAKE3 over number u64 · offset of the record in its segment u64 ·
//   length u16 · type u8 · body.
//
//   1 reading  item u64 · the reading's bytes as on the wire
//   2 cut      stream u32 · seq u64 · item u64 · count u16 · epoch u16 · reason u16 (0: DATA) ·
//              nonce 24 · random 24
//   3          was written by early programs, and is stepped over
//   4 gap      item u64 · end u64 · reason u16: the items from item up to end are dropped
//   5 mark     stream u32 · base u64 · first u64 · custody u64 · next u64: everything below `first` is
//              stored or evicted; `next` item comes next. `custody`, what was in the ingress's journal, is
//              for those who look at the file: it is not read back.
//              A mark with another stream opens it: all cuts are forgotten.
//
// An ITEM is a reading, or one that was dropped; items are numbered for ever and densely. Its seq in the
// current stream is item - base, so that opening a stream renumbers everything held with one mark.
//
// A new segment begins with a checkpoint (a mark, all gaps). The cuts stay where they were written: a cut
// never stands in an older segment than its readings, and what of an unlinked segment is still needed is
// written again before. A segment is unlinked when nothing in it is held any more, after a synced mark that
// says so.
//
// CUTS are kept while they end at or above `first`, also when others were made over them: a frame that was
// sent once may yet be accepted out of an older connection, or have been accepted by another journal, and
// the WELCOME that names it must find it here. They are bounded: by one for each item and some more, and
// those of which no reading is held any more by a part of a segment. The oldest go first.
//
// READINGS of one length follow each other until the profile changes; `size` in a segment's header is what
// its writer's profile had, the records say what they are.
//
// READING IT BACK. What no readable record covers between `first` and `next` becomes a gap of reason 2.
// Unreadable bytes after a segment's last good record are a torn tail and are cut off.
//
// VERSIONS. `ver` changes when a byte here changes its meaning. A segment of a newer version than this
// program's is refused by name; magic, ver, and the header's size and checksum stay where they are.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "spool_record.h"
#include "status.h"

namespace vigia {

class Spool {
 public:
  struct Options {
    std::string dir;
    int16_t sensor = 0;
    uint16_t reading_size = 0;
    uint64_t max_bytes = 64ull << 20;
  };

  // What opening it found.
  struct Report {
    uint64_t torn_bytes = 0;
    uint64_t damaged_bytes = 0;
    uint64_t lost_readings = 0;  // now a gap of reason 2
  };

  // Consecutive items of one kind.
  struct Run {
    uint16_t reason = 0;      // of a gap; 0: readings
    size_t reading_size = 0;  // of readings: all are equally long
    uint64_t end = 0;         // seq
  };

  static Status Open(const Options& options, std::unique_ptr<Spool>* spool, Report* report);
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  uint32_t stream() const { return stream_; }
  uint64_t first() const { return first_ - base_; }  // the oldest held, or next()
  uint64_t next() const { return next_ - base_; }
  uint64_t custody() const { return custody_ - base_; }
  uint64_t bytes() const { return bytes_; }
  uint64_t dropped() const { return dropped_; }  // items that became gaps since it was opened
  bool disk_full() const { return disk_full_; }

  // Appends a reading. When the spool is full it evicts; when the disk is full the reading is dropped
  // (disk_full() becomes true) and counted in memory as a gap. Fails only if the disk fails.
  // REQUIRES: reading.size() == reading_size
  Status AddReading(ByteView reading);

  // REQUIRES: first() <= seq < next()
  Run RunAt(uint64_t seq) const;

  // The bytes of readings seq, seq + 1, ... of one run, at most `max`. Fewer than asked, down to none, if
  // one has become unreadable, which makes it a gap.
  // REQUIRES: RunAt(seq).reason == 0, max <= RunAt(seq).end - seq
  Status ReadReadings(uint64_t seq, size_t max, Bytes* readings, uint16_t* count);

  // Ascending by seq; of those that begin at one seq, the newest last. Good until the next non-const call.
  const std::deque<Cut>& cuts() const { return cuts_; }
  // The newest cut that begins at seq, has this epoch, and can be sealed again; or null.
  const Cut* CutToRepeat(uint64_t seq, uint16_t epoch) const;
  // Where, behind seq, the next cut of this kind begins; UINT64_MAX if none does.
  uint64_t NextCutBehind(uint64_t seq, uint16_t reason) const;
  // Whether a cut that ends at seq has this nonce.
  bool KnowsCut(uint64_t seq, const Nonce& nonce) const;
  // Whether what was cut is still there to be sealed again.
  bool Holds(const Cut& cut) const;

  // Remembers them beside the older ones. Not synced.
  Status AddCuts(const std::vector<Cut>& cuts);

  // After it, everything appended survives a power failure. A failed sync must not be tried again: the
  // kernel may have dropped what it could not write.
  Status Sync();

  // Below seq the ingress has it. May go back: the ingress can lose its journal. Opened, none is known to.
  // REQUIRES: first() <= seq <= next()
  void SetCustody(uint64_t seq);

  // Everything below seq is stored. REQUIRES: seq <= custody()
  Status Forget(uint64_t seq);

  // Renumbers from 1, in a new stream, what is held. Synced.
  Status OpenStream(uint32_t stream);

  // Writes down first(), so that the next start knows it. Synced.
  Status Close();

 private:
  struct Segment {
    uint64_t number = 0;
    uint64_t size = 0;
    uint64_t first_item = 0;        // of offsets[0]
    uint64_t next_item = 0;         // next_ when it was closed
    std::vector<uint32_t> offsets;  // of the reading records; 0: unreadable
  };
  struct Gap {
    uint64_t end = 0;
    uint16_t reason = 0;
  };

  explicit Spool(const Options& options);

  // spool_replay.cc
  Status Lock();
  Status Replay(Report* report);
  Status ReplaySegment(uint64_t number, Report* report);
  void ReplayRecord(const RecordView& record, Segment* segment);
  void FindLost(Report* report);

  Status Rotate();
  Status Append(const RecordBatch& batch);
  RecordBatch NewBatch() const;
  void AddCheckpointMark(RecordBatch* batch) const;
  CutRecord ToRecord(const Cut& cut) const;

  Status EvictOldestSegment();
  Status ReleaseSegments();
  void Drop(uint64_t from, uint64_t end, uint16_t reason);
  void AssignGap(uint64_t from, uint64_t end, uint16_t reason);
  bool AllDropped(uint64_t from, uint64_t end) const;
  void InsertCut(const Cut& cut);
  void BoundCuts();
  void ForgetEndedCuts();
  void NoteReadingSize(uint64_t item, size_t size);
  bool ReadReading(uint64_t item, size_t size, Bytes* readings);
  Segment* FindSegment(uint64_t item);

  std::string PathOf(uint64_t number) const;
  Status SyncDirectory() const;

  const Options options_;
  const uint64_t segment_bytes_;
  const size_t spare_cuts_;
  int lock_fd_ = -1;
  int write_fd_ = -1;  // the last segment's, if there is one to write to
  bool drain_only_ = false;  // it has no room for readings
  bool unsynced_ = false;
  int read_fd_ = -1;
  uint64_t read_number_ = 0;

  std::deque<Segment> segments_;
  uint64_t bytes_ = 0;
  uint32_t stream_ = 1;
  uint64_t base_ = 0;
  uint64_t first_ = 1;
  uint64_t custody_ = 1;
  uint64_t next_ = 1;
  uint64_t marked_first_ = 0;  // in the last mark that AddCuts() wrote
  std::map<uint64_t, Gap> gaps_;  // by first item; apart from each other or of different reason
  std::map<uint64_t, size_t> reading_sizes_;  // by the first item that has it
  std::deque<Cut> cuts_;
  std::optional<GapRecord> unwritten_gap_;  // dropped while the disk was full
  uint64_t dropped_ = 0;
  bool disk_full_ = false;
};

}  // namespace vigia
