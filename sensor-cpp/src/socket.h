// The TCP connection to the ingress: the only code that knows sockets. Never blocks, not even for a name.
#pragma once

#include <netdb.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "clock.h"
#include "coding.h"
#include "status.h"

struct pollfd;

namespace vigia {

class Socket {
 public:
  enum class State { kWaiting, kResolving, kConnecting, kConnected };

  Socket(std::string host, std::string port);
  ~Socket();
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  State state() const { return state_; }
  uint64_t attempts() const { return attempts_; }

  // Moves a connection attempt on. True when it has just become connected. A failed attempt is in
  // `status`; the next one follows after the pause.
  bool Advance(Instant now, Status* status);

  // What to poll for; fd -1 if nothing.
  pollfd PollFor(bool want_write) const;
  int64_t NextDeadline() const;

  // REQUIRES: connected. Both say how much; kPeer: the connection is gone.
  Status Read(Bytes* bytes);
  Status Write(ByteView bytes, size_t* written);

  // Closes, and begins the pause before the next attempt: longer each time (0.1 s to 10 s), jittered, so
  // that a thousand sensors do not return in step.
  void Close(Instant now);

  // The ingress answers what we send: pauses begin short again.
  void Succeeded() { pause_us_ = 0; }

 private:
  struct Resolution;

  void StartResolving();
  bool StartConnecting(Instant now, Status* status);
  void Fail(Instant now, Status* status, std::string why);

  const std::string host_;
  const std::string port_;
  State state_ = State::kWaiting;
  int fd_ = -1;
  std::unique_ptr<Resolution> resolution_;
  addrinfo* addresses_ = nullptr;
  const addrinfo* next_address_ = nullptr;
  std::minstd_rand random_;
  int64_t pause_us_ = 0;
  int64_t next_us_ = 0;  // the next attempt, or when this one is given up
  uint64_t attempts_ = 0;
};

}  // namespace vigia
