// Clocks. Protocol code takes an Instant as a parameter and never asks for one.
#pragma once

#include <cstdint>

namespace vigia {

struct Instant {
  int64_t mono_us = 0;  // for what is measured: never steps
  int64_t wall_us = 0;  // since 1970, for what is reported
};

Instant Now();

// Whether the kernel's clock is disciplined (adjtimex: not TIME_ERROR and not STA_UNSYNC). Where the kernel
// does not say (a container that forbids the call), it is taken as synchronised: the ingress compares
// clocks anyway and flags what is far off.
bool ClockSynchronised();

}  // namespace vigia
