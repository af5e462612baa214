// Holds this implementation to protocol/vectors.txt, byte for byte.

#include <sodium.h>

#include <charconv>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

#include "check.h"
#include "decoder.h"
#include "link.h"
#include "open.h"
#include "reading.h"
#include "seal.h"

using namespace vigia;

namespace {

// One line: every value must be asked for, and everything asked for must be there.
class Vector {
 public:
  explicit Vector(const std::string& line) {
    std::istringstream words(line);
    words >> kind_;
    for (std::string word; words >> word;) {
      const size_t equals = word.find('=');
      CHECK(equals != std::string::npos && equals > 0);
      CHECK(values_.emplace(word.substr(0, equals), word.substr(equals + 1)).second);
    }
  }
  ~Vector() { CHECK(values_.empty()); }

  const std::string& kind() const { return kind_; }

  std::string Text(const std::string& name) {
    const auto it = values_.find(name);
    if (it == values_.end()) fprintf(stderr, "%s has no %s\n", kind_.c_str(), name.c_str());
    CHECK(it != values_.end());
    const std::string value = it->second;
    values_.erase(it);
    return value;
  }

  template <typename T>
  T Number(const std::string& name) {
    const std::string text = Text(name);
    T number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    CHECK(error == std::errc() && end == text.data() + text.size());
    return number;
  }

  Bytes Hex(const std::string& name) {
    const std::string text = Text(name);
    CHECK(text.size() % 2 == 0 && text.find_first_not_of("0123456789abcdef") == std::string::npos);
    Bytes bytes(text.size() / 2);
    size_t size = 0;
    CHECK(sodium_hex2bin(bytes.data(), bytes.size(), text.data(), text.size(), nullptr, &size, nullptr) == 0);
    CHECK(size == bytes.size());
    return bytes;
  }

  template <size_t N>
  std::array<uint8_t, N> Array(const std::string& name) {
    const Bytes bytes = Hex(name);
    CHECK(bytes.size() == N);
    std::array<uint8_t, N> array;
    std::copy(bytes.begin(), bytes.end(), array.begin());
    return array;
  }

  Key KeyOf(const std::string& name) { return Key(Array<kKeySize>(name)); }

  Header Position(FrameType type) {
    Header header{.type = type, .sensor = Number<int16_t>("sensor"), .epoch = Number<uint16_t>("epoch")};
    header.stream = Number<uint32_t>("stream");
    header.seq = Number<uint64_t>("seq");
    return header;
  }

  LinkChannel Channel() {
    const Key session = KeyOf("session");
    const int direction = Number<int>("direction");
    CHECK(direction == 0 || direction == 1);
    return LinkChannel(session, static_cast<Direction>(direction), Number<uint64_t>("counter"));
  }

