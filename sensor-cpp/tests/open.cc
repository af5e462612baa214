#include "open.h"

#include <sodium.h>

#include <algorithm>

namespace vigia {

FrameError OpenFrame(const Keys& keys, const Header& header, ByteView frame, Bytes* body) {
  const ByteView nonce = frame.subspan(kHeaderSize, kNonceSize);
  const ByteView box =
      frame.subspan(kHeaderSize + kNonceSize, frame.size() - kHeaderSize - kNonceSize - kTagSize);
  Bytes plain(box.size() - kBoxExtra);
  if (crypto_secretbox_open_easy(plain.data(), box.data(), box.size(), nonce.data(),
                                 keys.payload.data()) != 0) {
    return FrameError::kBadBox;
  }
  const Bytes mac(plain.end() - kMacSize, plain.end());
  plain.resize(plain.size() - kMacSize);
  Bytes expected(kMacSize);
  KeyedHash(keys.signature, {frame.first(kHeaderSize), nonce, plain}, expected);
  if (expected != mac) return FrameError::kBadMac;
  if (header.type == FrameType::kGap) {
    const uint16_t reason = GetU16(plain.data());
    if (reason < 1 || reason > 3) return FrameError::kBadBody;
  } else {
    const size_t size = plain.size() / header.count;
    if (plain.size() % header.count != 0 || size < 16 || size > 140) return FrameError::kBadBody;
  }
  *body = std::move(plain);
  return FrameError::kNone;
}

}  // namespace vigia
