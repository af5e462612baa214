// The frames of protocol/FORMAT.md: sizes, header, and the bodies a sensor writes and reads. Writing
// cannot fail; reading has one small error type. Tags and boxes are elsewhere (link.h, seal.h).
#pragma once

#include "coding.h"

namespace vigia {

inline constexpr uint8_t kWireVersion = 1;
inline constexpr size_t kHeaderSize = 24;
inline constexpr size_t kTagSize = 16;
inline constexpr size_t kMacSize = 32;
inline constexpr size_t kBoxExtra = 16;  // secretbox's authenticator
inline constexpr size_t kMinFrame = 40;
inline constexpr size_t kMaxFrame = 4096;
inline constexpr uint16_t kMaxReadings = 64;
inline constexpr uint16_t kMaxGap = 65535;
// Everything of a DATA frame that is not readings.
inline constexpr size_t kDataExtra = kHeaderSize + kNonceSize + kBoxExtra + kMacSize + kTagSize;
inline constexpr size_t kGapFrame = kDataExtra + 2;
inline constexpr size_t kHelloFrame = 58;
inline constexpr size_t kWelcomeFrame = 100;
inline constexpr size_t kAckFrame = 56;
inline constexpr size_t kBusyFrame = 44;
inline constexpr size_t kRefuseFrame = 42;
static_assert(kDataExtra == 112 && kGapFrame == 114);

enum class FrameType : uint8_t {
  kHello = 1,
  kWelcome = 2,
  kData = 3,
  kGap = 4,
  kAck = 5,
  kBusy = 6,
  kRefuse = 7,
  kPing = 8,
  kPong = 9,
};

// FORMAT.md, "Errors": in the order in which they are checked.
enum class FrameError {
  kNone,
  kBadMagic,
  kBadVersion,
  kBadType,
  kBadLength,
  kBadCount,
  kBadTag,
  kBadBox,
  kBadMac,
  kBadBody,
};
const char* Word(FrameError error);

enum class GapReason : uint16_t { kSpoolFull = 1, kSpoolDamaged = 2, kRemoved = 3 };
enum class RefuseReason : uint16_t { kPosition = 1, kLength = 2, kWindow = 3, kEpoch = 4 };

struct Header {
  FrameType type = FrameType::kPing;
  uint16_t length = kMinFrame;
  int16_t sensor = 0;
  uint16_t epoch = 0;
  uint16_t count = 0;
  uint32_t stream = 0;
  uint64_t seq = 0;
};

struct Hello {
  uint32_t stream = 0;
  uint64_t seq = 0;
  std::array<uint8_t, 16> client_nonce{};
  uint8_t lowest_version = kWireVersion;
  uint8_t highest_version = kWireVersion;
};

struct Welcome {
  uint32_t stream = 0;
  uint64_t seq = 0;
  std::array<uint8_t, 16> server_nonce{};
  uint8_t version = 0;
  uint16_t window = 0;
  uint64_t stored = 0;
  Nonce last_nonce{};
  int64_t time_us = 0;
};

struct Ack {
  uint32_t stream = 0;
  uint64_t seq = 0;
  uint64_t stored = 0;
  int64_t time_us = 0;
};

struct Busy {
  uint32_t stream = 0;
  uint64_t seq = 0;
  uint32_t retry_ms = 0;
};

struct Refuse {
  uint32_t stream = 0;
  uint64_t seq = 0;
  uint16_t reason = 0;
};

void PutHeader(Bytes* out, const Header& header);

// Checks everything that can be known without the body.
// REQUIRES: data.size() >= kHeaderSize
FrameError ParseHeader(ByteView data, Header* header);

// Writers give the whole frame but its tag.
Bytes EncodeHello(int16_t sensor, uint16_t epoch, const Hello& hello);
Bytes EncodePing(int16_t sensor, uint16_t epoch);
Bytes EncodePong(int16_t sensor, uint16_t epoch);

// REQUIRES: frame is complete and its header, already parsed, has the type in question.
Welcome ParseWelcome(const Header& header, ByteView frame);
Ack ParseAck(const Header& header, ByteView frame);
Busy ParseBusy(const Header& header, ByteView frame);
Refuse ParseRefuse(const Header& header, ByteView frame);

}  // namespace vigia
