#include "rfc3339.h"

#include <chrono>

namespace vigia {

namespace {

// Takes exactly `digits` digits from the front of text.
bool TakeNumber(std::string_view* text, size_t digits, int* number) {
  if (text->size() < digits) return false;
  *number = 0;
  for (size_t i = 0; i < digits; i++) {
    const char c = (*text)[i];
    if (c < '0' || c > '9') return false;
    *number = *number * 10 + (c - '0');
  }
  text->remove_prefix(digits);
  return true;
}

bool TakeOneOf(std::string_view* text, std::string_view allowed) {
  if (text->empty() || allowed.find(text->front()) == std::string_view::npos) return false;
  text->remove_prefix(1);
  return true;
}

bool TakeFraction(std::string_view* text, int* micros) {
  *micros = 0;
  if (!TakeOneOf(text, ".")) return true;
  int digits = 0;
  for (int digit = 0; TakeNumber(text, 1, &digit); digits++) {
    if (digits < 6) *micros = *micros * 10 + digit;
  }
  for (int i = digits; i < 6; i++) *micros *= 10;
  return digits > 0;
}

bool TakeOffset(std::string_view* text, int* minutes) {
  *minutes = 0;
  if (TakeOneOf(text, "Zz")) return true;
  const bool west = !text->empty() && text->front() == '-';
  int hour = 0;
  int minute = 0;
  if (!TakeOneOf(text, "+-") || !TakeNumber(text, 2, &hour) || !TakeOneOf(text, ":") ||
      !TakeNumber(text, 2, &minute) || hour > 23 || minute > 59) {
    return false;
  }
  *minutes = (hour * 60 + minute) * (west ? -1 : 1);
  return true;
}

}  // namespace

bool ParseRfc3339(std::string_view text, int64_t* time_us) {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, micros = 0, offset = 0;
  const bool whole = TakeNumber(&text, 4, &year) && TakeOneOf(&text, "-") &&
                     TakeNumber(&text, 2, &month) && TakeOneOf(&text, "-") && TakeNumber(&text, 2, &day) &&
                     TakeOneOf(&text, "Tt ") && TakeNumber(&text, 2, &hour) && TakeOneOf(&text, ":") &&
                     TakeNumber(&text, 2, &minute) && TakeOneOf(&text, ":") &&
                     TakeNumber(&text, 2, &second) && TakeFraction(&text, &micros) &&
                     TakeOffset(&text, &offset) && text.empty();
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!whole || !date.ok() || hour > 23 || minute > 59 || second > 60) return false;
  // A leap second is the first of the next minute: time since 1970 does not count it.
  const int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  const int64_t seconds = days * 86400 + hour * 3600 + (minute - offset) * 60 + second;
  *time_us = seconds * 1'000'000 + micros;
  return true;
}

}  // namespace vigia
