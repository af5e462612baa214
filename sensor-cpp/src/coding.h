// Little-endian integers and floats in byte strings. The only place that knows byte order.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vigia {

using Bytes = std::vector<uint8_t>;
using ByteView = std::span<const uint8_t>;

inline constexpr size_t kNonceSize = 24;
using Nonce = std::array<uint8_t, kNonceSize>;

template <std::unsigned_integral T>
void PutFixed(Bytes* out, T value) {
  for (size_t i = 0; i < sizeof(T); i++) {
    out->push_back(static_cast<uint8_t>(value >> (8 * i)));
  }
}

inline void PutU8(Bytes* out, uint8_t v) { out->push_back(v); }
inline void PutU16(Bytes* out, uint16_t v) { PutFixed(out, v); }
inline void PutU32(Bytes* out, uint32_t v) { PutFixed(out, v); }
inline void PutU64(Bytes* out, uint64_t v) { PutFixed(out, v); }
inline void PutI16(Bytes* out, int16_t v) { PutFixed(out, static_cast<uint16_t>(v)); }
inline void PutI64(Bytes* out, int64_t v) { PutFixed(out, static_cast<uint64_t>(v)); }
inline void PutF32(Bytes* out, float v) { PutFixed(out, std::bit_cast<uint32_t>(v)); }
inline void PutF64(Bytes* out, double v) { PutFixed(out, std::bit_cast<uint64_t>(v)); }
inline void PutBytes(Bytes* out, ByteView v) { out->insert(out->end(), v.begin(), v.end()); }

// REQUIRES: p[0 .. sizeof(T)) is readable. The same holds for all Get functions.
template <std::unsigned_integral T>
T GetFixed(const uint8_t* p) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); i++) {
    value = static_cast<T>(value | static_cast<T>(static_cast<T>(p[i]) << (8 * i)));
  }
  return value;
}

inline uint16_t GetU16(const uint8_t* p) { return GetFixed<uint16_t>(p); }
inline uint32_t GetU32(const uint8_t* p) { return GetFixed<uint32_t>(p); }
inline uint64_t GetU64(const uint8_t* p) { return GetFixed<uint64_t>(p); }
inline int16_t GetI16(const uint8_t* p) { return static_cast<int16_t>(GetU16(p)); }
inline int64_t GetI64(const uint8_t* p) { return static_cast<int64_t>(GetU64(p)); }
inline float GetF32(const uint8_t* p) { return std::bit_cast<float>(GetU32(p)); }
inline double GetF64(const uint8_t* p) { return std::bit_cast<double>(GetU64(p)); }

}  // namespace vigia
