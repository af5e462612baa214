#include "options.h"

#include <charconv>
#include <cmath>
#include <functional>
#include <map>
#include <string_view>

namespace vigia {

const char kHelp[] =
    R"(vigia-sensor: takes readings, keeps them on disk until they are stored, delivers them encrypted and signed.

usage: vigia-sensor --connect HOST:PORT --key FILE --spool DIR [options]

  --connect HOST:PORT  the ingress; an IPv6 address in brackets: [::1]:7700
  --key FILE           made by `vigia sensor add`; must be readable by its owner only
  --spool DIR          where readings wait; made if missing; one process at a time

input, one of
  --simulate           a plausible room (the default)
  --csv FILE           header time,<quantity>,... as in the key file; RFC 3339 times; at the file's own pace
  --stdin              the same from standard input, each line taken as it comes

  --rate HZ            of the simulator, 0.001 to 100000 (default 1)
  --seed N             of the simulator (default 1)
  --faults             the simulator fails now and then: stuck values, spikes, no values
  --speed X            of the CSV file: 2 is twice as fast, 0 as fast as the spool takes it (default 1)
  --count N            take N readings, then deliver and exit
  --for TIME           take readings for so long (500ms, 30s, 5m, 2h), then deliver and exit

  --linger TIME        how long to go on delivering at the end (default: 5s after SIGTERM or SIGINT, without
                       limit after the end of input; a second signal ends it at once)
  --spool-max BYTES    bound of the spool (64KiB or more; default 64MiB); full, the oldest goes, what the
                       ingress has first; what it does not have is declared lost
  --truth FILE         append what is claimed, for an oracle: `sent STREAM SEQ TIME_US VALUE...`,
                       `ack STREAM SEQ` (all below is in custody), `gap STREAM SEQ COUNT REASON`
  --stats TIME         a line of statistics on standard error this often, and at the end
  --help, --version

exit: 0 everything taken is in the ingress's custody; 3 not everything, the spool keeps it for the next start;
      65 lines were skipped, all else is in custody; 64 wrong option, key file or spool; 1 the disk failed
)";

namespace {

template <typename T>
bool ParseWhole(std::string_view text, T* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

bool ParseScaled(std::string_view text, const std::map<std::string_view, double>& units, double most,
                 double* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  if (error != std::errc()) return false;
  const auto unit = units.find(std::string_view(end, text.data() + text.size()));
  if (unit == units.end()) return false;
  *value *= unit->second;
  return std::isfinite(*value) && *value >= 0 && *value <= most;
}

bool ParseTime(std::string_view text, int64_t* time_us) {
  double value = 0;
  if (!ParseScaled(text, {{"ms", 1e3}, {"s", 1e6}, {"m", 60e6}, {"h", 3600e6}}, 1e15, &value)) return false;
  *time_us = std::llround(value);
  return true;
}

bool ParseSize(std::string_view text, uint64_t* size) {
  double value = 0;
  if (!ParseScaled(text, {{"", 1}, {"KiB", 1024}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}}, 1e15, &value)) {
    return false;
  }
  *size = static_cast<uint64_t>(value);
  return true;
}

bool ParseEndpoint(std::string_view text, CommandOptions* options) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  std::string_view host = text.substr(0, colon);
  uint16_t port = 0;
  if (!ParseWhole(text.substr(colon + 1), &port) || port == 0) return false;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return false;
  }
  options->host = host;
  options->port = std::to_string(port);
  return true;
}

// An option: what its value must be, or nothing if it takes none; and how it is set.
struct Option {
  const char* expected = nullptr;
  std::function<bool(std::string_view, CommandOptions*)> set;
};

auto SetTime(std::optional<int64_t> CommandOptions::*field) {
  return [=](std::string_view text, CommandOptions* options) {
    return ParseTime(text, &(options->*field).emplace());
  };
}

