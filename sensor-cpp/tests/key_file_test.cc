// Key files: what is accepted, and that every refusal names its line and never the key.

#include "key_file.h"

#include <sodium.h>
#include <sys/stat.h>

#include <fstream>

#include "check.h"
#include "scratch.h"

using namespace vigia;

namespace {

const std::string kSecret = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
const std::string kGood =
    "# made by vigia sensor add\n"
    "sensor = 7\n"
    "epoch = 1\n"
    "profile = \"climate\"\n"
    "\n"
    "quantities = [\"temperature:f32\", \"pressure:f64\"]\n"
    "key = \"" +
    kSecret + "\"\n";

std::string Replaced(const std::string& from, const std::string& to) {
  std::string text = kGood;
  const size_t at = text.find(from);
  CHECK(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

void CheckRefused(const std::string& text, const std::string& what) {
  Identity identity;
  const Status status = ParseKeyFile(text, "k", &identity);
  CHECK(status.code() == Status::Code::kInvalid);
  if (status.message().find(what) == std::string::npos) fprintf(stderr, "%s\n", status.message().c_str());
  CHECK(status.message().find(what) != std::string::npos);
  CHECK(status.message().find("0011223344") == std::string::npos);
}

}  // namespace

int main() {
  CHECK(sodium_init() >= 0);
  Identity identity;
  CHECK_OK(ParseKeyFile(kGood, "k", &identity));
  CHECK(identity.sensor == 7 && identity.epoch == 1 && identity.profile == "climate");
  CHECK(identity.quantities.size() == 2 && identity.quantities[1].name == "pressure");
  CHECK(identity.quantities[0].type == ValueType::kF32 && identity.quantities[1].type == ValueType::kF64);

  CheckRefused(Replaced("sensor = 7", "sensor = 70000"), "line 2: sensor: expected");
  CheckRefused(Replaced("sensor = 7", "sensor = seven"), "line 2: sensor: expected");
  CheckRefused(Replaced("sensor = 7", "sensor 7"), "line 2: expected name = value");
  CheckRefused(Replaced("epoch = 1", "epoch = -1"), "line 3: epoch: expected");
  CheckRefused(Replaced("epoch = 1", "sensor = 7"), "line 3: sensor stands there twice");
  CheckRefused(Replaced("epoch = 1\n", ""), "has no line epoch");
  CheckRefused(Replaced("epoch = 1", "colour = 1"), "line 3: colour: expected no such line");
  CheckRefused(Replaced("f64", "f16"), "line 6: quantities");
  CheckRefused(Replaced("pressure:f64", "temperature:f64"), "line 6: quantities");
  CheckRefused(Replaced("[\"temperature:f32\", \"pressure:f64\"]", "[]"), "line 6: quantities");
  CheckRefused(Replaced("[\"temperature:f32\", \"pressure:f64\"]", "[\"temperature:f32\", ]x"), "line 6");
  CheckRefused(Replaced(kSecret, kSecret + "00"), "line 7: key: expected 64 hex digits");
  CheckRefused(Replaced(kSecret, kSecret.substr(2)), "line 7: key: expected 64 hex digits");
  CheckRefused(Replaced(kSecret, "zz" + kSecret.substr(2)), "line 7: key: expected 64 hex digits");
  CheckRefused("", "has no line sensor");

  Scratch scratch;
  const std::string path = scratch / "sensor.key";
  std::ofstream(path) << kGood;
  CHECK(chmod(path.c_str(), 0600) == 0);
  CHECK_OK(LoadKeyFile(path, &identity));
  for (const mode_t mode : {0640u, 0604u, 0620u, 0644u}) {
    CHECK(chmod(path.c_str(), mode) == 0);
    const Status status = LoadKeyFile(path, &identity);
    CHECK(!status.ok() && status.message().find("chmod 600") != std::string::npos);
  }
  CHECK(!LoadKeyFile(scratch / "none", &identity).ok());
}
