// Opening a spool: the lock, and reading back what an earlier process, or an earlier life, left.

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "spool.h"

namespace vigia {

namespace {

// More readings than any segment has room for.
constexpr uint64_t kMaxSegmentItems = 1 << 16;

// The numbers of all segments, ascending. Other files are not ours and are left alone.
Status ListSegments(const std::string& dir, std::vector<uint64_t>* numbers) {
  DIR* handle = opendir(dir.c_str());
  if (handle == nullptr) return Status::FromErrno("list " + dir, errno);
  while (const dirent* entry = readdir(handle)) {
    const std::string name = entry->d_name;
    if (name.size() != 22 || name.substr(16) != ".spool") continue;
    if (name.find_first_not_of("0123456789abcdef") != 16) continue;
    numbers->push_back(std::stoull(name.substr(0, 16), nullptr, 16));
  }
  closedir(handle);
  std::sort(numbers->begin(), numbers->end());
  return Status::Ok();
}

Status ReadFile(const std::string& path, int fd, Bytes* bytes) {
  struct stat info;
  if (fstat(fd, &info) != 0) return Status::FromErrno("read " + path, errno);
  bytes->resize(static_cast<size_t>(info.st_size));
  size_t done = 0;
  while (done < bytes->size()) {
    const ssize_t n =
        pread(fd, bytes->data() + done, bytes->size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno("read " + path, errno);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  bytes->resize(done);
  return Status::Ok();
}

}  // namespace

Status Spool::Open(const Options& options, std::unique_ptr<Spool>* spool, Report* report) {
  std::error_code error;
  std::filesystem::create_directories(options.dir, error);
  if (error) return Status::Io("create " + options.dir + ": " + error.message());

  std::unique_ptr<Spool> opened(new Spool(options));
  if (Status status = opened->Lock(); !status.ok()) return status;
  if (Status status = opened->Replay(report); !status.ok()) return status;
  // Writing always begins in a new segment: its checkpoint is what was understood of the old ones. On a
  // full disk that has to wait.
  Status status = opened->Rotate();
  if (!status.ok() && status.code() != Status::Code::kDiskFull) return status;
  if (status.ok()) {
    status = opened->ReleaseSegments();
    if (!status.ok() && status.code() != Status::Code::kDiskFull) return status;
  }
  *spool = std::move(opened);
  return Status::Ok();
}

Status Spool::Lock() {
  const std::string path = options_.dir + "/lock";
  lock_fd_ = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (lock_fd_ < 0) return Status::FromErrno("open " + path, errno);
  if (flock(lock_fd_, LOCK_EX | LOCK_NB) == 0) return Status::Ok();
  if (errno != EWOULDBLOCK) return Status::FromErrno("lock " + path, errno);
  return Status::Invalid("the spool " + options_.dir + " is in use by another vigia-sensor");
}

Status Spool::Replay(Report* report) {
  std::vector<uint64_t> numbers;
  if (Status status = ListSegments(options_.dir, &numbers); !status.ok()) return status;
  for (const uint64_t number : numbers) {
    if (Status status = ReplaySegment(number, report); !status.ok()) return status;
  }
  first_ = std::min(first_, next_);
  // What a journal has the next WELCOME says anew. An old word for it could be of one that is lost.
  custody_ = first_;
  FindLost(report);
  ForgetEndedCuts();
  BoundCuts();
  return Status::Ok();
}

Status Spool::ReplaySegment(uint64_t number, Report* report) {
  const std::string path = PathOf(number);
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return Status::FromErrno("open " + path, errno);
  Bytes bytes;
  Status status = ReadFile(path, fd, &bytes);

  if (const auto header = ParseSegmentHeader(bytes); status.ok() && header) {
    if (header->version > kSpoolVersion) {
      status = Status::Invalid(path + " has spool format " + std::to_string(header->version) +
                               ", written by a newer vigia-sensor; this one knows up to " +
                               std::to_string(kSpoolVersion));
    } else if (header->sensor != options_.sensor) {
      status = Status::Invalid("the spool " + options_.dir + " belongs to sensor " +
                               std::to_string(header->sensor) + ", the key to sensor " +
                               std::to_string(options_.sensor));
    }
  }
  // A damaged header costs nothing: the records are checked against the number in the file's name.
  if (status.ok()) {
    Segment segment{.number = number, .size = 0, .first_item = next_, .next_item = 0, .offsets = {}};
    RecordReader reader(number, bytes);
    while (const auto record = reader.Next()) ReplayRecord(*record, &segment);
    segment.size = std::min<uint64_t>(reader.valid_end(), bytes.size());
    if (segment.offsets.empty()) segment.first_item = next_;
    segment.next_item = next_;
    report->damaged_bytes += reader.damaged_bytes();
    report->torn_bytes += bytes.size() - segment.size;
    if (ftruncate(fd, static_cast<off_t>(segment.size)) != 0) {
      status = Status::FromErrno("cut the torn tail of " + path, errno);
    }
    // A process that was killed may have left what was never synced. What is built on it now must not
    // outlive it.
    else if (fdatasync(fd) != 0) {
      status = Status::FromErrno("sync " + path, errno);
    }
    bytes_ += segment.size;
    segments_.push_back(std::move(segment));
  }
  close(fd);
  return status;
}

void Spool::ReplayRecord(const RecordView& record, Segment* segment) {
  switch (record.type) {
    case RecordType::kReading: {
      if (record.body.size() < kMinReadingRecordBody) return;
      const uint64_t item = GetU64(record.body.data());
      // Items only grow. A leap longer than a segment of readings is not one of ours.
      if (item < next_) return;
      if (segment->offsets.empty()) segment->first_item = item;
      if (item - segment->first_item > kMaxSegmentItems) return;
      segment->offsets.resize(item - segment->first_item, 0);
      segment->offsets.push_back(static_cast<uint32_t>(record.offset));
      NoteReadingSize(item, record.body.size() - 8);
      next_ = item + 1;
      return;
    }
    case RecordType::kCut: {
      const auto cut = ParseCutRecord(record.body);
      if (!cut || cut->stream < stream_ || cut->item < cut->cut.seq || cut->cut.count == 0) return;
      if (cut->stream > stream_) {  // the mark that opened it was lost
        stream_ = cut->stream;
        cuts_.clear();
      }
      base_ = cut->item - cut->cut.seq;
      if (cut->cut.reason != 0) AssignGap(cut->item, cut->item + cut->cut.count, cut->cut.reason);
      next_ = std::max(next_, cut->item + cut->cut.count);
      InsertCut(cut->cut);
      return;
    }
    case RecordType::kGap: {
      const auto gap = ParseGapRecord(record.body);
      if (!gap || gap->end <= gap->item) return;
      AssignGap(gap->item, gap->end, gap->reason);
      next_ = std::max(next_, gap->end);
      return;
    }
    case RecordType::kMark: {
      const auto mark = ParseMarkRecord(record.body);
      if (!mark || mark->stream < stream_ || mark->base >= mark->first) return;
      if (mark->stream > stream_) cuts_.clear();
      stream_ = mark->stream;
      base_ = mark->base;
      first_ = std::max(first_, mark->first);
      next_ = std::max(next_, mark->next);
      return;
    }
  }
}

// Whatever should be there and is not was in damaged bytes, or in a file that is gone.
void Spool::FindLost(Report* report) {
  const uint64_t before = dropped_;
  const auto damaged = static_cast<uint16_t>(GapReason::kSpoolDamaged);
  uint64_t expected = first_;
  for (const Segment& segment : segments_) {
    for (uint64_t i = 0; i < segment.offsets.size(); i++) {
      if (segment.offsets[i] == 0) continue;
      const uint64_t item = segment.first_item + i;
      if (item < expected) continue;
      if (item > expected) Drop(expected, item, damaged);
      expected = item + 1;
    }
  }
  Drop(expected, next_, damaged);
  report->lost_readings = dropped_ - before;
}

}  // namespace vigia
