// Where readings come from, and when: the simulator at its rate, a CSV file at its own pace, lines from
// standard input as they come.
#pragma once

#include <optional>

#include "clock.h"
#include "csv.h"
#include "options.h"
#include "simulator.h"

namespace vigia {

class Source {
 public:
  // REQUIRES: options outlive it.
  Source(const CommandOptions& options, const std::vector<Quantity>& quantities, Instant start);
  ~Source();
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  // Opens the file. A failure is a sentence for the user.
  Status Open();

  // The next reading, if one is due. no_room: the spool is nearly full; only a file read as fast as possible
  // heeds it, because nothing else can wait. A failure is a wrong header or an unreadable file.
  Status Next(Instant now, bool no_room, std::optional<Reading>* reading);

  bool ended() const { return ended_; }
  uint64_t skipped_lines() const { return skipped_lines_; }
  int64_t NextDeadline() const;
  // To be polled for input, or -1.
  int poll_fd() const;
  void OnReadable();

 private:
  Status NextSimulated(Instant now, std::optional<Reading>* reading);
  Status NextLine(Instant now, std::optional<Reading>* reading);
  Status ParseNextLine(std::optional<Reading>* reading);
  bool Fill();

  const CommandOptions& options_;
  const Instant start_;
  bool ended_ = false;

  Simulator simulator_;
  int64_t origin_us_;  // of the simulator's schedule, monotonic
  uint64_t ticks_ = 0;

  int fd_ = -1;
  bool readable_ = false;
  bool end_of_file_ = false;
  int read_error_ = 0;
  CsvParser parser_;
  LineSplitter lines_;
  uint64_t line_number_ = 0;
  uint64_t skipped_lines_ = 0;
  std::optional<Reading> waiting_;  // of the file: parsed, not due yet
  std::optional<int64_t> first_time_us_;
  int64_t no_room_until_us_ = 0;
};

}  // namespace vigia
