#include "spool_record.h"

#include <algorithm>

#include "blake3.h"

namespace vigia {

namespace {

constexpr size_t kGapBody = 8 + 8 + 2;
constexpr size_t kMarkBody = 4 + 8 + 8 + 8 + 8;
constexpr uint32_t kSegmentMagic = 0x50534756;  // "VGSP"

uint64_t Checksum(ByteView place, ByteView bytes) {
  blake3_hasher hasher;
  blake3_hasher_init(&hasher);
  blake3_hasher_update(&hasher, place.data(), place.size());
  blake3_hasher_update(&hasher, bytes.data(), bytes.size());
  uint8_t sum[8];
  blake3_hasher_finalize(&hasher, sum, sizeof sum);
  return GetU64(sum);
}

// Over place, length, type and body: everything but the checksum itself.
uint64_t RecordChecksum(uint64_t number, uint64_t offset, RecordType type, ByteView body) {
  Bytes place;
  PutU64(&place, number);
  PutU64(&place, offset);
  PutU16(&place, static_cast<uint16_t>(body.size()));
  PutU8(&place, static_cast<uint8_t>(type));
  return Checksum(place, body);
}

}  // namespace

Bytes EncodeSegmentHeader(const SegmentHeader& header) {
  Bytes out;
  PutU32(&out, kSegmentMagic);
  PutU8(&out, header.version);
  PutU8(&out, 0);
  PutI16(&out, header.sensor);
  PutU16(&out, header.reading_size);
  PutU16(&out, 0);
  PutU32(&out, 0);
  PutU64(&out, header.number);
  PutU64(&out, Checksum({}, out));
  return out;
}

std::optional<SegmentHeader> ParseSegmentHeader(ByteView bytes) {
  if (bytes.size() < kSegmentHeaderSize) return std::nullopt;
  const uint8_t* p = bytes.data();
  if (GetU32(p) != kSegmentMagic) return std::nullopt;
  if (GetU64(p + 24) != Checksum({}, bytes.first(24))) return std::nullopt;
  return SegmentHeader{
      .version = p[4], .sensor = GetI16(p + 6), .reading_size = GetU16(p + 8), .number = GetU64(p + 16)};
}

void RecordBatch::Add(RecordType type, ByteView body) {
  const uint64_t sum = RecordChecksum(number_, offset_ + bytes_.size(), type, body);
  PutU16(&bytes_, static_cast<uint16_t>(body.size()));
  PutU8(&bytes_, static_cast<uint8_t>(type));
  PutU8(&bytes_, 0);
  PutU64(&bytes_, sum);
  PutBytes(&bytes_, body);
}

void RecordBatch::AddReading(uint64_t item, ByteView reading) {
  Bytes body;
  PutU64(&body, item);
  PutBytes(&body, reading);
  Add(RecordType::kReading, body);
}

void RecordBatch::AddCut(const CutRecord& record) {
  Bytes body;
  PutU32(&body, record.stream);
  PutU64(&body, record.cut.seq);
  PutU64(&body, record.item);
  PutU16(&body, record.cut.count);
  PutU16(&body, record.cut.epoch);
  PutU16(&body, record.cut.reason);
  PutBytes(&body, record.cut.nonce);
  PutBytes(&body, record.cut.random);
  Add(RecordType::kCut, body);
}

void RecordBatch::AddGap(const GapRecord& record) {
  Bytes body;
  PutU64(&body, record.item);
  PutU64(&body, record.end);
  PutU16(&body, record.reason);
  Add(RecordType::kGap, body);
}

void RecordBatch::AddMark(const MarkRecord& record) {
  Bytes body;
  PutU32(&body, record.stream);
  PutU64(&body, record.base);
  PutU64(&body, record.first);
  PutU64(&body, record.custody);
  PutU64(&body, record.next);
  Add(RecordType::kMark, body);
}

std::optional<RecordView> ParseRecord(uint64_t number, uint64_t offset, ByteView bytes) {
  if (bytes.size() < kRecordHeaderSize) return std::nullopt;
  const uint8_t* p = bytes.data();
  const size_t length = GetU16(p);
  if (p[2] < 1 || p[2] > 5 || p[3] != 0) return std::nullopt;
  if (length > kMaxRecordBody || length > bytes.size() - kRecordHeaderSize) return std::nullopt;
  const RecordType type = static_cast<RecordType>(p[2]);
  const ByteView body = bytes.subspan(kRecordHeaderSize, length);
  if (GetU64(p + 4) != RecordChecksum(number, offset, type, body)) return std::nullopt;
  return RecordView{type, offset, body};
}

std::optional<CutRecord> ParseCutRecord(ByteView body) {
  if (body.size() != kCutRecordBody) return std::nullopt;
  const uint8_t* p = body.data();
  CutRecord record;
  record.stream = GetU32(p);
  record.cut.seq = GetU64(p + 4);
  record.item = GetU64(p + 12);
  record.cut.count = GetU16(p + 20);
  record.cut.epoch = GetU16(p + 22);
  record.cut.reason = GetU16(p + 24);
  std::copy_n(p + 26, kNonceSize, record.cut.nonce.begin());
  std::copy_n(p + 26 + kNonceSize, kNonceSize, record.cut.random.begin());
  return record;
}

std::optional<GapRecord> ParseGapRecord(ByteView body) {
  if (body.size() != kGapBody) return std::nullopt;
  const uint8_t* p = body.data();
  return GapRecord{GetU64(p), GetU64(p + 8), GetU16(p + 16)};
}

std::optional<MarkRecord> ParseMarkRecord(ByteView body) {
  if (body.size() != kMarkBody) return std::nullopt;
  const uint8_t* p = body.data();
  return MarkRecord{GetU32(p), GetU64(p + 4), GetU64(p + 12), GetU64(p + 20), GetU64(p + 28)};
}

std::optional<RecordView> RecordReader::Next() {
  // From the first damaged byte on, any place could be the beginning of the next good record.
  for (uint64_t at = valid_end_; at < segment_.size(); at++) {
    const auto record = ParseRecord(number_, at, segment_.subspan(at));
    if (!record) continue;
    damaged_bytes_ += at - valid_end_;
    valid_end_ = at + kRecordHeaderSize + record->body.size();
    return record;
  }
  return std::nullopt;
}

}  // namespace vigia
