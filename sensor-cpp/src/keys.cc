#include "keys.h"

#include <sodium.h>

#include "blake3.h"

namespace vigia {

namespace {

Key Derive(const char* context, ByteView material) {
  Key key;
  blake3_hasher hasher;
  blake3_hasher_init_derive_key(&hasher, context);
  blake3_hasher_update(&hasher, material.data(), material.size());
  blake3_hasher_finalize(&hasher, key.data(), kKeySize);
  sodium_memzero(&hasher, sizeof hasher);
  return key;
}

}  // namespace

Key::~Key() { sodium_memzero(bytes_.data(), bytes_.size()); }

Keys DeriveKeys(const Key& device, int16_t sensor, uint16_t epoch) {
  Bytes material;
  material.reserve(kKeySize + 4);  // never moved, so that no copy stays behind
  PutBytes(&material, ByteView(device.data(), kKeySize));
  PutI16(&material, sensor);
  PutU16(&material, epoch);
  Keys keys{
      .link = Derive("vigia v1 sensor link", material),
      .payload = Derive("vigia v1 sensor payload", material),
      .signature = Derive("vigia v1 sensor signature", material),
      .nonce = Derive("vigia v1 sensor nonce", material),
  };
  sodium_memzero(material.data(), material.size());
  return keys;
}

void KeyedHash(const Key& key, std::initializer_list<ByteView> parts, std::span<uint8_t> out) {
  blake3_hasher hasher;
  blake3_hasher_init_keyed(&hasher, key.data());
  for (const ByteView part : parts) blake3_hasher_update(&hasher, part.data(), part.size());
  blake3_hasher_finalize(&hasher, out.data(), out.size());
  sodium_memzero(&hasher, sizeof hasher);
}

}  // namespace vigia
