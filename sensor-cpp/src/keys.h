// The four keys of a sensor, derived from its K_dev, and the keyed hash they are used with.
#pragma once

#include <initializer_list>

#include "coding.h"

namespace vigia {

inline constexpr size_t kKeySize = 32;

// 32 secret bytes, wiped when they go.
class Key {
 public:
  Key() = default;
  explicit Key(const std::array<uint8_t, kKeySize>& bytes) : bytes_(bytes) {}
  Key(const Key&) = default;
  Key& operator=(const Key&) = default;
  ~Key();

  const uint8_t* data() const { return bytes_.data(); }
  uint8_t* data() { return bytes_.data(); }

 private:
  std::array<uint8_t, kKeySize> bytes_{};
};

struct Keys {
  Key link;
  Key payload;
  Key signature;
  Key nonce;
};

Keys DeriveKeys(const Key& device, int16_t sensor, uint16_t epoch);

// Keyed BLAKE3 over the parts, one after the other, cut to out.size().
void KeyedHash(const Key& key, std::initializer_list<ByteView> parts, std::span<uint8_t> out);

}  // namespace vigia
