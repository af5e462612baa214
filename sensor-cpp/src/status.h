// How an operation ended: a value, never an exception. A failed one carries a sentence for people.
#pragma once

#include <string>
#include <utility>

namespace vigia {

class [[nodiscard]] Status {
 public:
  enum class Code {
    kOk,
    kInvalid,   // what was given to us is wrong; trying again cannot help
    kDiskFull,  // no room now; may pass
    kIo,        // the operating system failed us
    kPeer,      // the other side broke the protocol or fell silent
  };

  Status() = default;
  static Status Ok() { return Status(); }
  static Status Invalid(std::string message) { return Status(Code::kInvalid, std::move(message)); }
  static Status Io(std::string message) { return Status(Code::kIo, std::move(message)); }
  static Status Peer(std::string message) { return Status(Code::kPeer, std::move(message)); }
  // From errno: what was attempted, on what. ENOSPC and EDQUOT become kDiskFull.
  static Status FromErrno(const std::string& attempt, int error_number);

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  Code code_ = Code::kOk;
  std::string message_;
};

}  // namespace vigia
