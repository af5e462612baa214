#include "spool.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace vigia {

namespace {

constexpr uint64_t kMinSegmentBytes = 16 << 10;
constexpr uint64_t kMaxSegmentBytes = 1 << 20;
constexpr uint64_t kMaxSpareCuts = 1024;

bool WriteAll(int fd, ByteView bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return true;
}

// Keeps blocks free for the file, where the file system can. Asks first: to be refused is slow, and on a
// full disk it happens at every reading.
bool Reserve(int fd, off_t size) {
  struct statvfs disk;
  if (fstatvfs(fd, &disk) == 0 && disk.f_bavail * disk.f_frsize < static_cast<uint64_t>(size)) {
    errno = ENOSPC;
    return false;
  }
  return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size) == 0 || errno == EOPNOTSUPP || errno == ENOSYS;
}

}  // namespace

Spool::Spool(const Options& options)
    : options_(options),
      // Small spools get small segments: eviction frees whole ones.
      segment_bytes_(std::clamp(options.max_bytes / 8, kMinSegmentBytes, kMaxSegmentBytes)),
      // They are written again with every segment that goes: a quarter of one at most.
      spare_cuts_(std::min(kMaxSpareCuts, segment_bytes_ / 4 / (kRecordHeaderSize + kCutRecordBody))) {}

Spool::~Spool() {
  for (const int fd : {read_fd_, write_fd_, lock_fd_}) {
    if (fd >= 0) close(fd);
  }
}

std::string Spool::PathOf(uint64_t number) const {
  char name[32];
  snprintf(name, sizeof name, "/%016llx.spool", static_cast<unsigned long long>(number));
  return options_.dir + name;
}

