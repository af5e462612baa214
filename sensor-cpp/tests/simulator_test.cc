// The simulated room is plausible, repeatable, and fails only when it is asked to.

#include "simulator.h"

#include <cmath>

#include "check.h"

using namespace vigia;

namespace {

const std::vector<Quantity> kClimate = {{"temperature"}, {"pressure"}, {"humidity"}};
constexpr int64_t kStart = 1'767'225'600'000'000;

}  // namespace

int main() {
  Simulator one(kClimate, 5, false);
  Simulator same(kClimate, 5, false);
  Simulator other(kClimate, 6, false);
  double least = 1e9, most = -1e9;
  bool differs = false;
  for (int64_t minute = 0; minute < 2880; minute++) {
    const int64_t time = kStart + minute * 60'000'000;
    const Reading reading = one.Measure(time);
    CHECK(reading.time_us == time && reading.status == kStatusGood);
    CHECK(reading.values == same.Measure(time).values);
    differs |= reading.values != other.Measure(time).values;
    CHECK(reading.values[0] > 15 && reading.values[0] < 28);
    CHECK(reading.values[1] > 1000 && reading.values[1] < 1030);
    CHECK(reading.values[2] > 30 && reading.values[2] < 60);
    least = std::min(least, reading.values[0]);
    most = std::max(most, reading.values[0]);
  }
  CHECK(differs);
  CHECK(most - least > 5 && most - least < 10);  // the day is seen

  // Fast sampling: neighbours are close.
  Simulator fast(kClimate, 5, false);
  double last = fast.Measure(kStart).values[0];
  for (int64_t i = 1; i < 10'000; i++) {
    const double value = fast.Measure(kStart + i * 500).values[0];
    CHECK(std::abs(value - last) < 0.01);
    last = value;
  }

  Simulator failing(kClimate, 5, true);
  int failures = 0, stuck = 0;
  double before = 0;
  for (int64_t second = 0; second < 86'400; second++) {
    const Reading reading = failing.Measure(kStart + second * 1'000'000);
    const bool bad = std::isnan(reading.values[0]);
    CHECK(bad == (reading.status == kStatusBadSensorFailure));
    failures += bad;
    stuck += reading.values[0] == before;
    before = reading.values[0];
  }
  CHECK(failures > 500 && failures < 20'000 && stuck > 100);
}
