// What the sensor claims, for an oracle outside: one line per claim, each written with one write(), before
// the frame it speaks of leaves. The lines are in the command's help.
#pragma once

#include <string>

#include "reading.h"
#include "status.h"

namespace vigia {

class Truth {
 public:
  Truth() = default;  // claims nothing
  ~Truth();
  Truth(const Truth&) = delete;
  Truth& operator=(const Truth&) = delete;

  Status Open(const std::string& path);

  Status Sent(uint32_t stream, uint64_t seq, const std::vector<Quantity>& quantities,
              const Reading& reading);
  Status Ack(uint32_t stream, uint64_t seq);
  Status Gap(uint32_t stream, uint64_t seq, uint16_t count, uint16_t reason);

  bool wanted() const { return fd_ >= 0; }

 private:
  Status WriteLine(const std::string& line);

  int fd_ = -1;
  std::string path_;
};

}  // namespace vigia
