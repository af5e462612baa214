// An ingress in memory that does what FORMAT.md says one does, and checks what sensors promise: that no
// (stream, seq) ever has two contents, and that everything opens. What it does not do by itself, the test
// does: commit, store, be busy, lose its journal.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <utility>

#include "decoder.h"
#include "key_file.h"
#include "link.h"

namespace vigia {

using Position = std::pair<uint32_t, uint64_t>;  // stream, seq

// What stands at a position: a reading's bytes, or a gap's reason.
struct Content {
  Bytes reading;
  uint16_t gap_reason = 0;
  bool operator==(const Content&) const = default;
};

class Ingress {
 public:
  explicit Ingress(const Identity& identity) : identity_(identity) {}

  // A new connection begins; an older one is gone.
  void Accept();
  // Bytes from the sensor. False: it closes the connection.
  bool Receive(ByteView bytes);
  // What waits for the sensor.
  Bytes TakeOutput() { return std::exchange(output_, {}); }

  // The journal's sync: what was taken until now is acknowledged.
  void Commit();
  // Everything committed is accounted for by the store; told with the next ACK or WELCOME.
  void StoreAll();
  // What the journal's disk holds.
  struct Journal {
    std::map<Position, Content> contents;
    std::map<Position, Content> uncommitted;
    Position next{0, 0};
    Nonce last_nonce{};
  };
  // Takes the disk out, for which an empty one stands in; puts a disk in. The store keeps what it has.
  Journal TakeJournal();
  void PutJournal(Journal journal);
  const Journal& journal() const { return journal_; }
  // As if the journal had moved on by the hand of another sensor with the same key.
  void Foreign(uint32_t stream, uint64_t seq);
  // Says something of its own accord. REQUIRES: a session
  void Answer(FrameType type, Position position, ByteView body);
  // The next reading the journal takes.
  const Position& next() const { return journal_.next; }

  uint16_t window = 8;
  bool busy = false;
  uint32_t retry_ms = 50;
  std::optional<uint16_t> refuse_reason;  // for every frame

  // Everything ever accepted, and everything stored.
  std::map<Position, Content> accepted;
  std::map<Position, Content> stored;
  int sessions = 0;
  int refusals = 0;
  int data_frames = 0;
  int gap_frames = 0;
  int pings = 0;

 private:
  void OnHello(const Frame& frame);
  void OnSealed(const Frame& frame);

  const Identity& identity_;
  Decoder decoder_;
  Bytes output_;
  struct Session {
    LinkChannel in;
    LinkChannel out;
    Position next;  // that it will accept: the journal's or HELLO's
  };
  std::optional<Session> session_;
  Journal journal_;
  size_t under_way_ = 0;
  Position stored_up_to_{0, 0};
};

}  // namespace vigia
