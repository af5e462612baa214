#include "source.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>

namespace vigia {

namespace {

// A process that was stopped for longer does not invent the readings it missed.
constexpr int64_t kMaxCatchUpUs = 10'000'000;
constexpr int64_t kNoRoomPauseUs = 10'000;

}  // namespace

Source::Source(const CommandOptions& options, const std::vector<Quantity>& quantities, Instant start)
    : options_(options),
      start_(start),
      simulator_(quantities, options.seed, options.faults),
      origin_us_(start.mono_us),
      parser_(quantities) {}

Source::~Source() {
  if (fd_ > STDIN_FILENO) close(fd_);
}

Status Source::Open() {
  if (options_.input == Input::kStdin) fd_ = STDIN_FILENO;
  if (options_.input != Input::kCsv) return Status::Ok();
  fd_ = open(options_.csv.c_str(), O_RDONLY | O_CLOEXEC);
  return fd_ >= 0 ? Status::Ok() : Status::FromErrno("open " + options_.csv, errno);
}

int Source::poll_fd() const { return options_.input == Input::kStdin && !ended_ ? fd_ : -1; }

void Source::OnReadable() { readable_ = true; }

int64_t Source::NextDeadline() const {
  if (ended_ || options_.input == Input::kStdin) return INT64_MAX;
  if (no_room_until_us_ != 0) return no_room_until_us_;
  if (options_.input == Input::kSimulate) {
    return origin_us_ + std::llround(static_cast<double>(ticks_) * 1e6 / options_.rate_hz);
  }
  if (!waiting_ || options_.speed <= 0) return 0;
  const double offset = static_cast<double>(waiting_->time_us - *first_time_us_);
  return start_.mono_us + std::llround(offset / options_.speed);
}

Status Source::Next(Instant now, bool no_room, std::optional<Reading>* reading) {
  reading->reset();
  if (ended_) return Status::Ok();
  if (options_.input == Input::kSimulate) return NextSimulated(now, reading);
  const bool wait = no_room && options_.input == Input::kCsv && options_.speed <= 0;
  no_room_until_us_ = wait ? now.mono_us + kNoRoomPauseUs : 0;
  return wait ? Status::Ok() : NextLine(now, reading);
}

Status Source::NextSimulated(Instant now, std::optional<Reading>* reading) {
  const int64_t due = NextDeadline();
  if (now.mono_us < due) return Status::Ok();
  if (now.mono_us - due > kMaxCatchUpUs) {
    origin_us_ = now.mono_us;
    ticks_ = 0;
    return Status::Ok();
  }
  ticks_++;
  // The time it was due, not the time we got round to it.
  *reading = simulator_.Measure(now.wall_us - (now.mono_us - due));
  return Status::Ok();
}

Status Source::NextLine(Instant now, std::optional<Reading>* reading) {
  if (!waiting_) {
    if (Status status = ParseNextLine(&waiting_); !status.ok()) return status;
    if (!waiting_) return Status::Ok();
    if (!first_time_us_) first_time_us_ = waiting_->time_us;
  }
  if (options_.input == Input::kCsv && now.mono_us < NextDeadline()) return Status::Ok();
  *reading = std::move(waiting_);
  waiting_.reset();
  return Status::Ok();
}

// The next good line, if there is one yet. Wrong ones are named and stepped over.
Status Source::ParseNextLine(std::optional<Reading>* reading) {
  for (;;) {
    const auto line = lines_.Next();
    if (!line) {
      if (Fill()) continue;
      if (read_error_ != 0) return Status::FromErrno("read the CSV input", read_error_);
      ended_ = end_of_file_;
      if (ended_ && !parser_.has_header()) return Status::Invalid("the CSV input is empty");
      return Status::Ok();
    }
    line_number_++;
    if (!parser_.has_header()) {
      if (Status status = parser_.ParseHeader(*line); !status.ok()) return status;
      continue;
    }
    if (line->empty()) continue;
    const Status status = parser_.ParseLine(*line, line_number_, &reading->emplace());
    if (status.ok()) return Status::Ok();
    reading->reset();
    skipped_lines_++;
    fprintf(stderr, "vigia-sensor: %s; skipped\n", status.message().c_str());
  }
}

// More bytes for the splitter; false if there are none now.
bool Source::Fill() {
  if (end_of_file_ || (options_.input == Input::kStdin && !readable_)) return false;
  char bytes[16 << 10];
  const ssize_t n = read(fd_, bytes, sizeof bytes);
  readable_ = false;
  if (n < 0) {
    if (errno != EINTR && errno != EAGAIN) read_error_ = errno;
    return false;
  }
  if (n == 0) {
    end_of_file_ = true;
    lines_.Finish();
    return true;
  }
  lines_.Feed(std::string_view(bytes, static_cast<size_t>(n)));
  return true;
}

}  // namespace vigia
