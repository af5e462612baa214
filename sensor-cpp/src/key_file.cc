#include "key_file.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <set>

namespace vigia {

namespace {

constexpr size_t kMaxFile = 16 << 10;

std::string_view Trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

template <typename T>
bool ParseNumber(std::string_view text, T* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size();
}

// "text", without escapes: no name needs them.
bool ParseQuoted(std::string_view text, std::string_view* inside) {
  if (text.size() < 2 || text.front() != '"' || text.back() != '"') return false;
  *inside = text.substr(1, text.size() - 2);
  return inside->find_first_of("\"\\") == std::string_view::npos;
}

// ["name:f32", "name:f64"]
bool ParseQuantities(std::string_view text, std::vector<Quantity>* quantities) {
  if (text.size() < 2 || text.front() != '[' || text.back() != ']') return false;
  text = Trim(text.substr(1, text.size() - 2));
  while (!text.empty()) {
    const size_t comma = text.find(',');
    std::string_view item;
    if (!ParseQuoted(Trim(text.substr(0, comma)), &item)) return false;
    const size_t colon = item.find(':');
    if (colon == 0 || colon == std::string_view::npos) return false;
    const std::string_view type = item.substr(colon + 1);
    if (type != "f32" && type != "f64") return false;
    Quantity quantity{std::string(item.substr(0, colon)),
                      type == "f32" ? ValueType::kF32 : ValueType::kF64};
    for (const Quantity& other : *quantities) {
      if (other.name == quantity.name) return false;
    }
    quantities->push_back(std::move(quantity));
    text = comma == std::string_view::npos ? std::string_view() : Trim(text.substr(comma + 1));
  }
  return !quantities->empty() && quantities->size() <= kMaxQuantities;
}

bool ParseSecret(std::string_view text, Key* key) {
  std::string_view hex;
  size_t length = 0;
  return ParseQuoted(text, &hex) && hex.size() == 2 * kKeySize &&
         sodium_hex2bin(key->data(), kKeySize, hex.data(), hex.size(), nullptr, &length, nullptr) == 0 &&
         length == kKeySize;
}

// What a line of this name must look like; nothing if it is fine.
const char* ParseLine(std::string_view field, std::string_view value, Identity* identity, Key* secret) {
  std::string_view inside;
  if (field == "sensor") {
    return ParseNumber(value, &identity->sensor) ? nullptr : "a number from -32768 to 32767";
  }
  if (field == "epoch") {
    return ParseNumber(value, &identity->epoch) ? nullptr : "a number from 0 to 65535";
  }
  if (field == "profile") {
    if (!ParseQuoted(value, &inside) || inside.empty()) return "a name in quotes";
    identity->profile = inside;
    return nullptr;
  }
  if (field == "quantities") {
    return ParseQuantities(value, &identity->quantities)
               ? nullptr
               : "1 to 16 different quantities like [\"temperature:f32\", \"energy:f64\"]";
  }
  if (field == "key") return ParseSecret(value, secret) ? nullptr : "64 hex digits in quotes";
  return "no such line: sensor, epoch, profile, quantities and key are known";
}

}  // namespace

Status ParseKeyFile(std::string_view text, const std::string& name, Identity* identity) {
  *identity = Identity();
  std::set<std::string, std::less<>> seen;
  Key secret;
  for (int number = 1; !text.empty(); number++) {
    const size_t newline = text.find('\n');
    const std::string_view line = Trim(text.substr(0, newline));
    text = newline == std::string_view::npos ? std::string_view() : text.substr(newline + 1);
    if (line.empty() || line.front() == '#') continue;

    const std::string place = "key file " + name + ", line " + std::to_string(number) + ": ";
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) return Status::Invalid(place + "expected name = value");
    const std::string field(Trim(line.substr(0, equals)));
    if (!seen.insert(field).second) return Status::Invalid(place + field + " stands there twice");
    const char* expected = ParseLine(field, Trim(line.substr(equals + 1)), identity, &secret);
    // The value is not repeated: it may be the key.
    if (expected != nullptr) return Status::Invalid(place + field + ": expected " + expected);
  }
  for (const char* field : {"sensor", "epoch", "profile", "quantities", "key"}) {
    if (!seen.contains(field)) return Status::Invalid("key file " + name + " has no line " + field);
  }
  identity->keys = DeriveKeys(secret, identity->sensor, identity->epoch);
  return Status::Ok();
}

Status LoadKeyFile(const std::string& path, Identity* identity) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Status::FromErrno("open key file " + path, errno);
  struct stat info;
  Status status;
  // Reserved once: a vector that grows would leave copies of the key behind.
  Bytes text(kMaxFile);
  size_t size = 0;
  if (fstat(fd, &info) != 0) {
    status = Status::FromErrno("read key file " + path, errno);
  } else if (!S_ISREG(info.st_mode)) {
    status = Status::Invalid("key file " + path + " is not a regular file");
  } else if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    status = Status::Invalid("key file " + path +
                             " is open to group or others; make it yours alone: chmod 600 " + path);
  }
  while (status.ok() && size < text.size()) {
    const ssize_t n = read(fd, text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) status = Status::FromErrno("read key file " + path, errno);
    if (n <= 0) break;
    size += static_cast<size_t>(n);
  }
  close(fd);
  if (status.ok()) {
    status = size == text.size()
                 ? Status::Invalid("key file " + path + " is longer than a key file can be")
                 : ParseKeyFile(std::string_view(reinterpret_cast<const char*>(text.data()), size), path,
                                identity);
  }
  sodium_memzero(text.data(), text.size());
  return status;
}

}  // namespace vigia
