// A reading and its bytes (FORMAT.md, "A reading").
#pragma once

#include <string>

#include "coding.h"

namespace vigia {

enum class ValueType : uint8_t { kF32, kF64 };

struct Quantity {
  std::string name;
  ValueType type = ValueType::kF32;
};

inline constexpr size_t kMaxQuantities = 16;

inline constexpr uint16_t kFlagSynchronised = 1 << 0;
inline constexpr uint16_t kFlagBacklog = 1 << 1;
inline constexpr uint16_t kFlagFirst = 1 << 2;

// Upper 16 bits of OPC UA status codes.
inline constexpr uint16_t kStatusGood = 0x0000;
inline constexpr uint16_t kStatusBadSensorFailure = 0x808C;

struct Reading {
  int64_t time_us = 0;
  uint16_t flags = 0;
  uint16_t status = kStatusGood;
  std::vector<double> values;
};

size_t ReadingSize(const std::vector<Quantity>& quantities);

// REQUIRES: as many values as quantities.
Bytes EncodeReading(const std::vector<Quantity>& quantities, const Reading& reading);

// REQUIRES: bytes.size() == ReadingSize(quantities)
Reading DecodeReading(const std::vector<Quantity>& quantities, ByteView bytes);

}  // namespace vigia
