#include "link.h"

#include <sodium.h>

#include <string_view>

namespace vigia {

namespace {

ByteView Text(std::string_view text) {
  return ByteView(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

}  // namespace

std::array<uint8_t, kTagSize> LinkChannel::NextTag(ByteView untagged) const {
  Bytes prefix;
  PutU8(&prefix, static_cast<uint8_t>(direction_));
  PutU64(&prefix, counter_);
  std::array<uint8_t, kTagSize> tag;
  KeyedHash(session_, {prefix, untagged}, tag);
  return tag;
}

void LinkChannel::AppendTag(Bytes* frame) {
  const auto tag = NextTag(*frame);
  counter_++;
  PutBytes(frame, tag);
}

bool LinkChannel::Verify(ByteView frame) {
  const auto tag = NextTag(frame.first(frame.size() - kTagSize));
  if (sodium_memcmp(tag.data(), frame.last(kTagSize).data(), kTagSize) != 0) return false;
  counter_++;
  return true;
}

void AppendHelloTag(const Key& link, Bytes* hello) {
  std::array<uint8_t, kTagSize> tag;
  KeyedHash(link, {Text("vigia hello"), *hello}, tag);
  PutBytes(hello, tag);
}

bool VerifyWelcome(const Key& link, ByteView hello, ByteView welcome) {
  std::array<uint8_t, kTagSize> tag;
  KeyedHash(link, {Text("vigia welcome"), hello, welcome.first(welcome.size() - kTagSize)}, tag);
  return sodium_memcmp(tag.data(), welcome.last(kTagSize).data(), kTagSize) == 0;
}

Key SessionKey(const Key& link, ByteView hello, ByteView welcome) {
  Key key;
  KeyedHash(link, {Text("vigia session"), hello, welcome}, std::span(key.data(), kKeySize));
  return key;
}

}  // namespace vigia
