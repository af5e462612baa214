// RFC 3339 times to microseconds since 1970, and nothing looser.
#pragma once

#include <cstdint>
#include <string_view>

namespace vigia {

// False if text is not a whole RFC 3339 date and time with offset. Digits beyond microseconds are cut.
bool ParseRfc3339(std::string_view text, int64_t* time_us);

}  // namespace vigia
