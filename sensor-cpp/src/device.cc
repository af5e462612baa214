#include "device.h"

#include <sodium.h>

#include <algorithm>

namespace vigia {

namespace {

constexpr int64_t kPingAfterUs = 10'000'000;
constexpr int64_t kGiveUpAfterUs = 15'000'000;
// An ingress that answers pings and never our frames is left too.
constexpr int64_t kNoProgressUs = 30'000'000;
// Cuts are synced at most this often: the ingress commits no faster, and flash wears.
constexpr int64_t kCutIntervalUs = 5'000;
constexpr int64_t kDiskFullPauseUs = 1'000'000;
// More than this is not queued for a connection that does not take it.
constexpr size_t kMaxOutput = 256 << 10;

}  // namespace

Device::Device(const Identity& identity, Spool* spool, Truth* truth)
    : identity_(identity), spool_(spool), truth_(truth) {
  for (const Cut& cut : spool->cuts()) claimed_end_ = std::max(claimed_end_, cut.end());
}

void Device::Note(Status status) {
  if (disk_.ok() && !status.ok()) disk_ = std::move(status);
}

void Device::Take(Reading reading) {
  if (stats_.taken == 0) reading.flags |= kFlagFirst;
  if (!session_) reading.flags |= kFlagBacklog;
  reading.time_us = last_time_us_ = std::max(reading.time_us, last_time_us_ + (stats_.taken > 0));
  stats_.taken++;
  Note(spool_->AddReading(EncodeReading(identity_.quantities, reading)));
}

// ---- the connection

void Device::OnConnected(Instant now) {
  OnDisconnected();
  // Which journal answers is not known before WELCOME. Until then nothing is let go that HELLO speaks of:
  // what is evicted leaves a gap in its place, and first() stays.
  spool_->SetCustody(spool_->first());
  Hello hello{.stream = spool_->stream(), .seq = spool_->first(), .client_nonce = {}};
  randombytes_buf(hello.client_nonce.data(), hello.client_nonce.size());
  hello_ = EncodeHello(identity_.sensor, identity_.epoch, hello);
  AppendHelloTag(identity_.keys.link, &hello_);
  last_heard_us_ = unanswered_since_us_ = now.mono_us;
  Send(hello_, now);
}

void Device::OnDisconnected() {
  hello_.clear();
  session_.reset();
  decoder_ = Decoder();
  output_.clear();
  output_start_ = 0;
}

void Device::Consume(size_t n) {
  output_start_ += n;
  if (output_start_ == output_.size()) {
    output_.clear();
    output_start_ = 0;
  }
}

void Device::Send(Bytes frame, Instant now) {
  if (!Unanswered()) unanswered_since_us_ = now.mono_us;
  if (session_) session_->out.AppendTag(&frame);
  PutBytes(&output_, frame);
  last_sent_us_ = now.mono_us;
}

bool Device::Unanswered() const {
  if (hello_.empty()) return false;
  return !session_ || session_->ping_unanswered || !session_->under_way.empty();
}

Status Device::OnBytes(ByteView bytes, Instant now) {
  if (hello_.empty()) return Status::Peer("bytes without a connection");
  decoder_.Feed(bytes);
  Frame frame;
  for (;;) {
    switch (decoder_.Next(&frame)) {
      case Decoder::Result::kNeedMore:
        return Status::Ok();
      case Decoder::Result::kBad:
        return Status::Peer(std::string("the ingress sent an undecodable frame: ") +
                            Word(decoder_.error()));
      case Decoder::Result::kFrame:
        break;
    }
    const Header& header = frame.header;
    if (header.sensor != identity_.sensor || header.epoch != identity_.epoch) {
      return Status::Peer("the ingress sent a frame for another sensor or epoch");
    }
    Status status;
    if (!session_) {
      if (header.type != FrameType::kWelcome) return Status::Peer("the ingress spoke before WELCOME");
      status = OnWelcome(frame, now);
    } else {
      if (!session_->in.Verify(frame.bytes)) {
        return Status::Peer(std::string("a frame from the ingress failed: ") + Word(FrameError::kBadTag));
      }
      last_heard_us_ = now.mono_us;
      switch (header.type) {
        case FrameType::kAck:
          status = OnAck(ParseAck(header, frame.bytes), now);
          break;
        case FrameType::kBusy:
          status = OnBusy(ParseBusy(header, frame.bytes), now);
          break;
        case FrameType::kRefuse:
          status = OnRefuse(ParseRefuse(header, frame.bytes));
          break;
        case FrameType::kPong:
          session_->ping_unanswered = false;
          session_->works = true;
          break;
        default:
          return Status::Peer("the ingress sent a frame only a sensor sends");
      }
    }
    if (!status.ok()) return status;
    if (!disk_.ok()) return disk_;
  }
}

// ---- what the ingress says

Status Device::OnWelcome(const Frame& frame, Instant now) {
  if (!VerifyWelcome(identity_.keys.link, hello_, frame.bytes)) {
    return Status::Peer(std::string("WELCOME failed: ") + Word(FrameError::kBadTag));
  }
  const Welcome welcome = ParseWelcome(frame.header, frame.bytes);
  if (welcome.version != kWireVersion || welcome.window == 0) {
    return Status::Peer("WELCOME has version " + std::to_string(welcome.version) + ", window " +
                        std::to_string(welcome.window));
  }
  last_heard_us_ = now.mono_us;
  stats_.clock_difference_us = welcome.time_us - now.wall_us;

  // stream() and first() are still what HELLO said.
  bool known = false;
  if (welcome.stream == spool_->stream()) {
    known = welcome.last_nonce == Nonce{}
                ? welcome.seq == spool_->first()
                : welcome.seq >= spool_->first() && spool_->KnowsCut(welcome.seq, welcome.last_nonce);
  }
  if (!known) return OpenNewStream(welcome);

  const Key key = SessionKey(identity_.keys.link, hello_, frame.bytes);
  session_.emplace(Session{.out = LinkChannel(key, Direction::kFromSensor),
                           .in = LinkChannel(key, Direction::kFromIngress),
                           .window = welcome.window,
                           .position = welcome.seq,
                           .under_way = {}});
  stats_.sessions++;
  Custody(welcome.seq);
  Stored(welcome.stored);
  return Status::Ok();
}

Status Device::OpenNewStream(const Welcome& welcome) {
  const uint32_t newest = std::max(welcome.stream, spool_->stream());
  if (newest == UINT32_MAX) return Status::Peer("no stream is left to open");
  const Status status = spool_->OpenStream(newest + 1);
  if (!status.ok()) {
    // Without room it waits; the next connection comes here again.
    if (status.code() != Status::Code::kDiskFull) Note(status);
    return status;
  }
  claimed_end_ = 0;
  claimed_ack_ = 0;
  return Status::Peer("the ingress knows another history of this sensor; stream " +
                      std::to_string(newest + 1) + " opened");
}

// Grows by ACK; only WELCOME may say that the ingress has less than it had.
void Device::Custody(uint64_t seq) {
  spool_->SetCustody(seq);
  if (seq <= claimed_ack_) return;
  claimed_ack_ = seq;
  Note(truth_->Ack(spool_->stream(), seq));
}

void Device::Stored(uint64_t seq) {
  // What is stored but must be sent again, because the journal was lost, is not forgotten yet.
  Note(spool_->Forget(std::min(seq, spool_->custody())));
}

Status Device::OnAck(const Ack& ack, Instant now) {
  if (ack.stream != spool_->stream() || ack.seq > session_->position) {
    return Status::Peer("ACK for what this connection has not sent");
  }
  stats_.clock_difference_us = ack.time_us - now.wall_us;
  auto& under_way = session_->under_way;
  while (!under_way.empty() && under_way.front() <= ack.seq) under_way.pop_front();
  session_->progress_us = now.mono_us;
  session_->works = true;
  if (ack.seq > session_->went_back_to) session_->went_back_to = 0;
  if (ack.seq > spool_->custody()) Custody(ack.seq);
  Stored(ack.stored);
  return Status::Ok();
}

Status Device::OnBusy(const Busy& busy, Instant now) {
  Session& session = *session_;
  if (busy.stream != spool_->stream() || busy.seq < spool_->custody() || busy.seq > session.position) {
    return Status::Peer("BUSY, and told a position that cannot be");
  }
  stats_.refused++;
  // What is before it was taken, and is still to be acknowledged.
  while (!session.under_way.empty() && session.under_way.back() > busy.seq) {
    session.under_way.pop_back();
  }
  session.went_back_to = busy.seq;
  session.position = busy.seq;
  session.progress_us = now.mono_us;
  session.works = true;
  session.held_until_us = now.mono_us + int64_t{busy.retry_ms} * 1000;
  return Status::Ok();
}

// The frames that were under way behind the one that met BUSY are refused too, once or often: an echo.
// Anything else means that the ingress stands where this session cannot have brought it.
Status Device::OnRefuse(const Refuse& refuse) {
  stats_.refused++;
  if (refuse.stream == spool_->stream() && refuse.seq == session_->went_back_to) return Status::Ok();
  return Status::Peer("the ingress refused a frame for reason " + std::to_string(refuse.reason));
}

// ---- time passes

Status Device::Advance(Instant now) {
  if (!disk_.ok()) return disk_;
  if (hello_.empty()) return Status::Ok();
  if (Unanswered() &&
      now.mono_us - std::max(last_heard_us_, unanswered_since_us_) >= kGiveUpAfterUs) {
    return Status::Peer("the ingress has not answered for 15 s");
  }
  if (!session_) return Status::Ok();
  if (!session_->under_way.empty() && now.mono_us - session_->progress_us >= kNoProgressUs) {
    return Status::Peer("the ingress has not taken anything for 30 s");
  }
  SendFrames(now);
  if (now.mono_us - last_sent_us_ >= kPingAfterUs) {
    Send(EncodePing(identity_.sensor, identity_.epoch), now);
    session_->ping_unanswered = true;
  }
  return disk_;
}

int64_t Device::NextDeadline(Instant now) const {
  int64_t deadline = INT64_MAX;
  if (Unanswered()) deadline = std::max(last_heard_us_, unanswered_since_us_) + kGiveUpAfterUs;
  if (!session_) return deadline;
  if (!session_->under_way.empty()) {
    deadline = std::min(deadline, session_->progress_us + kNoProgressUs);
  }
  deadline = std::min(deadline, last_sent_us_ + kPingAfterUs);
  if (session_->position < spool_->next() && session_->under_way.size() < session_->window &&
      output().size() < kMaxOutput) {
    deadline = std::min(deadline, std::max({now.mono_us, session_->held_until_us, next_cut_us_}));
  }
  return deadline;
}

// Readings of one frame are equally long, but not always as long as those of the present profile.
Header Device::HeaderOf(const Cut& cut, ByteView body) const {
  if (cut.reason != 0) {
    return GapHeader(identity_.sensor, cut.epoch, spool_->stream(), cut.seq, cut.count);
  }
  return DataHeader(identity_.sensor, cut.epoch, spool_->stream(), cut.seq, cut.count,
                    body.size() / cut.count);
}

// Sends what the window allows: old cuts as they are where one can be repeated, else new ones, after one
// sync for all.
void Device::SendFrames(Instant now) {
  Session& session = *session_;
  if (now.mono_us < session.held_until_us) return;

  struct Ready {
    Cut cut;
    Bytes body;
  };
  std::vector<Ready> ready;
  std::vector<Cut> fresh;
  size_t before_fresh = 0;
  uint64_t position = session.position;
  size_t size = output().size();
  while (session.under_way.size() + ready.size() < session.window && position < spool_->next() &&
         size < kMaxOutput) {
    Ready frame;
    if (const Cut* old = spool_->CutToRepeat(position, identity_.epoch)) {
      frame.cut = *old;
      bool whole = true;
      if (Status status = ReadBody(frame.cut, &frame.body, &whole); !status.ok()) return Note(status);
      if (!whole) continue;  // damaged: there is a gap now, look again
    } else {
      if (now.mono_us < next_cut_us_) break;
      if (Status status = MakeCut(position, &frame.cut, &frame.body); !status.ok()) return Note(status);
      if (frame.cut.count == 0) continue;
      // The claim first: a cut that no claim speaks of could be sent after a crash.
      if (Status status = Claim(frame.cut, frame.body); !status.ok()) return Note(status);
      if (fresh.empty()) before_fresh = ready.size();
      fresh.push_back(frame.cut);
    }
    position = frame.cut.end();
    size += kDataExtra + frame.body.size();
    ready.push_back(std::move(frame));
  }

  if (!fresh.empty()) {
    Status status = spool_->AddCuts(fresh);
    if (status.ok()) status = spool_->Sync();
    if (status.code() == Status::Code::kDiskFull) {
      ready.resize(before_fresh);
      next_cut_us_ = now.mono_us + kDiskFullPauseUs;
    } else if (!status.ok()) {
      return Note(status);
    } else {
      next_cut_us_ = now.mono_us + kCutIntervalUs;
    }
  }

  for (const Ready& frame : ready) {
    Send(Seal(identity_.keys, HeaderOf(frame.cut, frame.body), frame.body, frame.cut.nonce), now);
    if (session.under_way.empty()) session.progress_us = now.mono_us;
    session.under_way.push_back(frame.cut.end());
    session.position = frame.cut.end();
    if (frame.cut.reason == 0) stats_.sent += frame.cut.count;
    else stats_.gap_frames++;
  }
}

Status Device::ReadBody(const Cut& cut, Bytes* body, bool* whole) {
  if (cut.reason != 0) {
    *body = GapBody(static_cast<GapReason>(cut.reason));
    return Status::Ok();
  }
  uint16_t count = 0;
  const Status status = spool_->ReadReadings(cut.seq, cut.count, body, &count);
  *whole = count == cut.count;
  return status;
}

// Leaves cut->count at 0 if the reading at seq turns out to be damaged; RunAt() then says so. Ends where
// another cut begins, so that from there on old cuts can be repeated.
Status Device::MakeCut(uint64_t seq, Cut* cut, Bytes* body) {
  const Spool::Run run = spool_->RunAt(seq);
  const uint64_t room = std::min(run.end, spool_->NextCutBehind(seq, run.reason)) - seq;
  *cut = Cut{.seq = seq, .epoch = identity_.epoch, .reason = run.reason};
  if (run.reason != 0) {
    cut->count = static_cast<uint16_t>(std::min<uint64_t>(room, kMaxGap));
    *body = GapBody(static_cast<GapReason>(run.reason));
  } else {
    const size_t fitting = (kMaxFrame - kDataExtra) / run.reading_size;
    const size_t most = std::min<size_t>({room, kMaxReadings, fitting});
    const Status status = spool_->ReadReadings(seq, most, body, &cut->count);
    if (!status.ok() || cut->count == 0) return status;
  }
  randombytes_buf(cut->random.data(), cut->random.size());
  cut->nonce = MakeNonce(identity_.keys, HeaderOf(*cut, *body), *body, cut->random);
  return Status::Ok();
}

// Readings are claimed once in a stream, however often their frames are cut. Those of an older profile are
// not: what their values mean is not known any more.
Status Device::Claim(const Cut& cut, ByteView body) {
  if (cut.reason != 0) {
    claimed_end_ = std::max(claimed_end_, cut.end());
    return truth_->Gap(spool_->stream(), cut.seq, cut.count, cut.reason);
  }
  const size_t size = ReadingSize(identity_.quantities);
  const bool wanted = truth_->wanted() && body.size() == size * cut.count;
  for (uint64_t seq = std::max(cut.seq, claimed_end_); wanted && seq < cut.end(); seq++) {
    const Reading reading =
        DecodeReading(identity_.quantities, body.subspan((seq - cut.seq) * size, size));
    if (Status status = truth_->Sent(spool_->stream(), seq, identity_.quantities, reading); !status.ok()) {
      return status;
    }
  }
  claimed_end_ = std::max(claimed_end_, cut.end());
  return Status::Ok();
}

}  // namespace vigia
