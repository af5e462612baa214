#include "reading.h"

namespace vigia {

namespace {
constexpr size_t kFixedPart = 12;
}

size_t ReadingSize(const std::vector<Quantity>& quantities) {
  size_t size = kFixedPart;
  for (const Quantity& quantity : quantities) size += quantity.type == ValueType::kF32 ? 4 : 8;
  return size;
}

Bytes EncodeReading(const std::vector<Quantity>& quantities, const Reading& reading) {
  Bytes out;
  PutI64(&out, reading.time_us);
  PutU16(&out, reading.flags);
  PutU16(&out, reading.status);
  for (size_t i = 0; i < quantities.size(); i++) {
    if (quantities[i].type == ValueType::kF32) {
      PutF32(&out, static_cast<float>(reading.values[i]));
    } else {
      PutF64(&out, reading.values[i]);
    }
  }
  return out;
}

Reading DecodeReading(const std::vector<Quantity>& quantities, ByteView bytes) {
  const uint8_t* p = bytes.data();
  Reading reading{.time_us = GetI64(p), .flags = GetU16(p + 8), .status = GetU16(p + 10), .values = {}};
  p += kFixedPart;
  for (const Quantity& quantity : quantities) {
    if (quantity.type == ValueType::kF32) {
      reading.values.push_back(static_cast<double>(GetF32(p)));
      p += 4;
    } else {
      reading.values.push_back(GetF64(p));
      p += 8;
    }
  }
  return reading;
}

}  // namespace vigia
