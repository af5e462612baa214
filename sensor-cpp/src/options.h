// The command line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "status.h"

namespace vigia {

enum class Input { kSimulate, kCsv, kStdin };

struct CommandOptions {
  bool help = false;
  bool version = false;
  std::string host;
  std::string port;
  std::string key;
  std::string spool;
  Input input = Input::kSimulate;
  std::string csv;
  double speed = 1;
  double rate_hz = 1;
  uint64_t seed = 1;
  bool faults = false;
  std::optional<uint64_t> count;
  std::optional<int64_t> for_us;
  std::optional<int64_t> linger_us;
  uint64_t spool_max = 64ull << 20;
  std::string truth;
  std::optional<int64_t> stats_us;
};

extern const char kHelp[];

// A failure is one sentence that names the option and says what is allowed.
Status ParseOptions(int argc, char** argv, CommandOptions* options);

}  // namespace vigia