 private:
  std::string kind_;
  std::map<std::string, std::string> values_;
};

bool Same(const Key& key, const Bytes& bytes) { return Bytes(key.data(), key.data() + kKeySize) == bytes; }

// The one whole frame in bytes, through the decoder.
Frame Decode(const Bytes& bytes) {
  Decoder decoder;
  decoder.Feed(bytes);
  Frame frame;
  CHECK(decoder.Next(&frame) == Decoder::Result::kFrame);
  CHECK(frame.bytes == bytes);
  Frame more;
  CHECK(decoder.Next(&more) == Decoder::Result::kNeedMore);
  return frame;
}

void CheckPosition(const Header& header, const Header& expected) {
  CHECK(header.type == expected.type && header.sensor == expected.sensor && header.epoch == expected.epoch);
  CHECK(header.count == expected.count && header.stream == expected.stream && header.seq == expected.seq);
}

// Decodes a tagged frame and verifies its tag.
Frame DecodeTagged(Vector* v, const Header& expected) {
  Frame frame = Decode(v->Hex("frame"));
  CheckPosition(frame.header, expected);
  CHECK(v->Channel().Verify(frame.bytes));
  return frame;
}

void TestKeys(Vector* v) {
  const Key device = v->KeyOf("dev");
  const int16_t sensor = v->Number<int16_t>("sensor");
  const Keys keys = DeriveKeys(device, sensor, v->Number<uint16_t>("epoch"));
  CHECK(Same(keys.link, v->Hex("link")));
  CHECK(Same(keys.payload, v->Hex("payload")));
  CHECK(Same(keys.signature, v->Hex("sig")));
  CHECK(Same(keys.nonce, v->Hex("nonce")));
}

void TestHello(Vector* v) {
  const Header position = v->Position(FrameType::kHello);
  const Hello hello{position.stream, position.seq, v->Array<16>("client_nonce"),
                    v->Number<uint8_t>("lowest"), v->Number<uint8_t>("highest")};
  Bytes frame = EncodeHello(position.sensor, position.epoch, hello);
  AppendHelloTag(v->KeyOf("link"), &frame);
  CHECK(frame == v->Hex("frame"));
  CheckPosition(Decode(frame).header, position);
}

void TestWelcome(Vector* v) {
  const Header position = v->Position(FrameType::kWelcome);
  const Frame frame = Decode(v->Hex("frame"));
  CheckPosition(frame.header, position);
  const Welcome welcome = ParseWelcome(frame.header, frame.bytes);
  CHECK(welcome.stream == position.stream && welcome.seq == position.seq);
  CHECK(welcome.server_nonce == v->Array<16>("server_nonce"));
  CHECK(welcome.version == v->Number<uint8_t>("version"));
  CHECK(welcome.window == v->Number<uint16_t>("window"));
  CHECK(welcome.stored == v->Number<uint64_t>("stored"));
  CHECK(welcome.last_nonce == v->Array<24>("last_nonce"));
  CHECK(welcome.time_us == v->Number<int64_t>("time"));
  const Key link = v->KeyOf("link");
  const Bytes hello = v->Hex("hello");
  CHECK(VerifyWelcome(link, hello, frame.bytes));
  CHECK(Same(SessionKey(link, hello, frame.bytes), v->Hex("session")));
}

// DATA and GAP: sealing gives the frame, opening it gives the body.
void TestSealed(Vector* v, FrameType type) {
  const Key device = v->KeyOf("dev");
  Header header = v->Position(type);
  header.count = v->Number<uint16_t>("count");
  Bytes body;
  if (type == FrameType::kData) {
    body = v->Hex("readings");
    CHECK(body.size() % header.count == 0);
    header = DataHeader(header.sensor, header.epoch, header.stream, header.seq, header.count,
                        body.size() / header.count);
  } else {
    body = GapBody(static_cast<GapReason>(v->Number<uint16_t>("reason")));
    header = GapHeader(header.sensor, header.epoch, header.stream, header.seq, header.count);
  }
  const Keys keys = DeriveKeys(device, header.sensor, header.epoch);
  Bytes sealed = Seal(keys, header, body, MakeNonce(keys, header, body, v->Array<24>("random")));
  v->Channel().AppendTag(&sealed);
  CHECK(sealed == v->Hex("frame"));

  const Frame frame = Decode(sealed);
  CheckPosition(frame.header, header);
  Bytes opened;
  CHECK(OpenFrame(keys, frame.header, frame.bytes, &opened) == FrameError::kNone);
  CHECK(opened == body);
}

void TestAck(Vector* v) {
  const Header position = v->Position(FrameType::kAck);
  const Frame frame = DecodeTagged(v, position);
  const Ack ack = ParseAck(frame.header, frame.bytes);
  CHECK(ack.stream == position.stream && ack.seq == position.seq);
  CHECK(ack.stored == v->Number<uint64_t>("stored") && ack.time_us == v->Number<int64_t>("time"));
}

void TestBusy(Vector* v) {
  const Header position = v->Position(FrameType::kBusy);
  const Frame frame = DecodeTagged(v, position);
  const Busy busy = ParseBusy(frame.header, frame.bytes);
  CHECK(busy.stream == position.stream && busy.seq == position.seq);
  CHECK(busy.retry_ms == v->Number<uint32_t>("retry_ms"));
}

void TestRefuse(Vector* v) {
  const Header position = v->Position(FrameType::kRefuse);
  const Frame frame = DecodeTagged(v, position);
  const Refuse refuse = ParseRefuse(frame.header, frame.bytes);
  CHECK(refuse.stream == position.stream && refuse.seq == position.seq);
  CHECK(refuse.reason == v->Number<uint16_t>("reason"));
}

void TestPing(Vector* v, bool ping) {
  const int16_t sensor = v->Number<int16_t>("sensor");
  const uint16_t epoch = v->Number<uint16_t>("epoch");
  Bytes frame = ping ? EncodePing(sensor, epoch) : EncodePong(sensor, epoch);
  v->Channel().AppendTag(&frame);
  CHECK(frame == v->Hex("frame"));
  CheckPosition(Decode(frame).header, Header{.type = ping ? FrameType::kPing : FrameType::kPong,
                                             .sensor = sensor,
                                             .epoch = epoch});
}

void TestReading(Vector* v) {
  Reading reading{.time_us = v->Number<int64_t>("time"), .flags = v->Number<uint16_t>("flags"), .values = {}};
  reading.status = v->Number<uint16_t>("status");
  std::vector<Quantity> quantities;
  std::istringstream values(v->Text("f32"));
  for (std::string text; std::getline(values, text, ',');) {
    float value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    CHECK(error == std::errc() && end == text.data() + text.size());
    reading.values.push_back(static_cast<double>(value));
    quantities.push_back(Quantity{std::to_string(quantities.size())});
  }
  const Bytes bytes = v->Hex("reading");
  CHECK(EncodeReading(quantities, reading) == bytes);
  CHECK(bytes.size() == ReadingSize(quantities));
  CHECK(EncodeReading(quantities, DecodeReading(quantities, bytes)) == bytes);
}

void TestBadFrame(Vector* v) {
  const Bytes bytes = v->Hex("frame");
  const std::string expected = v->Text("error");
  // The header alone must be enough.
  Decoder decoder;
  decoder.Feed(ByteView(bytes).first(kHeaderSize));
  Frame frame;
  CHECK(decoder.Next(&frame) == Decoder::Result::kBad);
  CHECK(Word(decoder.error()) == expected);
}

void TestBadTag(Vector* v) {
  CHECK(v->Text("error") == Word(FrameError::kBadTag));
  const Frame frame = Decode(v->Hex("frame"));
  CHECK(!v->Channel().Verify(frame.bytes));
}

void TestBadOpen(Vector* v) {
  const Key device = v->KeyOf("dev");
  const Frame frame = Decode(v->Hex("frame"));
  const Keys keys = DeriveKeys(device, frame.header.sensor, frame.header.epoch);
  Bytes body;
  CHECK(Word(OpenFrame(keys, frame.header, frame.bytes, &body)) == v->Text("error"));
}

}  // namespace

