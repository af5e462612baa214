// Link tags: who speaks, in which order, within which session.
#pragma once

#include "frame.h"
#include "keys.h"

namespace vigia {

enum class Direction : uint8_t { kFromSensor = 0, kFromIngress = 1 };

// One direction of one session: tags what is sent, or verifies what is received, and counts.
class LinkChannel {
 public:
  LinkChannel(const Key& session, Direction direction, uint64_t counter = 0)
      : session_(session), direction_(direction), counter_(counter) {}

  // Appends the next tag to a frame that has none yet.
  void AppendTag(Bytes* frame);

  // True, and counted, if the whole frame carries the tag due next. Takes constant time.
  // REQUIRES: frame.size() >= kMinFrame
  bool Verify(ByteView frame);

 private:
  std::array<uint8_t, kTagSize> NextTag(ByteView untagged) const;

  Key session_;
  Direction direction_;
  uint64_t counter_;
};

// HELLO and WELCOME are tagged under K_link, before there is a session.
void AppendHelloTag(const Key& link, Bytes* hello);
bool VerifyWelcome(const Key& link, ByteView hello, ByteView welcome);
Key SessionKey(const Key& link, ByteView hello, ByteView welcome);

}  // namespace vigia
