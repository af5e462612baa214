// A directory that goes away with the test. In memory where there is such a place: what survives a power
// failure is not what these tests measure, and every sync of theirs would wait for the disk.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>

#include "check.h"

namespace vigia {

class Scratch {
 public:
  Scratch() {
    const bool in_memory = getenv("TMPDIR") == nullptr && access("/dev/shm", W_OK | X_OK) == 0;
    const std::filesystem::path parent = in_memory ? "/dev/shm" : std::filesystem::temp_directory_path();
    std::string name = (parent / "vigia-sensor-XXXXXX").string();
    CHECK(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Scratch() { std::filesystem::remove_all(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace vigia
