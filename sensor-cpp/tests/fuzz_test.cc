// Mutated bytes into the decoder and into a device: nothing may crash, hang or be believed.

#include <sodium.h>

#include <chrono>
#include <random>

#include "check.h"
#include "device.h"
#include "ingress.h"
#include "scratch.h"

using namespace vigia;

namespace {

using Random = std::mt19937;

size_t Below(Random* random, size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(*random); }

Bytes Mutate(Bytes bytes, Random* random) {
  for (size_t n = Below(random, 4); n > 0 && !bytes.empty(); n--) {
    const size_t at = Below(random, bytes.size());
    const auto place = bytes.begin() + static_cast<ptrdiff_t>(at);
    switch (Below(random, 5)) {
      case 0:
        bytes[at] = static_cast<uint8_t>((*random)());
        break;
      case 1:
        bytes[at] ^= static_cast<uint8_t>(1u << Below(random, 8));
        break;
      case 2:
        bytes.erase(place, place + static_cast<ptrdiff_t>(Below(random, bytes.size() - at) + 1));
        break;
      case 3:
        bytes.insert(place, Below(random, 200), static_cast<uint8_t>((*random)()));
        break;
      case 4: {
        const Bytes copy(place, bytes.end());
        PutBytes(&bytes, copy);
        break;
      }
    }
  }
  return bytes;
}

void FuzzDecoder(Random* random, const Bytes& seed) {
  Decoder decoder;
  Frame frame;
  const Bytes bytes = Mutate(seed, random);
  for (size_t at = 0; at < bytes.size();) {
    const size_t n = std::min(bytes.size() - at, 1 + Below(random, 100));
    decoder.Feed(ByteView(bytes).subspan(at, n));
    at += n;
    while (decoder.Next(&frame) == Decoder::Result::kFrame) {
      CHECK(frame.bytes.size() == frame.header.length && frame.bytes.size() <= kMaxFrame);
    }
  }
}

}  // namespace

int main() {
  CHECK(sodium_init() >= 0);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  Identity identity{.sensor = 7, .epoch = 1, .profile = "p", .quantities = {{"a"}, {"b"}}, .keys = {}};
  identity.keys = DeriveKeys(Key({1, 2, 3}), 7, 1);
  Scratch scratch;
  std::unique_ptr<Spool> spool;
  Spool::Report report;
  CHECK_OK(Spool::Open({scratch / "spool", 7, 20, 1 << 20}, &spool, &report));
  Truth truth;
  Device device(identity, spool.get(), &truth);
  Instant now{1, 1};
  Ingress ingress(identity);
  size_t believed = 0;
  size_t runs = 0;
  for (uint32_t seed = 1; std::chrono::steady_clock::now() < end; seed++, runs++) {
    Random random(seed);
    // A real conversation first, of which the ingress's answer is then mutated.
    device.OnDisconnected();
    ingress.Accept();
    ingress.TakeOutput();
    device.OnConnected(now);
    CHECK(ingress.Receive(device.output()));
    device.Consume(device.output().size());
    Bytes answers = ingress.TakeOutput();
    const bool established = Below(&random, 4) != 0;
    if (established) {
      CHECK_OK(device.OnBytes(answers, now));
      CHECK(device.in_session());
      device.Take(Reading{.time_us = static_cast<int64_t>(seed), .values = {1, 2}});
      now.mono_us += 10'000;
      CHECK_OK(device.Advance(now));
      CHECK(ingress.Receive(device.output()));
      device.Consume(device.output().size());
      ingress.Commit();
      answers = ingress.TakeOutput();
    }
    FuzzDecoder(&random, answers);
    const Bytes mutated = Mutate(answers, &random);
    const uint64_t custody = spool->custody();
    const Status status = device.OnBytes(mutated, now);
    CHECK(device.disk().ok());
    // Only a prefix that is whole and unchanged may have had an effect.
    const bool intact = mutated.size() >= answers.size() &&
                        std::equal(answers.begin(), answers.end(), mutated.begin());
    if (established && spool->custody() != custody) {
      CHECK(intact);
      believed++;
    }
    if (!established && device.in_session()) CHECK(intact);
    CHECK(spool->stream() == 1);
    (void)device.Advance(now);
    CHECK(device.NextDeadline(now) > 0);
    if (!status.ok()) device.OnDisconnected();
    // What is behind us must not fill the disk.
    CHECK_OK(spool->Forget(spool->custody()));
  }
  printf("%zu runs, %zu believed\n", runs, believed);
  CHECK(runs > 100 && believed > 0);
}
