#include "frame.h"

#include <algorithm>

namespace vigia {

namespace {

// Magic "VG" as a little-endian u16.
constexpr uint16_t kMagic = 0x4756;
// Time, flags, status, and one f32 to sixteen f64.
constexpr size_t kMinReading = 16;
constexpr size_t kMaxReading = 140;

bool LengthFits(FrameType type, size_t length, size_t count) {
  switch (type) {
    case FrameType::kHello:
      return length == kHelloFrame;
    case FrameType::kWelcome:
      return length == kWelcomeFrame;
    case FrameType::kData: {
      if (length < kDataExtra + kMinReading) return false;
      if (count < 1 || count > kMaxReadings) return true;  // then it is the count that is wrong
      const size_t readings = length - kDataExtra;
      return readings % count == 0 && readings / count >= kMinReading && readings / count <= kMaxReading;
    }
    case FrameType::kGap:
      return length == kGapFrame;
    case FrameType::kAck:
      return length == kAckFrame;
    case FrameType::kBusy:
      return length == kBusyFrame;
    case FrameType::kRefuse:
      return length == kRefuseFrame;
    case FrameType::kPing:
    case FrameType::kPong:
      return length == kMinFrame;
  }
  return false;
}

bool CountFits(FrameType type, uint16_t count) {
  switch (type) {
    case FrameType::kData:
      return count >= 1 && count <= kMaxReadings;
    case FrameType::kGap:
      return count >= 1;
    default:
      return count == 0;
  }
}

Bytes Empty(FrameType type, int16_t sensor, uint16_t epoch) {
  Bytes out;
  PutHeader(&out, Header{.type = type, .length = kMinFrame, .sensor = sensor, .epoch = epoch});
  return out;
}

}  // namespace

const char* Word(FrameError error) {
  switch (error) {
    case FrameError::kNone:
      return "ok";
    case FrameError::kBadMagic:
      return "bad-magic";
    case FrameError::kBadVersion:
      return "bad-version";
    case FrameError::kBadType:
      return "bad-type";
    case FrameError::kBadLength:
      return "bad-length";
    case FrameError::kBadCount:
      return "bad-count";
    case FrameError::kBadTag:
      return "bad-tag";
    case FrameError::kBadBox:
      return "bad-box";
    case FrameError::kBadMac:
      return "bad-mac";
    case FrameError::kBadBody:
      return "bad-body";
  }
  return "?";
}

void PutHeader(Bytes* out, const Header& header) {
  PutU16(out, kMagic);
  PutU8(out, kWireVersion);
  PutU8(out, static_cast<uint8_t>(header.type));
  PutU16(out, header.length);
  PutI16(out, header.sensor);
  PutU16(out, header.epoch);
  PutU16(out, header.count);
  PutU32(out, header.stream);
  PutU64(out, header.seq);
}

FrameError ParseHeader(ByteView data, Header* header) {
  const uint8_t* p = data.data();
  if (GetU16(p) != kMagic) return FrameError::kBadMagic;
  if (p[2] != kWireVersion) return FrameError::kBadVersion;
  if (p[3] < 1 || p[3] > 9) return FrameError::kBadType;
  header->type = static_cast<FrameType>(p[3]);
  header->length = GetU16(p + 4);
  header->sensor = GetI16(p + 6);
  header->epoch = GetU16(p + 8);
  header->count = GetU16(p + 10);
  header->stream = GetU32(p + 12);
  header->seq = GetU64(p + 16);
  if (header->length < kMinFrame || header->length > kMaxFrame ||
      !LengthFits(header->type, header->length, header->count)) {
    return FrameError::kBadLength;
  }
  if (!CountFits(header->type, header->count)) return FrameError::kBadCount;
  return FrameError::kNone;
}

Bytes EncodeHello(int16_t sensor, uint16_t epoch, const Hello& hello) {
  Bytes out;
  PutHeader(&out, Header{.type = FrameType::kHello,
                         .length = kHelloFrame,
                         .sensor = sensor,
                         .epoch = epoch,
                         .stream = hello.stream,
                         .seq = hello.seq});
  PutBytes(&out, hello.client_nonce);
  PutU8(&out, hello.lowest_version);
  PutU8(&out, hello.highest_version);
  return out;
}

Bytes EncodePing(int16_t sensor, uint16_t epoch) { return Empty(FrameType::kPing, sensor, epoch); }

Bytes EncodePong(int16_t sensor, uint16_t epoch) { return Empty(FrameType::kPong, sensor, epoch); }

Welcome ParseWelcome(const Header& header, ByteView frame) {
  const uint8_t* p = frame.data() + kHeaderSize;
  Welcome welcome;
  welcome.stream = header.stream;
  welcome.seq = header.seq;
  std::copy_n(p, 16, welcome.server_nonce.begin());
  welcome.version = p[16];
  welcome.window = GetU16(p + 18);
  welcome.stored = GetU64(p + 20);
  std::copy_n(p + 28, kNonceSize, welcome.last_nonce.begin());
  welcome.time_us = GetI64(p + 52);
  return welcome;
}

Ack ParseAck(const Header& header, ByteView frame) {
  const uint8_t* p = frame.data() + kHeaderSize;
  return Ack{header.stream, header.seq, GetU64(p), GetI64(p + 8)};
}

Busy ParseBusy(const Header& header, ByteView frame) {
  return Busy{header.stream, header.seq, GetU32(frame.data() + kHeaderSize)};
}

Refuse ParseRefuse(const Header& header, ByteView frame) {
  return Refuse{header.stream, header.seq, GetU16(frame.data() + kHeaderSize)};
}

}  // namespace vigia
