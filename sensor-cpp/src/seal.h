// Sealing DATA and GAP: signed, boxed, and the same bytes every time for the same cut.
#pragma once

#include "frame.h"
#include "keys.h"

namespace vigia {

// The header of a DATA frame, or, with a reason, of a GAP frame.
// REQUIRES: count readings of reading_size fit a frame.
Header DataHeader(int16_t sensor, uint16_t epoch, uint32_t stream, uint64_t seq, uint16_t count,
                  size_t reading_size);
Header GapHeader(int16_t sensor, uint16_t epoch, uint32_t stream, uint64_t seq, uint16_t count);

Bytes GapBody(GapReason reason);

// The nonce depends on what is sealed, so that a broken random source cannot make it repeat.
Nonce MakeNonce(const Keys& keys, const Header& header, ByteView body, const Nonce& random);

// The whole frame but its tag. REQUIRES: header.length is that of the frame, tag included.
Bytes Seal(const Keys& keys, const Header& header, ByteView body, const Nonce& nonce);

}  // namespace vigia
