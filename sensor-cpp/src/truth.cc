#include "truth.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>

namespace vigia {

Truth::~Truth() {
  if (fd_ >= 0) close(fd_);
}

Status Truth::Open(const std::string& path) {
  path_ = path;
  fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  return fd_ >= 0 ? Status::Ok() : Status::FromErrno("open " + path, errno);
}

Status Truth::WriteLine(const std::string& line) {
  const ssize_t n = write(fd_, line.data(), line.size());
  if (n == static_cast<ssize_t>(line.size())) return Status::Ok();
  // An oracle with holes would judge wrongly, so that this is never passed over.
  return Status::Io(Status::FromErrno("write " + path_, n < 0 ? errno : ENOSPC).message());
}

Status Truth::Sent(uint32_t stream, uint64_t seq, const std::vector<Quantity>& quantities,
                   const Reading& reading) {
  if (!wanted()) return Status::Ok();
  std::string line = "sent " + std::to_string(stream) + " " + std::to_string(seq) + " " +
                     std::to_string(reading.time_us);
  for (size_t i = 0; i < quantities.size(); i++) {
    const double value = reading.values[i];
    char text[40] = " nan";
    if (!std::isnan(value)) {
      snprintf(text, sizeof text, quantities[i].type == ValueType::kF32 ? " %.9g" : " %.17g", value);
    }
    line += text;
  }
  return WriteLine(line + "\n");
}

Status Truth::Ack(uint32_t stream, uint64_t seq) {
  if (!wanted()) return Status::Ok();
  return WriteLine("ack " + std::to_string(stream) + " " + std::to_string(seq) + "\n");
}

Status Truth::Gap(uint32_t stream, uint64_t seq, uint16_t count, uint16_t reason) {
  if (!wanted()) return Status::Ok();
  return WriteLine("gap " + std::to_string(stream) + " " + std::to_string(seq) + " " +
                   std::to_string(count) + " " + std::to_string(reason) + "\n");
}

}  // namespace vigia