auto SetText(std::string CommandOptions::*field) {
  return [=](std::string_view text, CommandOptions* options) {
    options->*field = text;
    return !text.empty();
  };
}

auto SetInput(Input input) {
  return [=](std::string_view text, CommandOptions* options) {
    options->input = input;
    options->csv = text;
    return input != Input::kCsv || !text.empty();
  };
}

const std::map<std::string_view, Option>& AllOptions() {
  static const std::map<std::string_view, Option> options = {
      {"--help", {nullptr, [](auto, auto* o) { return o->help = true; }}},
      {"--version", {nullptr, [](auto, auto* o) { return o->version = true; }}},
      {"--connect", {"HOST:PORT", ParseEndpoint}},
      {"--key", {"a file", SetText(&CommandOptions::key)}},
      {"--spool", {"a directory", SetText(&CommandOptions::spool)}},
      {"--simulate", {nullptr, SetInput(Input::kSimulate)}},
      {"--csv", {"a file", SetInput(Input::kCsv)}},
      {"--stdin", {nullptr, SetInput(Input::kStdin)}},
      {"--faults", {nullptr, [](auto, auto* o) { return o->faults = true; }}},
      {"--speed",
       {"a number, 0 or more",
        [](auto text, auto* o) { return ParseScaled(text, {{"", 1}}, 1e9, &o->speed); }}},
      {"--rate",
       {"a number of readings per second, 0.001 to 100000",
        [](auto text, auto* o) {
          return ParseScaled(text, {{"", 1}}, 1e5, &o->rate_hz) && o->rate_hz >= 0.001;
        }}},
      {"--seed",
       {"a whole number", [](auto text, auto* o) { return ParseWhole(text, &o->seed); }}},
      {"--count",
       {"a whole number", [](auto text, auto* o) { return ParseWhole(text, &o->count.emplace()); }}},
      {"--for", {"a time like 500ms, 30s, 5m or 2h", SetTime(&CommandOptions::for_us)}},
      {"--linger", {"a time like 500ms, 30s, 5m or 2h", SetTime(&CommandOptions::linger_us)}},
      {"--stats",
       {"a time like 500ms, 30s, 5m or 2h, not 0",
        [](auto text, auto* o) { return ParseTime(text, &o->stats_us.emplace()) && *o->stats_us > 0; }}},
      {"--spool-max",
       {"64KiB or more, like 1048576, 512KiB, 64MiB or 1GiB",
        [](auto text, auto* o) { return ParseSize(text, &o->spool_max) && o->spool_max >= 64 << 10; }}},
      {"--truth", {"a file", SetText(&CommandOptions::truth)}},
  };
  return options;
}

}  // namespace

Status ParseOptions(int argc, char** argv, CommandOptions* options) {
  for (int i = 1; i < argc; i++) {
    std::string_view name = argv[i];
    std::optional<std::string_view> value;
    if (const size_t equals = name.find('='); equals != std::string_view::npos) {
      value = name.substr(equals + 1);
      name = name.substr(0, equals);
    }
    const auto it = AllOptions().find(name);
    if (it == AllOptions().end()) {
      return Status::Invalid("unknown option " + std::string(name) + "; --help lists all there are");
    }
    const Option& option = it->second;
    if (option.expected == nullptr) {
      if (value) return Status::Invalid(std::string(name) + " takes no value");
      option.set("", options);
      continue;
    }
    if (!value && i + 1 < argc) value = argv[++i];
    if (!value || !option.set(*value, options)) {
      return Status::Invalid(std::string(name) + " must be " + option.expected +
                             (value ? ", not \"" + std::string(*value) + "\"" : ""));
    }
  }
  if (options->help || options->version) return Status::Ok();
  if (options->host.empty()) return Status::Invalid("--connect HOST:PORT is missing");
  if (options->key.empty()) return Status::Invalid("--key FILE is missing");
  if (options->spool.empty()) return Status::Invalid("--spool DIR is missing");
  return Status::Ok();
}

}  // namespace vigia
