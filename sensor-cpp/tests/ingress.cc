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
  Nonce nonce = last_nonce_;
  if (said > next) {
    next = said;
    nonce = Nonce{};
    last_nonce_ = nonce;
  }
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
  session_.emplace(Session{LinkChannel(key, Direction::kFromSensor), LinkChannel(key, Direction::kFromIngress)});
  sessions++;
}

void Ingress::OnSealed(const Frame& frame) {
  const Header& header = frame.header;
  const Position position{header.stream, header.seq};
  const bool gap = header.type == FrameType::kGap;
  (gap ? gap_frames : data_frames)++;
  Bytes body;
  CHECK(OpenFrame(identity_.keys, header, frame.bytes, &body) == FrameError::kNone);

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
    uncommitted_[at] = content;
  }
  next.second += header.count;
  std::copy_n(frame.bytes.begin() + kHeaderSize, kNonceSize, last_nonce_.begin());
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
  journal_.insert(uncommitted_.begin(), uncommitted_.end());
  uncommitted_.clear();
  under_way_ = 0;
  if (!session_ || next.first == 0) return;
  Bytes body;
  PutU64(&body, stored_up_to_.first == next.first ? stored_up_to_.second : 0);
  PutI64(&body, kServerTimeUs);
  Answer(FrameType::kAck, next, body);
}

void Ingress::StoreAll() {
  stored.insert(journal_.begin(), journal_.end());
  stored_up_to_ = next;
  for (const auto& [position, content] : uncommitted_) {
    stored_up_to_ = std::min(stored_up_to_, position);
  }
}

void Ingress::LoseJournal() {
  uncommitted_.clear();
  journal_.clear();
  next = {0, 0};
  last_nonce_ = Nonce{};
  session_.reset();
}

void Ingress::Foreign(uint32_t stream, uint64_t seq) {
  next = {stream, seq};
  last_nonce_.fill(0x55);
}

}  // namespace vigia