int main() {
  CHECK(sodium_init() >= 0);
  const std::map<std::string, void (*)(Vector*)> kinds = {
      {"keys", TestKeys},
      {"hello", TestHello},
      {"welcome", TestWelcome},
      {"data", [](Vector* v) { TestSealed(v, FrameType::kData); }},
      {"gap", [](Vector* v) { TestSealed(v, FrameType::kGap); }},
      {"ack", TestAck},
      {"busy", TestBusy},
      {"refuse", TestRefuse},
      {"ping", [](Vector* v) { TestPing(v, true); }},
      {"pong", [](Vector* v) { TestPing(v, false); }},
      {"reading", TestReading},
      {"bad-frame", TestBadFrame},
      {"bad-tag", TestBadTag},
      {"bad-open", TestBadOpen},
  };
  const char* path = getenv("VIGIA_VECTORS");
  CHECK(path != nullptr);
  std::ifstream file(path);
  CHECK(file.is_open());
  std::map<std::string, int> counts;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    number++;
    if (line.empty() || line.front() == '#') continue;
    std::cerr << path << ":" << number << ": " << line.substr(0, line.find(' ')) << "\n";
    Vector v(line);
    const auto kind = kinds.find(v.kind());
    CHECK(kind != kinds.end());
    kind->second(&v);
    counts[v.kind()]++;
  }
  for (const auto& [name, test] : kinds) {
    printf("%s: %d\n", name.c_str(), counts[name]);
    CHECK(counts[name] > 0);
  }
}
