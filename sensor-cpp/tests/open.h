// Opening what a sensor seals: what verify does, for the tests.
#pragma once

#include "frame.h"
#include "keys.h"

namespace vigia {

// REQUIRES: frame is a whole DATA or GAP frame, tag included, whose header is `header`.
FrameError OpenFrame(const Keys& keys, const Header& header, ByteView frame, Bytes* body);

}  // namespace vigia
