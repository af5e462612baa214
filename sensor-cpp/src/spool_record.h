// The bytes of a spool segment: header and records, written and read. See spool.h for the picture.
#pragma once

#include <optional>

#include "frame.h"

namespace vigia {

inline constexpr uint8_t kSpoolVersion = 1;
inline constexpr size_t kSegmentHeaderSize = 32;
inline constexpr size_t kRecordHeaderSize = 12;
// A reading of 16 f64 behind its item number is the longest.
inline constexpr size_t kMaxRecordBody = 8 + 12 + 16 * 8;
inline constexpr size_t kMinReadingRecordBody = 8 + 12 + 4;
inline constexpr size_t kCutRecordBody = 4 + 8 + 8 + 2 + 2 + 2 + 2 * kNonceSize;

enum class RecordType : uint8_t { kReading = 1, kCut = 2, kGap = 4, kMark = 5 };

struct SegmentHeader {
  uint8_t version = kSpoolVersion;
  int16_t sensor = 0;
  uint16_t reading_size = 0;
  uint64_t number = 0;
};

// How a frame was cut. What the wire calls a sealed frame can be made again from it and the readings.
struct Cut {
  uint64_t seq = 0;
  uint16_t count = 0;
  uint16_t epoch = 0;
  uint16_t reason = 0;  // of a GAP; 0 is DATA
  Nonce nonce{};
  Nonce random{};

  uint64_t end() const { return seq + count; }
  bool operator==(const Cut&) const = default;
};

struct CutRecord {
  uint32_t stream = 0;
  uint64_t item = 0;  // of cut.seq
  Cut cut;
};

struct GapRecord {
  uint64_t item = 0;
  uint64_t end = 0;
  uint16_t reason = 0;
};

struct MarkRecord {
  uint32_t stream = 0;
  uint64_t base = 0;
  uint64_t first = 0;
  uint64_t custody = 0;
  uint64_t next = 0;
};

Bytes EncodeSegmentHeader(const SegmentHeader& header);
// Nothing if it is damaged or not one.
std::optional<SegmentHeader> ParseSegmentHeader(ByteView bytes);

// Collects records that will stand at `offset` of segment `number`. The checksums bind both, so that
// bytes of an older file, or of another place, are never taken for a record.
class RecordBatch {
 public:
  RecordBatch(uint64_t number, uint64_t offset) : number_(number), offset_(offset) {}

  void AddReading(uint64_t item, ByteView reading);
  void AddCut(const CutRecord& record);
  void AddGap(const GapRecord& record);
  void AddMark(const MarkRecord& record);

  const Bytes& bytes() const { return bytes_; }

 private:
  void Add(RecordType type, ByteView body);

  uint64_t number_;
  uint64_t offset_;
  Bytes bytes_;
};

// A record whose checksum is right. body points into the segment's bytes.
struct RecordView {
  RecordType type = RecordType::kMark;
  uint64_t offset = 0;
  ByteView body;
};

// The record that begins at `offset` of the segment, if a whole and undamaged one does; `bytes` begin there.
std::optional<RecordView> ParseRecord(uint64_t number, uint64_t offset, ByteView bytes);

// Each returns nothing if the body is not what the type requires.
std::optional<CutRecord> ParseCutRecord(ByteView body);
std::optional<GapRecord> ParseGapRecord(ByteView body);
std::optional<MarkRecord> ParseMarkRecord(ByteView body);

// Walks the records of one segment and steps over what is damaged.
class RecordReader {
 public:
  RecordReader(uint64_t number, ByteView segment) : number_(number), segment_(segment) {}

  std::optional<RecordView> Next();

  // After Next() gave nothing: where the last readable record ends, and how many bytes before it were
  // stepped over. What follows valid_end() is a torn tail.
  uint64_t valid_end() const { return valid_end_; }
  uint64_t damaged_bytes() const { return damaged_bytes_; }

 private:
  uint64_t number_;
  ByteView segment_;
  uint64_t valid_end_ = kSegmentHeaderSize;
  uint64_t damaged_bytes_ = 0;
};

}  // namespace vigia
