// However the bytes are chunked, the frames are the same, and so is the error that ends them.

#include "decoder.h"

#include <random>

#include "check.h"

using namespace vigia;

namespace {

Bytes Ping(int16_t sensor) {
  Bytes frame = EncodePing(sensor, 3);
  frame.resize(kMinFrame, 0xAB);
  return frame;
}

Bytes Data(uint16_t count, uint64_t seq) {
  Bytes frame;
  PutHeader(&frame, Header{.type = FrameType::kData,
                           .length = static_cast<uint16_t>(kDataExtra + count * 24),
                           .sensor = 7,
                           .epoch = 1,
                           .count = count,
                           .stream = 1,
                           .seq = seq});
  frame.resize(kDataExtra + count * 24u, static_cast<uint8_t>(seq));
  return frame;
}

struct Outcome {
  std::vector<Bytes> frames;
  FrameError error = FrameError::kNone;
  bool operator==(const Outcome&) const = default;
};

void Drain(Decoder* decoder, Outcome* outcome) {
  Frame frame;
  for (;;) {
    switch (decoder->Next(&frame)) {
      case Decoder::Result::kFrame:
        CHECK(frame.header.length == frame.bytes.size());
        outcome->frames.push_back(frame.bytes);
        break;
      case Decoder::Result::kNeedMore:
        return;
      case Decoder::Result::kBad:
        outcome->error = decoder->error();
        return;
    }
  }
}

Outcome Chunked(ByteView bytes, std::mt19937* random, size_t most) {
  Decoder decoder;
  Outcome outcome;
  while (!bytes.empty()) {
    const size_t n = std::min(bytes.size(), std::uniform_int_distribution<size_t>(1, most)(*random));
    decoder.Feed(bytes.first(n));
    bytes = bytes.subspan(n);
    Drain(&decoder, &outcome);
  }
  return outcome;
}

void TestAnyChunking(const Bytes& bytes, const Outcome& expected) {
  std::mt19937 random(1);
  for (size_t most = 1; most <= bytes.size() * 2; most = most * 3 / 2 + 1) {
    for (int i = 0; i < 20; i++) CHECK(Chunked(bytes, &random, most) == expected);
  }
  // Every split into two.
  for (size_t at = 0; at <= bytes.size(); at++) {
    Decoder decoder;
    Outcome outcome;
    decoder.Feed(ByteView(bytes).first(at));
    Drain(&decoder, &outcome);
    decoder.Feed(ByteView(bytes).subspan(at));
    Drain(&decoder, &outcome);
    CHECK(outcome == expected);
  }
}

}  // namespace

int main() {
  Bytes bytes;
  Outcome expected;
  for (uint16_t i = 1; i <= 8; i++) {
    expected.frames.push_back(Ping(static_cast<int16_t>(i)));
    expected.frames.push_back(Data(static_cast<uint16_t>(i * 8), i));
  }
  for (const Bytes& frame : expected.frames) PutBytes(&bytes, frame);
  TestAnyChunking(bytes, expected);

  // A bad frame ends it; what follows is not looked at.
  PutBytes(&bytes, Bytes{'V', 'G', 2});
  bytes.resize(bytes.size() + 40);
  PutBytes(&bytes, Ping(1));
  expected.error = FrameError::kBadVersion;
  TestAnyChunking(bytes, expected);

  // Named without waiting for the body, and not before the header is whole.
  Decoder decoder;
  Frame frame;
  Bytes header(24, 0);
  decoder.Feed(ByteView(header).first(23));
  CHECK(decoder.Next(&frame) == Decoder::Result::kNeedMore);
  decoder.Feed(ByteView(header).last(1));
  CHECK(decoder.Next(&frame) == Decoder::Result::kBad);
  CHECK(decoder.error() == FrameError::kBadMagic);
}
