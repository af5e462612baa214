#include "simulator.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace vigia {

namespace {

constexpr double kDayUs = 86400e6;
constexpr double kNoiseTimeUs = 120e6;  // how long the noise remembers
constexpr double kFaultMeanUs = 60e6;   // how often something fails

}  // namespace

Simulator::Channel Simulator::ChannelFor(const Quantity& quantity, size_t index) {
  if (quantity.name == "temperature") {
    return {.level = 21.5, .swing = 3.5, .noise = 0.15, .phase = 0.62, .least = -40, .most = 85};
  }
  if (quantity.name == "pressure") {
    return {.level = 1013.2, .swing = 1.8, .noise = 0.25, .phase = 0.42, .least = 300, .most = 1100};
  }
  if (quantity.name == "humidity") {
    return {.level = 46, .swing = -8, .noise = 0.8, .phase = 0.62, .least = 0, .most = 100};
  }
  return {.level = 50 + 10 * static_cast<double>(index),
          .swing = 5,
          .noise = 0.5,
          .phase = 0.1 * static_cast<double>(index),
          .least = 0,
          .most = 1000};
}

Simulator::Simulator(const std::vector<Quantity>& quantities, uint64_t seed, bool faults)
    : random_(seed), faults_(faults) {
  for (size_t i = 0; i < quantities.size(); i++) channels_.push_back(ChannelFor(quantities[i], i));
}

void Simulator::ChooseFault(int64_t time_us) {
  if (time_us < fault_until_us_) return;
  fault_ = Fault::kNone;
  const double elapsed = static_cast<double>(time_us - last_time_us_);
  if (std::bernoulli_distribution(1 - std::exp(-elapsed / kFaultMeanUs))(random_)) {
    fault_ = static_cast<Fault>(std::uniform_int_distribution(1, 3)(random_));
    fault_channel_ = std::uniform_int_distribution<size_t>(0, channels_.size() - 1)(random_);
    // A spike is a single reading; the others last.
    const int64_t length_us = std::uniform_int_distribution<int64_t>(2'000'000, 15'000'000)(random_);
    fault_until_us_ = fault_ == Fault::kSpike ? time_us : time_us + length_us;
  }
}

Reading Simulator::Measure(int64_t time_us) {
  if (!started_) last_time_us_ = time_us;
  const double elapsed = static_cast<double>(time_us - last_time_us_);
  const double keep = started_ ? std::exp(-elapsed / kNoiseTimeUs) : 0;
  const double day = static_cast<double>(time_us) / kDayUs;
  std::normal_distribution<double> normal;
  if (faults_ && started_) ChooseFault(time_us);

  Reading reading{.time_us = time_us, .values = {}};
  for (size_t i = 0; i < channels_.size(); i++) {
    Channel& channel = channels_[i];
    // Ornstein and Uhlenbeck's: whatever the rate, the same spread and the same memory.
    channel.deviation =
        channel.deviation * keep + channel.noise * std::sqrt(1 - keep * keep) * normal(random_);
    const double drift =
        channel.swing * std::cos(2 * std::numbers::pi * (day - std::floor(day) - channel.phase));
    double value = std::clamp(channel.level + drift + channel.deviation, channel.least, channel.most);
    if (i == fault_channel_ && fault_ == Fault::kStuck) value = channel.last;
    if (i == fault_channel_ && fault_ == Fault::kSpike) value += 40 * channel.noise;
    channel.last = value;
    reading.values.push_back(value);
  }
  if (fault_ == Fault::kFailure) {
    reading.status = kStatusBadSensorFailure;
    reading.values.assign(channels_.size(), std::numeric_limits<double>::quiet_NaN());
  }
  last_time_us_ = time_us;
  started_ = true;
  return reading;
}

}  // namespace vigia
