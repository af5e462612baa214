#include "clock.h"

#include <sys/timex.h>
#include <time.h>

namespace vigia {

namespace {

int64_t Read(clockid_t id) {
  timespec t{};
  clock_gettime(id, &t);
  return static_cast<int64_t>(t.tv_sec) * 1'000'000 + t.tv_nsec / 1000;
}

}  // namespace

Instant Now() { return Instant{Read(CLOCK_MONOTONIC), Read(CLOCK_REALTIME)}; }

bool ClockSynchronised() {
  timex state{};
  const int result = adjtimex(&state);
  if (result < 0) return true;
  return result != TIME_ERROR && (state.status & STA_UNSYNC) == 0;
}

}  // namespace vigia
