// A test is a program that ends at the first thing that does not hold.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

// How many seeds a randomised test tries; SEEDS=... looks longer.
inline uint32_t SeedsWanted(uint32_t usual) {
  const char* text = getenv("SEEDS");
  return text != nullptr ? static_cast<uint32_t>(strtoul(text, nullptr, 10)) : usual;
}

#define CHECK(condition)                                                               \
  do {                                                                                 \
    if (!(condition)) {                                                                \
      fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);   \
      abort();                                                                         \
    }                                                                                  \
  } while (false)

#define CHECK_OK(expression)                                                                 \
  do {                                                                                       \
    const ::vigia::Status check_status = (expression);                                       \
    if (!check_status.ok()) {                                                                \
      fprintf(stderr, "%s:%d: %s failed: %s\n", __FILE__, __LINE__, #expression,             \
              check_status.message().c_str());                                               \
      abort();                                                                               \
    }                                                                                        \
  } while (false)
