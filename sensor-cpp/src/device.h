// The sensor's side of FORMAT.md, "Session". Sans-I/O: bytes in, bytes out, `now` a parameter. It never
// touches a socket or a clock; its only effects are on its spool and on the truth file.
//
//   Take            a reading was taken, whether or not there is a connection
//   OnConnected     bytes can flow: HELLO is waiting in output()
//   OnBytes         bytes came; a failure means the connection must be closed
//   Advance         cut, sync, send, ping, give up; a failure means the same
//   OnDisconnected  the connection is gone
//
// Invariant: a frame is in output() only if its cut, and the readings in it, are synced.
#pragma once

#include <deque>
#include <optional>

#include "clock.h"
#include "decoder.h"
#include "key_file.h"
#include "link.h"
#include "seal.h"
#include "spool.h"
#include "truth.h"

namespace vigia {

struct DeviceStats {
  uint64_t taken = 0;
  uint64_t sent = 0;  // readings in frames, those sent again included
  uint64_t sessions = 0;
  uint64_t gap_frames = 0;
  uint64_t refused = 0;
  std::optional<int64_t> clock_difference_us;  // the ingress's minus ours
};

class Device {
 public:
  // REQUIRES: spool was opened for identity's sensor and reading size; it may hold readings of other sizes.
  // spool and truth outlive this.
  Device(const Identity& identity, Spool* spool, Truth* truth);

  // Stores the reading; adds its flags, and makes its time later than that of the one before.
  // REQUIRES: as many values as quantities.
  void Take(Reading reading);

  void OnConnected(Instant now);
  Status OnBytes(ByteView bytes, Instant now);
  Status Advance(Instant now);
  void OnDisconnected();

  // What waits to be written to the connection.
  ByteView output() const { return ByteView(output_).subspan(output_start_); }
  void Consume(size_t n);

  // When Advance() has something to do next, without anything else happening (mono_us).
  int64_t NextDeadline(Instant now) const;

  // Not ok: the disk failed, or the truth file. The process has to end; what is synced is safe.
  const Status& disk() const { return disk_; }

  bool in_session() const { return session_.has_value(); }
  // The ingress took or answered something in this session: not only its WELCOME works.
  bool session_works() const { return session_ && session_->works; }
  bool all_in_custody() const { return spool_->custody() == spool_->next(); }
  const DeviceStats& stats() const { return stats_; }

 private:
  struct Session {
    LinkChannel out;
    LinkChannel in;
    uint16_t window = 1;
    uint64_t position = 0;  // seq that is sent next
    std::deque<uint64_t> under_way;  // ends of frames
    int64_t held_until_us = 0;  // after BUSY
    uint64_t went_back_to = 0;  // after BUSY, until something behind it is acknowledged; else 0
    bool works = false;
    bool ping_unanswered = false;
    int64_t progress_us = 0;  // when an ACK or BUSY last came
  };

  Status OnWelcome(const Frame& frame, Instant now);
  Status OnAck(const Ack& ack, Instant now);
  Status OnBusy(const Busy& busy, Instant now);
  Status OnRefuse(const Refuse& refuse);
  Status OpenNewStream(const Welcome& welcome);
  void Custody(uint64_t seq);
  void Stored(uint64_t seq);

  void SendFrames(Instant now);
  Status MakeCut(uint64_t seq, Cut* cut, Bytes* body);
  Status ReadBody(const Cut& cut, Bytes* body, bool* whole);
  Status Claim(const Cut& cut, ByteView body);
  Header HeaderOf(const Cut& cut, ByteView body) const;
  void Send(Bytes frame, Instant now);
  bool Unanswered() const;
  void Note(Status status);

  const Identity identity_;
  Spool* const spool_;
  Truth* const truth_;
  Status disk_;
  DeviceStats stats_;

  int64_t last_time_us_ = INT64_MIN;
  uint64_t claimed_end_ = 0;  // `sent` lines are written up to here, in this stream
  uint64_t claimed_ack_ = 0;

  // Of the connection.
  Bytes hello_;  // whole; empty: not connected
  Decoder decoder_;
  std::optional<Session> session_;
  Bytes output_;
  size_t output_start_ = 0;
  int64_t last_heard_us_ = 0;
  int64_t last_sent_us_ = 0;
  int64_t unanswered_since_us_ = 0;
  int64_t next_cut_us_ = 0;
};

}  // namespace vigia
