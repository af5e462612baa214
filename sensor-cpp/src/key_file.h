// The sensor's key file: who it is, what it measures, and its secret.
#pragma once

#include <string>
#include <string_view>

#include "keys.h"
#include "reading.h"
#include "status.h"

namespace vigia {

struct Identity {
  int16_t sensor = 0;
  uint16_t epoch = 0;
  std::string profile;
  std::vector<Quantity> quantities;
  Keys keys;
};

// Refuses a file that group or others can read.
Status LoadKeyFile(const std::string& path, Identity* identity);

// `name` stands in front of the line number in what is said about a wrong line.
Status ParseKeyFile(std::string_view text, const std::string& name, Identity* identity);

}  // namespace vigia
