// CSV lines, RFC 3339 times, and lines out of chunks.

#include "csv.h"

#include <cmath>

#include "check.h"
#include "rfc3339.h"

using namespace vigia;

namespace {

const std::vector<Quantity> kClimate = {{"temperature"}, {"pressure"}, {"humidity"}};

int64_t Time(const std::string& text) {
  int64_t time_us = INT64_MIN;
  return ParseRfc3339(text, &time_us) ? time_us : INT64_MIN;
}

void TestTimes() {
  CHECK(Time("1970-01-01T00:00:00Z") == 0);
  CHECK(Time("1970-01-01T00:00:00.000001Z") == 1);
  CHECK(Time("1969-12-31T23:59:59.999999Z") == -1);
  CHECK(Time("2026-01-01T00:00:00Z") == 1'767'225'600'000'000);
  CHECK(Time("2026-01-01t01:30:00.5+01:30") == 1'767'225'600'500'000);
  CHECK(Time("2025-12-31 19:00:00.1234567-05:00") == 1'767'225'600'123'456);
  CHECK(Time("2024-02-29T00:00:00Z") != INT64_MIN);
  CHECK(Time("2016-12-31T23:59:60Z") == Time("2017-01-01T00:00:00Z"));
  for (const char* wrong :
       {"", "2026-01-01", "2026-01-01T00:00:00", "2026-1-01T00:00:00Z", "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z",
        "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00Zz", "2026-01-01T00:00:00+1:00", "1767225600",
        " 2026-01-01T00:00:00Z", "2026-01-01T00:00:00+24:00"}) {
    CHECK(Time(wrong) == INT64_MIN);
  }
}

Status Parse(const CsvParser& parser, const std::string& line, Reading* reading) {
  return parser.ParseLine(line, 5, reading);
}

void TestLines() {
  CsvParser parser(kClimate);
  CHECK(!parser.has_header());
  for (const char* wrong : {"", "time,temperature,pressure", "time,temperature,pressure,humidity,wind",
                            "time,temperature,temperature,humidity", "temperature,pressure,humidity",
                            "Time,temperature,pressure,humidity"}) {
    const Status status = parser.ParseHeader(wrong);
    CHECK(!status.ok());
    CHECK(status.message().find("time,temperature,pressure,humidity") != std::string::npos);
  }
  CHECK(!parser.has_header());
  CHECK_OK(parser.ParseHeader("time,temperature,pressure,humidity"));

  Reading reading;
  CHECK_OK(Parse(parser, "2026-01-01T00:00:00Z,21.5, 1013.25 ,-4e1", &reading));
  CHECK(reading.time_us == 1'767'225'600'000'000 && reading.status == kStatusGood && reading.flags == 0);
  CHECK((reading.values == std::vector<double>{21.5, 1013.25, -40}));
  CHECK_OK(Parse(parser, "2026-01-01T00:00:00Z,nan,1,2", &reading));
  CHECK(std::isnan(reading.values[0]) && reading.status == kStatusBadSensorFailure);

  const auto complaint = [&](const char* line) {
    const Status status = Parse(parser, line, &reading);
    CHECK(!status.ok());
    return status.message();
  };
  CHECK(complaint("2026-01-01T00:00:00Z,1,2") == "CSV line 5: expected 4 columns, got 3");
  CHECK(complaint("yesterday,1,2,3") ==
        "CSV line 5, column time: expected a time like 2026-01-31T12:00:00Z, got \"yesterday\"");
  CHECK(complaint("2026-01-01T00:00:00Z,1,wet,3") ==
        "CSV line 5, column pressure: expected a number or nan, got \"wet\"");
  for (const char* wrong : {"", "inf", "1x", "0x10", "1e999", "1 2"}) {
    const std::string line = std::string("2026-01-01T00:00:00Z,1,2,").append(wrong);
    CHECK(complaint(line.c_str()).find("column humidity") != std::string::npos);
  }

  CsvParser reordered(kClimate);
  CHECK_OK(reordered.ParseHeader("humidity,time,pressure,temperature"));
  CHECK_OK(Parse(reordered, "3,2026-01-01T00:00:00Z,2,1", &reading));
  CHECK((reading.values == std::vector<double>{1, 2, 3}));
}

void TestSplitter() {
  const std::string text = "one\r\n\ntwo\nthree";
  for (size_t chunk = 1; chunk <= text.size(); chunk++) {
    LineSplitter splitter;
    std::vector<std::string> lines;
    for (size_t at = 0; at < text.size(); at += chunk) {
      splitter.Feed(std::string_view(text).substr(at, chunk));
      while (const auto line = splitter.Next()) lines.push_back(*line);
    }
    CHECK(lines.size() == 3);
    splitter.Finish();
    while (const auto line = splitter.Next()) lines.push_back(*line);
    CHECK((lines == std::vector<std::string>{"one", "", "two", "three"}));
  }
  // A line without end cannot fill the memory.
  LineSplitter splitter;
  splitter.Feed(std::string(200'000, 'x'));
  int pieces = 0;
  while (splitter.Next()) pieces++;
  CHECK(pieces == 3);
}

}  // namespace

int main() {
  TestTimes();
  TestLines();
  TestSplitter();
}
