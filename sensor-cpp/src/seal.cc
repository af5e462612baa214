#include "seal.h"

#include <sodium.h>

namespace vigia {

namespace {

Bytes HeaderBytes(const Header& header) {
  Bytes out;
  PutHeader(&out, header);
  return out;
}

}  // namespace

Header DataHeader(int16_t sensor, uint16_t epoch, uint32_t stream, uint64_t seq, uint16_t count,
                  size_t reading_size) {
  return Header{.type = FrameType::kData,
                .length = static_cast<uint16_t>(kDataExtra + count * reading_size),
                .sensor = sensor,
                .epoch = epoch,
                .count = count,
                .stream = stream,
                .seq = seq};
}

Header GapHeader(int16_t sensor, uint16_t epoch, uint32_t stream, uint64_t seq, uint16_t count) {
  return Header{.type = FrameType::kGap,
                .length = kGapFrame,
                .sensor = sensor,
                .epoch = epoch,
                .count = count,
                .stream = stream,
                .seq = seq};
}

Bytes GapBody(GapReason reason) {
  Bytes body;
  PutU16(&body, static_cast<uint16_t>(reason));
  return body;
}

Nonce MakeNonce(const Keys& keys, const Header& header, ByteView body, const Nonce& random) {
  Nonce nonce;
  KeyedHash(keys.nonce, {HeaderBytes(header), body, random}, nonce);
  return nonce;
}

Bytes Seal(const Keys& keys, const Header& header, ByteView body, const Nonce& nonce) {
  Bytes frame = HeaderBytes(header);
  std::array<uint8_t, kMacSize> mac;
  KeyedHash(keys.signature, {frame, nonce, body}, mac);

  Bytes plain;
  plain.reserve(body.size() + kMacSize);
  PutBytes(&plain, body);
  PutBytes(&plain, mac);

  PutBytes(&frame, nonce);
  const size_t box = frame.size();
  frame.resize(box + kBoxExtra + plain.size());
  crypto_secretbox_easy(frame.data() + box, plain.data(), plain.size(), nonce.data(),
                        keys.payload.data());
  return frame;
}

}  // namespace vigia
