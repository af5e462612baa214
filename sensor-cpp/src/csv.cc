#include "csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "rfc3339.h"

namespace vigia {

namespace {

constexpr size_t kMaxLine = 64 << 10;

std::vector<std::string_view> SplitFields(std::string_view line) {
  std::vector<std::string_view> fields;
  for (;;) {
    const size_t comma = line.find(',');
    std::string_view field = line.substr(0, comma);
    while (!field.empty() && (field.front() == ' ' || field.front() == '\t')) field.remove_prefix(1);
    while (!field.empty() && (field.back() == ' ' || field.back() == '\t')) field.remove_suffix(1);
    fields.push_back(field);
    if (comma == std::string_view::npos) return fields;
    line.remove_prefix(comma + 1);
  }
}

bool ParseValue(std::string_view text, double* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && !std::isinf(*value);
}

// Enough of a wrong field to find it.
std::string Quoted(std::string_view field) {
  std::string quoted = "\"";
  quoted += field.substr(0, 40);
  return quoted += '"';
}

}  // namespace

Status CsvParser::ParseHeader(std::string_view line) {
  std::vector<size_t> columns;
  for (const std::string_view name : SplitFields(line)) {
    const auto it = std::find_if(quantities_.begin(), quantities_.end(),
                                 [&](const Quantity& quantity) { return quantity.name == name; });
    const bool is_time = name == "time";
    const size_t column = is_time ? kTimeColumn : static_cast<size_t>(it - quantities_.begin());
    if ((!is_time && it == quantities_.end()) ||
        std::find(columns.begin(), columns.end(), column) != columns.end()) {
      columns.clear();
      break;
    }
    columns.push_back(column);
  }
  if (columns.size() != quantities_.size() + 1) {
    std::string expected = "time";
    for (const Quantity& quantity : quantities_) expected += "," + quantity.name;
    return Status::Invalid("CSV line 1: expected the header " + expected + ", got " + Quoted(line));
  }
  columns_ = std::move(columns);
  return Status::Ok();
}

Status CsvParser::ParseLine(std::string_view line, uint64_t line_number, Reading* reading) const {
  const std::string place = "CSV line " + std::to_string(line_number);
  const auto fields = SplitFields(line);
  if (fields.size() != columns_.size()) {
    return Status::Invalid(place + ": expected " + std::to_string(columns_.size()) + " columns, got " +
                           std::to_string(fields.size()));
  }
  *reading = Reading();
  reading->values.resize(quantities_.size());
  for (size_t i = 0; i < fields.size(); i++) {
    if (columns_[i] == kTimeColumn) {
      if (ParseRfc3339(fields[i], &reading->time_us)) continue;
      return Status::Invalid(place + ", column time: expected a time like 2026-01-31T12:00:00Z, got " +
                             Quoted(fields[i]));
    }
    double* value = &reading->values[columns_[i]];
    if (!ParseValue(fields[i], value)) {
      return Status::Invalid(place + ", column " + quantities_[columns_[i]].name +
                             ": expected a number or nan, got " + Quoted(fields[i]));
    }
    if (std::isnan(*value)) reading->status = kStatusBadSensorFailure;
  }
  return Status::Ok();
}

std::optional<std::string> LineSplitter::Next() {
  const size_t newline = buffer_.find('\n', start_);
  size_t end = newline;
  if (newline == std::string::npos || newline - start_ > kMaxLine) {
    if (buffer_.size() - start_ > kMaxLine) {
      end = start_ + kMaxLine;
    } else if (finished_ && start_ < buffer_.size()) {
      end = buffer_.size();
    } else {
      buffer_.erase(0, start_);
      start_ = 0;
      return std::nullopt;
    }
  }
  std::string line = buffer_.substr(start_, end - start_);
  start_ = end == newline ? end + 1 : end;
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return line;
}

}  // namespace vigia
