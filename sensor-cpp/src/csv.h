// CSV lines to readings, and bytes to lines. Knows no files.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "reading.h"
#include "status.h"

namespace vigia {

// The first line must be the header `time,<quantity>,...`: all quantities of the profile, in any order.
// Times are RFC 3339, values numbers or `nan` (which makes the reading a failed one).
class CsvParser {
 public:
  explicit CsvParser(const std::vector<Quantity>& quantities) : quantities_(quantities) {}

  bool has_header() const { return !columns_.empty(); }
  Status ParseHeader(std::string_view line);

  // A failure names line, column, and what was expected; the next line may be fine.
  // REQUIRES: has_header()
  Status ParseLine(std::string_view line, uint64_t line_number, Reading* reading) const;

 private:
  static constexpr size_t kTimeColumn = SIZE_MAX;

  const std::vector<Quantity> quantities_;
  std::vector<size_t> columns_;  // which quantity stands in each column, or kTimeColumn
};

// Splits bytes into lines, LF or CRLF.
class LineSplitter {
 public:
  void Feed(std::string_view bytes) { buffer_ += bytes; }
  void Finish() { finished_ = true; }

  // The next line; after Finish() also a last one without an end. A line beyond 64 KiB comes in pieces.
  std::optional<std::string> Next();

 private:
  std::string buffer_;
  size_t start_ = 0;
  bool finished_ = false;
};

}  // namespace vigia