Status Spool::SyncDirectory() const {
  const int fd = open(options_.dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Status::FromErrno("open " + options_.dir, errno);
  const Status status =
      fsync(fd) == 0 ? Status::Ok() : Status::FromErrno("sync " + options_.dir, errno);
  close(fd);
  return status;
}

// ---- appending

RecordBatch Spool::NewBatch() const {
  if (write_fd_ < 0) return RecordBatch(0, 0);  // Append() will refuse it
  return RecordBatch(segments_.back().number, segments_.back().size);
}

CutRecord Spool::ToRecord(const Cut& cut) const { return CutRecord{stream_, base_ + cut.seq, cut}; }

void Spool::AddCheckpointMark(RecordBatch* batch) const {
  batch->AddMark(MarkRecord{stream_, base_, first_, custody_, next_});
}

Status Spool::Append(const RecordBatch& batch) {
  if (write_fd_ < 0) return Status::FromErrno("write to " + options_.dir, ENOSPC);
  Segment& segment = segments_.back();
  if (!WriteAll(write_fd_, batch.bytes(), segment.size)) {
    const Status status = Status::FromErrno("write " + PathOf(segment.number), errno);
    // What was half written is written over by the next append; cut it in case there is none.
    if (ftruncate(write_fd_, static_cast<off_t>(segment.size)) != 0) return status;
    if (status.code() == Status::Code::kDiskFull) disk_full_ = true;
    return status;
  }
  segment.size += batch.bytes().size();
  bytes_ += batch.bytes().size();
  unsynced_ = true;
  return Status::Ok();
}

Status Spool::Sync() {
  if (!unsynced_) return Status::Ok();
  if (fdatasync(write_fd_) != 0) {
    // Even for want of room: which pages were lost is not known any more.
    return Status::Io(Status::FromErrno("sync " + PathOf(segments_.back().number), errno).message());
  }
  unsynced_ = false;
  return Status::Ok();
}

// The old segment stays in use if a new one cannot be made: what drains the spool must go on.
Status Spool::Rotate() {
  if (Status status = Sync(); !status.ok()) return status;

  const uint64_t number = segments_.empty() ? 1 : segments_.back().number + 1;
  const std::string path = PathOf(number);
  const int fd = open(path.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) {
    Status status = Status::FromErrno("create " + path, errno);
    if (status.code() == Status::Code::kDiskFull) disk_full_ = true;
    return status;
  }

  Bytes bytes = EncodeSegmentHeader(SegmentHeader{
      .sensor = options_.sensor, .reading_size = options_.reading_size, .number = number});
  RecordBatch checkpoint(number, bytes.size());
  AddCheckpointMark(&checkpoint);
  for (const auto& [item, gap] : gaps_) checkpoint.AddGap(GapRecord{item, gap.end, gap.reason});
  PutBytes(&bytes, checkpoint.bytes());

  // Room for the readings, and a quarter more so that cuts and marks fit when the disk is full. A spool
  // opened on a full disk contents itself with half of what an earlier process so reserved, to drain.
  const auto room = static_cast<off_t>(segment_bytes_ + segment_bytes_ / 4);
  const auto room_to_drain = static_cast<off_t>(segment_bytes_ / 8);
  const bool whole = Reserve(fd, room);
  if (!(whole || (write_fd_ < 0 && Reserve(fd, room_to_drain))) || !WriteAll(fd, bytes, 0) || fdatasync(fd) != 0) {
    Status status = Status::FromErrno("write " + path, errno);
    if (status.code() == Status::Code::kDiskFull) disk_full_ = true;
    close(fd);
    unlink(path.c_str());
    return status;
  }
  if (Status status = SyncDirectory(); !status.ok()) {
    close(fd);
    return status;
  }

  if (write_fd_ >= 0) {
    segments_.back().next_item = next_;
    // Gives back what was reserved and not needed. If it fails the room is only freed later.
    if (ftruncate(write_fd_, static_cast<off_t>(segments_.back().size)) != 0) errno = 0;
    close(write_fd_);
  }
  write_fd_ = fd;
  drain_only_ = !whole;
  segments_.push_back(Segment{
      .number = number, .size = bytes.size(), .first_item = next_, .next_item = next_, .offsets = {}});
  bytes_ += bytes.size();
  unwritten_gap_.reset();  // the checkpoint has it
  return Status::Ok();
}

Status Spool::AddReading(ByteView reading) {
  const uint64_t item = next_;
  const size_t record_size = kRecordHeaderSize + 8 + reading.size();
  Status status;
  while (bytes_ + record_size > options_.max_bytes) {
    const uint64_t before = bytes_;
    status = EvictOldestSegment();
    if (!status.ok() || bytes_ >= before) break;
  }
  // After dropped items too: the items of a segment's readings are dense.
  if (status.ok() && (write_fd_ < 0 || drain_only_ || unwritten_gap_ ||
                      segments_.back().size + record_size > segment_bytes_)) {
    status = Rotate();
    if (status.ok() && drain_only_) status = Status::FromErrno("reserve room", ENOSPC);
  }
  if (status.ok()) {
    RecordBatch batch = NewBatch();
    const uint64_t offset = segments_.back().size;
    batch.AddReading(item, reading);
    status = Append(batch);
    if (status.ok()) {
      Segment& segment = segments_.back();
      if (segment.offsets.empty()) segment.first_item = item;
      segment.offsets.resize(item - segment.first_item, 0);
      segment.offsets.push_back(static_cast<uint32_t>(offset));
      NoteReadingSize(item, reading.size());
      next_ = item + 1;
      segment.next_item = next_;
      disk_full_ = false;
      return Status::Ok();
    }
  }
  if (status.code() != Status::Code::kDiskFull) return status;

  disk_full_ = true;
  const auto full = static_cast<uint16_t>(GapReason::kSpoolFull);
  next_ = item + 1;
  dropped_++;
  AssignGap(item, next_, full);
  unwritten_gap_ = GapRecord{unwritten_gap_ ? unwritten_gap_->item : item, next_, full};
  return Status::Ok();
}

// ---- making room

// Eviction is by whole segments: what is in custody goes silently, the rest becomes a gap.
Status Spool::EvictOldestSegment() {
  if (segments_.size() < 2) {
    if (Status status = Rotate(); !status.ok()) return status;
  }
  if (segments_.size() < 2) return Status::Ok();
  const uint64_t end = segments_.front().next_item;
  first_ = std::max(first_, std::min(end, custody_));
  Drop(first_, end, static_cast<uint16_t>(GapReason::kSpoolFull));
  ForgetEndedCuts();
  return ReleaseSegments();
}

Status Spool::ReleaseSegments() {
  size_t releasable = 0;
  while (releasable + 1 < segments_.size() && AllDropped(first_, segments_[releasable].next_item)) {
    releasable++;
  }
  if (releasable == 0) return Status::Ok();

  // What of them is still needed, first. Cuts of dropped readings are needed too: their frames may have
  // been accepted, and then WELCOME names them; most likely one of the last.
  const uint64_t end = segments_[releasable - 1].next_item;
  const auto may_stand_there = [&](const Cut& cut) { return base_ + cut.end() <= end; };
  auto surplus = std::ranges::count_if(cuts_, may_stand_there) - static_cast<ptrdiff_t>(spare_cuts_);
  std::deque<Cut> kept;
  RecordBatch batch = NewBatch();
  AddCheckpointMark(&batch);
  for (const Cut& cut : cuts_) {
    if (may_stand_there(cut)) {
      if (surplus-- > 0) continue;
      batch.AddCut(ToRecord(cut));
    }
    kept.push_back(cut);
  }
  for (const auto& [item, gap] : gaps_) batch.AddGap(GapRecord{item, gap.end, gap.reason});
  if (Status status = Append(batch); !status.ok()) return status;
  cuts_ = std::move(kept);
  unwritten_gap_.reset();
  if (Status status = Sync(); !status.ok()) return status;

  for (; releasable > 0; releasable--) {
    const Segment& segment = segments_.front();
    if (unlink(PathOf(segment.number).c_str()) != 0) {
      return Status::FromErrno("remove " + PathOf(segment.number), errno);
    }
    bytes_ -= segment.size;
    segments_.pop_front();
  }
  return SyncDirectory();
}

// Makes gaps of what in [from, end) is not one already.
void Spool::Drop(uint64_t from, uint64_t end, uint16_t reason) {
  while (from < end) {
    const Run run = RunAt(from - base_);
    const uint64_t run_end = std::min(run.end + base_, end);
    if (run.reason == 0) {
      dropped_ += run_end - from;
      AssignGap(from, run_end, reason);
    }
    from = run_end;
  }
}

void Spool::AssignGap(uint64_t from, uint64_t end, uint16_t reason) {
  // Cut out what is there, keeping what sticks out on either side.
  auto it = gaps_.upper_bound(from);
  if (it != gaps_.begin()) --it;
  while (it != gaps_.end() && it->first < end) {
    const uint64_t old_from = it->first;
    const Gap old = it->second;
    if (old.end <= from) {
      ++it;
      continue;
    }
    it = gaps_.erase(it);
    if (old_from < from) gaps_[old_from] = Gap{from, old.reason};
    if (old.end > end) gaps_[end] = Gap{old.end, old.reason};
  }
  // Join with neighbours of the same reason.
  auto after = gaps_.find(end);
  if (after != gaps_.end() && after->second.reason == reason) {
    end = after->second.end;
    gaps_.erase(after);
  }
  auto before = gaps_.lower_bound(from);
  if (before != gaps_.begin()) {
    --before;
    if (before->second.end == from && before->second.reason == reason) {
      before->second.end = end;
      return;
    }
  }
  gaps_[from] = Gap{end, reason};
}

bool Spool::AllDropped(uint64_t from, uint64_t end) const {
  while (from < end) {
    const Run run = RunAt(from - base_);
    if (run.reason == 0) return false;
    from = run.end + base_;
  }
  return true;
}

Spool::Run Spool::RunAt(uint64_t seq) const {
  const uint64_t item = base_ + seq;
  const auto after = gaps_.upper_bound(item);
  if (after != gaps_.begin()) {
    const Gap& gap = std::prev(after)->second;
    if (gap.end > item) return Run{gap.reason, 0, gap.end - base_};
  }
  uint64_t end = after == gaps_.end() ? next_ : after->first;
  const auto longer = reading_sizes_.upper_bound(item);
  if (longer != reading_sizes_.end()) end = std::min(end, longer->first);
  // No reading was ever seen before the first of them.
  const size_t size = longer == reading_sizes_.begin() ? 0 : std::prev(longer)->second;
  return Run{0, size, end - base_};
}

// ---- reading back

Spool::Segment* Spool::FindSegment(uint64_t item) {
  const auto after = std::upper_bound(
      segments_.begin(), segments_.end(), item,
      [](uint64_t wanted, const Segment& segment) { return wanted < segment.first_item; });
  return after == segments_.begin() ? nullptr : &*std::prev(after);
}

// An older profile's readings may be held yet.
void Spool::NoteReadingSize(uint64_t item, size_t size) {
  if (reading_sizes_.empty() || reading_sizes_.rbegin()->second != size) reading_sizes_[item] = size;
}

bool Spool::ReadReading(uint64_t item, size_t size, Bytes* readings) {
  const Segment* segment = FindSegment(item);
  if (segment == nullptr) return false;
  const uint64_t index = item - segment->first_item;
  if (index >= segment->offsets.size() || segment->offsets[index] == 0) return false;

  int fd = write_fd_;
  if (segment != &segments_.back() || write_fd_ < 0) {
    if (read_fd_ < 0 || read_number_ != segment->number) {
      if (read_fd_ >= 0) close(read_fd_);
      read_fd_ = open(PathOf(segment->number).c_str(), O_RDONLY | O_CLOEXEC);
      read_number_ = segment->number;
    }
    fd = read_fd_;
  }
  Bytes bytes(kRecordHeaderSize + 8 + size);
  const uint64_t offset = segment->offsets[index];
  const ssize_t n = pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
  if (n != static_cast<ssize_t>(bytes.size())) return false;
  const auto record = ParseRecord(segment->number, offset, bytes);
  if (!record || record->type != RecordType::kReading || GetU64(record->body.data()) != item) {
    return false;
  }
  PutBytes(readings, record->body.subspan(8));
  return true;
}

Status Spool::ReadReadings(uint64_t seq, size_t max, Bytes* readings, uint16_t* count) {
  *count = 0;
  const size_t size = RunAt(seq).reading_size;
  for (uint64_t item = base_ + seq; *count < max; item++) {
    if (!ReadReading(item, size, readings)) {
      const auto damaged = static_cast<uint16_t>(GapReason::kSpoolDamaged);
      AssignGap(item, item + 1, damaged);
      dropped_++;
      RecordBatch batch = NewBatch();
      batch.AddGap(GapRecord{item, item + 1, damaged});
      const Status status = Append(batch);
      // Not written for want of room, it will be found damaged again.
      return status.code() == Status::Code::kDiskFull ? Status::Ok() : status;
    }
    (*count)++;
  }
  return Status::Ok();
}

// ---- cuts

const Cut* Spool::CutToRepeat(uint64_t seq, uint16_t epoch) const {
  const auto here = std::ranges::equal_range(cuts_, seq, {}, &Cut::seq);
  for (auto it = here.end(); it != here.begin();) {
    --it;
    // A shorter one may be whole where a longer one lost its end.
    if (it->epoch == epoch && Holds(*it)) return &*it;
  }
  return nullptr;
}

uint64_t Spool::NextCutBehind(uint64_t seq, uint16_t reason) const {
  auto it = std::ranges::upper_bound(cuts_, seq, {}, &Cut::seq);
  while (it != cuts_.end() && it->reason != reason) ++it;
  return it == cuts_.end() ? UINT64_MAX : it->seq;
}

bool Spool::KnowsCut(uint64_t seq, const Nonce& nonce) const {
  return std::ranges::any_of(cuts_, [&](const Cut& cut) { return cut.end() == seq && cut.nonce == nonce; });
}

bool Spool::Holds(const Cut& cut) const {
  if (cut.seq < first() || cut.end() > next()) return false;
  const Run run = RunAt(cut.seq);
  return run.reason == cut.reason && run.end >= cut.end();
}

void Spool::InsertCut(const Cut& cut) {
  const auto here = std::ranges::equal_range(cuts_, cut.seq, {}, &Cut::seq);
  // Read back, it may come again: it was written again before a segment went.
  if (std::ranges::find(here, cut) == here.end()) cuts_.insert(here.end(), cut);
}

void Spool::BoundCuts() {
  while (cuts_.size() > next_ - first_ + spare_cuts_) cuts_.pop_front();
}

// A cut that ends where the memory begins is what the next WELCOME may name.
void Spool::ForgetEndedCuts() {
  while (!cuts_.empty() && cuts_.front().end() < first()) cuts_.pop_front();
  // Gaps below are of no interest either; one that sticks out is shortened.
  while (!gaps_.empty() && gaps_.begin()->first < first_) {
    const Gap gap = gaps_.begin()->second;
    gaps_.erase(gaps_.begin());
    if (gap.end > first_) gaps_[first_] = gap;
  }
}

Status Spool::AddCuts(const std::vector<Cut>& cuts) {
  if (write_fd_ < 0) {
    if (Status status = Rotate(); !status.ok()) return status;
  }
  RecordBatch batch = NewBatch();
  if (unwritten_gap_) batch.AddGap(*unwritten_gap_);
  // What was stored meanwhile rides along: a start after a crash then holds little that is stored already.
  if (first_ != marked_first_) AddCheckpointMark(&batch);
  for (const Cut& cut : cuts) batch.AddCut(ToRecord(cut));
  if (Status status = Append(batch); !status.ok()) return status;
  unwritten_gap_.reset();
  marked_first_ = first_;
  for (const Cut& cut : cuts) InsertCut(cut);
  BoundCuts();
  return Status::Ok();
}

// ---- what became of it

void Spool::SetCustody(uint64_t seq) { custody_ = base_ + seq; }

Status Spool::Forget(uint64_t seq) {
  if (base_ + seq <= first_) return Status::Ok();
  first_ = base_ + seq;
  ForgetEndedCuts();
  Status status = ReleaseSegments();
  // Without room for the mark the segments stay until there is.
  return status.code() == Status::Code::kDiskFull ? Status::Ok() : status;
}

Status Spool::OpenStream(uint32_t stream) {
  if (write_fd_ < 0) {
    if (Status status = Rotate(); !status.ok()) return status;
  }
  RecordBatch batch = NewBatch();
  batch.AddMark(MarkRecord{stream, first_ - 1, first_, first_, next_});
  if (Status status = Append(batch); !status.ok()) return status;
  if (Status status = Sync(); !status.ok()) return status;
  stream_ = stream;
  base_ = first_ - 1;
  custody_ = first_;
  cuts_.clear();
  return Status::Ok();
}

Status Spool::Close() {
  if (write_fd_ < 0) return Status::Ok();
  RecordBatch batch = NewBatch();
  if (unwritten_gap_) batch.AddGap(*unwritten_gap_);
  AddCheckpointMark(&batch);
  if (Status status = Append(batch); !status.ok()) return status;
  return Sync();
}

}  // namespace vigia
