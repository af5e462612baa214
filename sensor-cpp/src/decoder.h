// Cuts a stream of bytes into frames. However the bytes are chunked, the frames are the same.
#pragma once

#include "frame.h"

namespace vigia {

struct Frame {
  Header header;
  Bytes bytes;  // whole: header, body, tag
};

class Decoder {
 public:
  enum class Result { kFrame, kNeedMore, kBad };

  void Feed(ByteView bytes);

  // The next whole frame. kBad (see error()) is final: nothing after it can be trusted.
  Result Next(Frame* frame);
  FrameError error() const { return error_; }

 private:
  Bytes buffer_;
  size_t start_ = 0;  // of what has not been given out
  FrameError error_ = FrameError::kNone;
};

}  // namespace vigia
