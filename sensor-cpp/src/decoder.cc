#include "decoder.h"

namespace vigia {

void Decoder::Feed(ByteView bytes) {
  // Given-out bytes go only when they are worth the move.
  if (start_ >= kMaxFrame || start_ == buffer_.size()) {
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(start_));
    start_ = 0;
  }
  PutBytes(&buffer_, bytes);
}

Decoder::Result Decoder::Next(Frame* frame) {
  if (error_ != FrameError::kNone) return Result::kBad;
  const ByteView rest = ByteView(buffer_).subspan(start_);
  if (rest.size() < kHeaderSize) return Result::kNeedMore;
  error_ = ParseHeader(rest, &frame->header);
  if (error_ != FrameError::kNone) return Result::kBad;
  const size_t length = frame->header.length;
  if (rest.size() < length) return Result::kNeedMore;
  frame->bytes.assign(rest.begin(), rest.begin() + static_cast<ptrdiff_t>(length));
  start_ += length;
  return Result::kFrame;
}

}  // namespace vigia
