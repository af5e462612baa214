#include "status.h"

#include <cerrno>
#include <cstring>

namespace vigia {

Status Status::FromErrno(const std::string& attempt, int error_number) {
  const Code code = (error_number == ENOSPC || error_number == EDQUOT) ? Code::kDiskFull : Code::kIo;
  return Status(code, attempt + ": " + strerror(error_number));
}

}  // namespace vigia
