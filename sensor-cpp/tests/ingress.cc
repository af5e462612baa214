#include "ingress.h"

#include <algorithm>

#include "check.h"
#include "open.h"

namespace vigia {

namespace {

constexpr int64_t kServerTimeUs = 1'767'225'600'000'000;

}  // namespace

void Ingress::Accept() {
  decoder_ = Decoder();
  session_.reset();
  output_.clear();
  under_way_ = 0;
  // What an older session brought is synced before WELCOME is answered.
  Commit();
}

bool Ingress::Receive(ByteView bytes) {
  decoder_.Feed(bytes);
  Frame frame;
  while (decoder_.Next(&frame) == Decoder::Result::kFrame) {
    CHECK(frame.header.sensor == identity_.sensor);
    if (!session_) {
      CHECK(frame.header.type == FrameType::kHello);
      OnHello(frame);
      continue;
    }
    if (!session_->in.Verify(frame.bytes)) return false;
    switch (frame.header.type) {
      case FrameType::kData:
      case FrameType::kGap:
        OnSealed(frame);
        break;
      case FrameType::kPing:
        pings++;
        Answer(FrameType::kPong, {0, 0}, {});
        break;
      default:
        CHECK(false);
    }
  }
  CHECK(decoder_.error() == FrameError::kNone);
  return true;
}

void Ingress::OnHello(const Frame& frame) {
  const Position said{frame.header.stream, frame.header.seq};
  CHECK(said.first >= 1 && said.second >= 1);
  const Position next = std::max(said, journal_.next);
  const Nonce nonce = said > journal_.next ? Nonce{} : journal_.last_nonce;
  Bytes welcome;
  PutHeader(&welcome, Header{.type = FrameType::kWelcome,
                             .length = kWelcomeFrame,
                             .sensor = identity_.sensor,
                             .epoch = identity_.epoch,
                             .stream = next.first,
                             .seq = next.second});
  for (uint8_t i = 0; i < 16; i++) PutU8(&welcome, static_cast<uint8_t>(i + sessions));
  PutU8(&welcome, kWireVersion);
  PutU8(&welcome, 0);
  PutU16(&welcome, window);
  PutU64(&welcome, stored_up_to_.first == next.first ? stored_up_to_.second : 0);
  PutBytes(&welcome, nonce);
  PutI64(&welcome, kServerTimeUs);
  std::array<uint8_t, kTagSize> tag;
  static constexpr char kContext[] = "vigia welcome";
  const ByteView context(reinterpret_cast<const uint8_t*>(kContext), sizeof kContext - 1);
  KeyedHash(identity_.keys.link, {context, frame.bytes, welcome}, tag);
  PutBytes(&welcome, tag);
  PutBytes(&output_, welcome);
  const Key key = SessionKey(identity_.keys.link, frame.bytes, welcome);
  session_.emplace(Session{LinkChannel(key, Direction::kFromSensor), LinkChannel(key, Direction::kFromIngress), next});
  sessions++;
}

void Ingress::OnSealed(const Frame& frame) {
  const Header& header = frame.header;
  const Position position{header.stream, header.seq};
  const bool gap = header.type == FrameType::kGap;
  (gap ? gap_frames : data_frames)++;
  Bytes body;
  CHECK(OpenFrame(identity_.keys, header, frame.bytes, &body) == FrameError::kNone);

  Position& next = session_->next;
  if (refuse_reason || position != next) {
    refusals++;
    Bytes reason;
    PutU16(&reason, refuse_reason.value_or(static_cast<uint16_t>(RefuseReason::kPosition)));
    Answer(FrameType::kRefuse, next, reason);
    return;
  }
  if (busy) {
    Bytes retry;
    PutU32(&retry, retry_ms);
    Answer(FrameType::kBusy, next, retry);
    return;
  }
  CHECK(under_way_ < window);
  under_way_++;
  for (uint16_t i = 0; i < header.count; i++) {
    Content content;
    if (gap) {
      content.gap_reason = GetU16(body.data());
    } else {
      const size_t size = body.size() / header.count;
      content.reading.assign(body.begin() + static_cast<ptrdiff_t>(i * size),
                             body.begin() + static_cast<ptrdiff_t>((i + 1u) * size));
    }
    const Position at{header.stream, header.seq + i};
    const auto [it, fresh] = accepted.emplace(at, content);
    // A lost journal may be told the same again; a reading that fell out of a spool meanwhile, as a gap.
    CHECK(fresh || it->second == content || gap);
    journal_.uncommitted[at] = content;
  }
  next.second += header.count;
  journal_.next = next;
  std::copy_n(frame.bytes.begin() + kHeaderSize, kNonceSize, journal_.last_nonce.begin());
}

void Ingress::Answer(FrameType type, Position position, ByteView body) {
  Bytes frame;
  PutHeader(&frame, Header{.type = type,
                           .length = static_cast<uint16_t>(kHeaderSize + body.size() + kTagSize),
                           .sensor = identity_.sensor,
                           .epoch = identity_.epoch,
                           .stream = position.first,
                           .seq = position.second});
  PutBytes(&frame, body);
  session_->out.AppendTag(&frame);
  PutBytes(&output_, frame);
}

void Ingress::Commit() {
  journal_.contents.insert(journal_.uncommitted.begin(), journal_.uncommitted.end());
  journal_.uncommitted.clear();
  under_way_ = 0;
  if (!session_) return;
  const Position next = session_->next;
  Bytes body;
  PutU64(&body, stored_up_to_.first == next.first ? stored_up_to_.second : 0);
  PutI64(&body, kServerTimeUs);
  Answer(FrameType::kAck, next, body);
}

void Ingress::StoreAll() {
  stored.insert(journal_.contents.begin(), journal_.contents.end());
  stored_up_to_ = journal_.next;
  for (const auto& [position, content] : journal_.uncommitted) {
    stored_up_to_ = std::min(stored_up_to_, position);
  }
}

Ingress::Journal Ingress::TakeJournal() {
  session_.reset();
  return std::exchange(journal_, Journal());
}

void Ingress::PutJournal(Journal journal) {
  session_.reset();
  journal_ = std::move(journal);
}

void Ingress::Foreign(uint32_t stream, uint64_t seq) {
  journal_.next = {stream, seq};
  journal_.last_nonce.fill(0x55);
}

}  // namespace vigia
