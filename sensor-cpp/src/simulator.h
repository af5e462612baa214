// A plausible room: the day's drift, noise that returns to the mean, and, if wanted, sensors that fail.
#pragma once

#include <random>

#include "reading.h"

namespace vigia {

class Simulator {
 public:
  Simulator(const std::vector<Quantity>& quantities, uint64_t seed, bool faults);

  // REQUIRES: times do not decrease.
  Reading Measure(int64_t time_us);

 private:
  enum class Fault { kNone, kStuck, kSpike, kFailure };

  struct Channel {
    double level = 0;  // the day's mean
    double swing = 0;  // how far the day moves it
    double noise = 0;  // standard deviation of what is left
    double phase = 0;  // of the day, 0 to 1
    double least = 0;
    double most = 0;
    double deviation = 0;  // the noise now
    double last = 0;
  };

  static Channel ChannelFor(const Quantity& quantity, size_t index);
  void ChooseFault(int64_t time_us);

  std::mt19937_64 random_;
  const bool faults_;
  std::vector<Channel> channels_;
  int64_t last_time_us_ = 0;
  bool started_ = false;
  Fault fault_ = Fault::kNone;
  size_t fault_channel_ = 0;
  int64_t fault_until_us_ = 0;
};

}  // namespace vigia
