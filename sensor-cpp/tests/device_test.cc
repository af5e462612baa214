// The device against a scripted ingress, in memory and in virtual time.

#include "device.h"

#include <sodium.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "check.h"
#include "ingress.h"
#include "scratch.h"

using namespace vigia;

namespace {

Identity MakeIdentity(uint16_t epoch = 1) {
  Identity identity{.sensor = 7,
                    .epoch = epoch,
                    .profile = "climate",
                    .quantities = {{"temperature"}, {"pressure"}, {"humidity"}},
                    .keys = {}};
  std::array<uint8_t, kKeySize> secret;
  secret.fill(static_cast<uint8_t>(epoch));
  identity.keys = DeriveKeys(Key(secret), identity.sensor, epoch);
  return identity;
}

// A device, its spool and an ingress, and the bytes between them.
class World {
 public:
  explicit World(uint64_t max_bytes = 64 << 20) : max_bytes_(max_bytes), ingress(identity) { Start(); }

  void Start() {
    truth_ = std::make_unique<Truth>();
    CHECK_OK(truth_->Open(scratch / "truth"));
    Spool::Report report;
    const Spool::Options options{scratch / "spool", identity.sensor, 24, max_bytes_};
    CHECK_OK(Spool::Open(options, &spool, &report));
    CHECK(report.damaged_bytes == 0 && report.lost_readings == 0);
    device = std::make_unique<Device>(identity, spool.get(), truth_.get());
  }

  // kill -9.
  void Crash() {
    device.reset();
    spool.reset();
    connected = false;
    to_ingress_.clear();
    to_device_.clear();
  }

  void Take(int n = 1) {
    for (int i = 0; i < n; i++) {
      now.wall_us += 1000;
      const double value = static_cast<double>(taken.size());
      device->Take(Reading{.time_us = now.wall_us, .values = {value, value / 2, -value}});
      CHECK_OK(device->disk());
      taken.push_back(now.wall_us);
    }
  }

  void Connect() {
    device->OnDisconnected();
    to_ingress_.clear();
    to_device_.clear();
    ingress.Accept();
    ingress.TakeOutput();
    device->OnConnected(now);
    connected = true;
  }

  // Both directions under way are lost.
  void Cut() {
    device->OnDisconnected();
    connected = false;
  }

  // Moves bytes once each way, at most so many. False: the device closed.
  bool Step(size_t most = SIZE_MAX) {
    if (!connected) return true;
    CHECK(device->disk().ok());
    last_status = device->Advance(now);
    if (!last_status.ok()) return Cut(), false;
    PutBytes(&to_ingress_, device->output());
    device->Consume(device->output().size());
    if (!ingress.Receive(Split(&to_ingress_, most))) return Cut(), false;
    PutBytes(&to_device_, ingress.TakeOutput());
    last_status = device->OnBytes(Split(&to_device_, most), now);
    CHECK(device->disk().ok());
    if (!last_status.ok()) return Cut(), false;
    return true;
  }

  void Pass(int64_t us) {
    now.mono_us += us;
    now.wall_us += us;
  }

  // Connects as often as it takes, until all is in custody; stores it.
  void Drain() {
    for (int i = 0; i < 100000; i++) {
      if (!connected) Connect();
      Step();
      ingress.Commit();
      Pass(5000);
      // Once more after the last ACK, to hear of what is stored.
      if (connected && device->in_session() && device->all_in_custody()) {
        ingress.StoreAll();
        ingress.Commit();
        for (int j = 0; j < 3; j++) Step();
        if (connected && spool->first() == spool->next()) return;
      }
    }
    CHECK(false);
  }

  // The times of everything the ingress accepted as readings.
  std::set<int64_t> AcceptedTimes() const {
    std::set<int64_t> times;
    for (const auto& [position, content] : ingress.accepted) {
      if (content.gap_reason == 0) times.insert(GetI64(content.reading.data()));
    }
    return times;
  }

  std::vector<std::string> TruthLines(const std::string& kind) const {
    std::ifstream file(scratch / "truth");
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) {
      if (line.substr(0, line.find(' ')) == kind) lines.push_back(line);
    }
    return lines;
  }

 private:
  static Bytes Split(Bytes* bytes, size_t most) {
    const auto n = static_cast<ptrdiff_t>(std::min(most, bytes->size()));
    Bytes front(bytes->begin(), bytes->begin() + n);
    bytes->erase(bytes->begin(), bytes->begin() + n);
    return front;
  }

  Scratch scratch_;
  const uint64_t max_bytes_;
  std::unique_ptr<Truth> truth_;
  Bytes to_ingress_;
  Bytes to_device_;

 public:
  const Scratch& scratch = scratch_;
  Identity identity = MakeIdentity();
  Ingress ingress;
  std::unique_ptr<Spool> spool;
  std::unique_ptr<Device> device;
  Instant now{1'000'000, 1'767'225'600'000'000};
  std::vector<int64_t> taken;
  bool connected = false;
  Status last_status;
};

std::set<int64_t> AsSet(const std::vector<int64_t>& times) { return {times.begin(), times.end()}; }

void TestLiveReadingsGoOneByOne() {
  World world;
  world.Connect();
  world.Step();
  CHECK(world.device->in_session());
  for (int i = 1; i <= 20; i++) {
    world.Take();
    world.Pass(10'000);
    world.Step();
    CHECK(world.ingress.data_frames == i);
    world.ingress.Commit();
    world.Step();
    CHECK(world.device->all_in_custody());
  }
  for (const auto& [position, content] : world.ingress.accepted) {
    const uint16_t flags = GetU16(content.reading.data() + 8);
    CHECK(flags == (position.second == 1 ? kFlagFirst : 0));
  }
  CHECK(world.TruthLines("sent").size() == 20);
  CHECK(world.TruthLines("sent")[1] == "sent 1 2 " + std::to_string(world.taken[1]) + " 1 0.5 -1");
  CHECK(world.TruthLines("ack").back() == "ack 1 21");
}

void TestBacklogSharesFrames() {
  World world;
  world.Take(200);
  world.Drain();
  CHECK(world.ingress.data_frames == 4);  // 64 + 64 + 64 + 8
  CHECK(world.AcceptedTimes() == AsSet(world.taken));
  CHECK((GetU16(world.ingress.accepted.begin()->second.reading.data() + 8) & kFlagBacklog) != 0);
}

void TestWindowHolds() {
  World world;
  world.ingress.window = 2;
  world.Take(64 * 5);
  world.Connect();
  for (int i = 0; i < 10; i++) {
    world.Step();
    world.Pass(5000);
  }
  CHECK(world.ingress.data_frames == 2);
  world.Drain();
  CHECK(world.ingress.data_frames == 5 && world.ingress.refusals == 0);
}

// What is sent again is the same bytes: the ingress would refuse to open, or find other contents.
void TestResumesAfterACutConnection() {
  World world;
  world.Take(150);
  world.Connect();
  world.Step();
  world.Step();
  CHECK(world.ingress.next == Position(1, 151));
  world.Cut();  // the acknowledgement never came
  CHECK(world.spool->custody() == 1);
  world.Take(10);
  world.Connect();
  world.Step();
  CHECK(world.device->in_session() && world.spool->custody() == 151);
  world.Drain();
  CHECK(world.AcceptedTimes() == AsSet(world.taken) && world.ingress.next.first == 1);
}

void TestResumesAfterACrash() {
  World world;
  world.Take(150);
  world.Connect();
  world.Step();
  world.Step();
  world.Crash();
  world.Start();
  world.Take(5);
  world.Connect();
  world.Step();
  CHECK(world.device->in_session() && world.spool->custody() == 151);
  world.Drain();
  CHECK(world.ingress.next == Position(1, 156));
}

void TestForeignHistoryOpensANewStream() {
  World world;
  world.Take(10);
  world.ingress.Foreign(3, 1000);
  world.Connect();
  CHECK(!world.Step());
  CHECK(world.spool->stream() == 4 && world.spool->first() == 1 && world.spool->next() == 11);
  world.Crash();  // it is remembered
  world.Start();
  CHECK(world.spool->stream() == 4 && world.spool->next() == 11);
  world.Drain();
  CHECK(world.ingress.next == Position(4, 11));
  CHECK(world.AcceptedTimes() == AsSet(world.taken));
}

// The spool was copied back from a backup: the ingress knows more than we do.
void TestRolledBackSpoolOpensANewStream() {
  World world;
  world.Take(100);
  world.Drain();
  world.Take(10);
  CHECK_OK(world.spool->Close());
  world.Crash();
  const std::string copy = world.scratch / "copy";
  std::filesystem::copy(world.scratch / "spool", copy, std::filesystem::copy_options::recursive);
  world.Start();
  world.Drain();
  world.Take(30);
  world.Drain();
  world.Crash();
  std::filesystem::remove_all(world.scratch / "spool");
  std::filesystem::rename(copy, world.scratch / "spool");
  world.Start();
  world.Take(7);
  world.Drain();  // the ingress checks that no position has two contents
  CHECK(world.ingress.next == Position(2, 18));
  CHECK(world.AcceptedTimes() == AsSet(world.taken));
}

void TestLostJournalIsFilledAgain() {
  World world;
  world.Take(300);
  world.Connect();
  for (int i = 0; i < 20; i++) {
    world.Step();
    world.ingress.Commit();
    world.Pass(5000);
  }
  CHECK(world.device->all_in_custody() && world.spool->first() == 1);
  world.ingress.LoseJournal();
  world.Take(10);
  world.Cut();
  world.Connect();
  world.Step();
  CHECK(world.device->in_session() && world.spool->custody() == 1);
  world.Drain();
  CHECK(world.ingress.next == Position(1, 311) && world.ingress.stored.size() == 310);
}

void TestRefusalIsFollowedOnce() {
  World world;
  world.Connect();
  world.Step();
  world.Take(64 * 3);
  world.ingress.refuse_reason = static_cast<uint16_t>(RefuseReason::kPosition);
  world.Step();
  CHECK(world.ingress.data_frames == 3 && world.ingress.refusals == 3);
  world.ingress.refuse_reason.reset();
  // Three refusals, one going back: each frame comes exactly once more.
  for (int i = 0; i < 5; i++) world.Step(), world.Pass(6000);
  CHECK(world.ingress.data_frames == 3 + 3 && world.ingress.refusals == 3);
  world.Drain();
  CHECK(world.AcceptedTimes() == AsSet(world.taken));
}

void TestRefusalForOtherReasonsEndsTheConnection() {
  World world;
  world.ingress.refuse_reason = static_cast<uint16_t>(RefuseReason::kLength);
  world.Take(1);
  world.Connect();
  world.Step();
  CHECK(!world.Step());
}

void TestBusyWaits() {
  World world;
  world.ingress.busy = true;
  world.ingress.retry_ms = 2000;
  world.Take(64 * 4);
  world.Connect();
  world.Step();
  world.Step();
  CHECK(world.ingress.data_frames == 4);
  for (int i = 0; i < 10; i++) world.Pass(100'000), world.Step();
  CHECK(world.ingress.data_frames == 4);  // one BUSY and three echoes, then silence
  world.Pass(1'100'000);
  world.Step();
  world.Step();
  CHECK(world.ingress.data_frames == 8);  // still busy: asked again, heard again
  world.ingress.busy = false;
  world.Pass(2'100'000);
  world.Drain();
  CHECK(world.AcceptedTimes() == AsSet(world.taken));
}

void TestSilence() {
  World world;
  world.Connect();
  world.Step();
  CHECK(world.device->in_session());
  CHECK(world.device->NextDeadline(world.now) == world.now.mono_us + 10'000'000);
  world.Pass(10'000'000);
  world.Step();
  CHECK(world.ingress.pings == 1);
  world.Step();
  // Idle for long, but every ping is answered.
  for (int i = 0; i < 10; i++) {
    world.Pass(9'999'999);
    CHECK(world.Step() && world.Step());
  }
  // Now nothing is.
  world.Take();
  CHECK_OK(world.device->Advance(world.now));
  world.device->Consume(world.device->output().size());
  world.Pass(14'999'999);
  CHECK_OK(world.device->Advance(world.now));
  world.Pass(1);
  CHECK(!world.device->Advance(world.now).ok());
}

void TestNoWelcome() {
  World world;
  world.device->OnConnected(world.now);
  world.Pass(14'999'999);
  CHECK_OK(world.device->Advance(world.now));
  world.Pass(1);
  CHECK(!world.device->Advance(world.now).ok());
}

void TestFullSpoolEvictsCustodyFirst() {
  World world(64 << 10);
  world.Take(600);
  world.Connect();
  for (int i = 0; i < 30; i++) {
    world.Step();
    world.ingress.Commit();
    world.Pass(5000);
  }
  CHECK(world.device->all_in_custody() && world.spool->first() == 1);
  world.Cut();
  // As many again fit, because the old ones are safe elsewhere.
  world.Take(1100);
  CHECK(world.spool->first() > 1 && world.spool->first() <= 601);
  CHECK(world.spool->dropped() == 0);
  CHECK(world.spool->bytes() <= 64 << 10);
  world.Drain();
  CHECK(world.ingress.gap_frames == 0);
  CHECK(world.AcceptedTimes() == AsSet(world.taken));
}

void TestFullSpoolDeclaresWhatItDrops() {
  World world(64 << 10);
  world.Take(10'000);
  const uint64_t dropped = world.spool->dropped();
  CHECK(dropped > 5000 && world.spool->first() == 1 && world.spool->next() == 10'001);
  world.Drain();
  CHECK(world.ingress.gap_frames == 1);
  CHECK(world.ingress.accepted.size() == 10'000);
  CHECK(world.AcceptedTimes().size() == 10'000 - dropped);
  for (const auto& [position, content] : world.ingress.accepted) {
    CHECK((content.gap_reason == 1) == (position.second <= dropped));
  }
  CHECK(world.TruthLines("gap") == std::vector<std::string>{"gap 1 1 " + std::to_string(dropped) + " 1"});
}

// The frames were accepted, the acknowledgement was lost, and then the readings fell out of the spool.
void TestEvictedFramesAreStillRecognised() {
  World world(64 << 10);
  world.Take(64 * 8);
  world.Connect();
  world.Step();
  world.Step();
  CHECK(world.ingress.next == Position(1, 64 * 8 + 1));
  world.Cut();
  world.Take(3000);
  CHECK(world.spool->dropped() > 64 * 8);
  world.Crash();
  world.Start();
  world.Connect();
  world.Step();
  CHECK(world.device->in_session() && world.spool->stream() == 1);
  world.Drain();
  CHECK(world.ingress.next == Position(1, 64 * 8 + 3001));
}

void TestOldEpochIsCutAnew() {
  World world;
  world.Take(100);
  world.Connect();
  world.Step();  // cuts are made, frames do not arrive
  world.Crash();
  world.identity = MakeIdentity(2);
  world.Start();
  world.ingress.Accept();
  world.Drain();
  CHECK(world.AcceptedTimes() == AsSet(world.taken));
}

void TestTimesIncrease() {
  World world;
  for (const int64_t time : {100, 100, 50, 101, 200}) {
    world.device->Take(Reading{.time_us = time, .values = {1, 2, 3}});
  }
  world.Drain();
  CHECK(world.AcceptedTimes() == (std::set<int64_t>{100, 101, 102, 103, 200}));
}

void TestBadTagEndsTheConnection() {
  World world;
  world.device->OnConnected(world.now);
  world.ingress.Accept();
  world.ingress.Receive(world.device->output());
  Bytes welcome = world.ingress.TakeOutput();
  for (const size_t at : {size_t{30}, welcome.size() - 1}) {
    welcome[at] ^= 1;
    World other;
    other.device->OnConnected(other.now);
    CHECK(!other.device->OnBytes(welcome, other.now).ok());
    CHECK(!other.device->in_session());
  }
}

// Everything at random: takes, cuts, crashes, busy spells, lost journals, rolled back spools, small pieces.
void TestRandomised(uint32_t seed) {
  std::mt19937 random(seed);
  const auto chance = [&](int n) { return std::uniform_int_distribution(1, n)(random) == 1; };
  const bool small = seed % 2 == 0;
  World world(small ? 64 << 10 : 64 << 20);
  world.ingress.window = static_cast<uint16_t>(1 + seed % 9);
  std::set<int64_t> lost;  // held only by a spool that was taken away
  bool has_copy = false;
  bool rolled_back = false;
  std::set<int64_t> at_copy;
  for (int i = 0; i < 1500; i++) {
    if (chance(2)) world.Take(chance(20) ? 200 : 3);
    if (!world.connected && chance(3)) world.Connect();
    world.Step(chance(2) ? SIZE_MAX : 1 + random() % 300);
    if (chance(3)) world.ingress.Commit();
    if (chance(10)) world.ingress.StoreAll();
    if (chance(40)) world.Cut();
    if (chance(60)) world.ingress.busy = !world.ingress.busy;
    if (chance(100)) world.Crash(), world.Start();
    if (world.device->in_session()) rolled_back = false;
    // A spool rolled back and a journal lost at once leave nobody who knows which numbers are taken.
    const bool journal_knows =
        !world.ingress.accepted.empty() && world.ingress.next > world.ingress.accepted.rbegin()->first;
    if (chance(300) && !rolled_back) world.Cut(), world.ingress.LoseJournal();
    if (!has_copy && chance(300)) {
      world.Crash();
      std::filesystem::copy(world.scratch / "spool", world.scratch / "copy");
      at_copy = AsSet(world.taken);
      has_copy = true;
      world.Start();
    } else if (has_copy && journal_knows && chance(300)) {
      rolled_back = true;
      world.Crash();
      std::filesystem::remove_all(world.scratch / "spool");
      std::filesystem::rename(world.scratch / "copy", world.scratch / "spool");
      has_copy = false;
      const auto accepted = world.AcceptedTimes();
      for (const int64_t time : world.taken) {
        if (!at_copy.contains(time) && !accepted.contains(time)) lost.insert(time);
      }
      world.Start();
    }
    world.Pass(static_cast<int64_t>(random() % 20'000));
    // No acknowledged reading is forgotten before it is stored, unless there was no room.
    if (!small && world.spool->stream() == world.ingress.next.first) {
      const uint64_t stored =
          world.ingress.stored.empty() ? 1 : world.ingress.stored.rbegin()->first.second + 1;
      if (world.ingress.stored.empty() || world.ingress.stored.rbegin()->first.first == world.spool->stream()) {
        CHECK(world.spool->first() <= stored);
      }
    }
  }
  world.ingress.busy = false;
  world.Drain();

  // Every reading arrived, or lies in a declared gap; nothing arrived that was not taken.
  const auto accepted = world.AcceptedTimes();
  const auto taken = AsSet(world.taken);
  for (const int64_t time : accepted) CHECK(taken.contains(time));
  size_t missing = 0;
  for (const int64_t time : taken) missing += !accepted.contains(time) && !lost.contains(time);
  size_t gaps = 0;
  for (const auto& [position, content] : world.ingress.accepted) gaps += content.gap_reason != 0;
  CHECK(missing <= gaps);
  if (!small) CHECK(missing == 0 && gaps == 0);
  // What was claimed is what arrived, for every position the ingress ever acknowledged.
  std::set<std::string> claimed;
  for (const std::string& line : world.TruthLines("sent")) claimed.insert(line);
  for (const auto& [position, content] : world.ingress.accepted) {
    if (content.gap_reason != 0) continue;
    const std::string start = "sent " + std::to_string(position.first) + " " + std::to_string(position.second) +
                              " " + std::to_string(GetI64(content.reading.data())) + " ";
    const auto it = claimed.lower_bound(start);
    CHECK(it != claimed.end() && it->starts_with(start));
  }
}

}  // namespace

int main() {
  CHECK(sodium_init() >= 0);
  TestLiveReadingsGoOneByOne();
  TestBacklogSharesFrames();
  TestWindowHolds();
  TestResumesAfterACutConnection();
  TestResumesAfterACrash();
  TestForeignHistoryOpensANewStream();
  TestRolledBackSpoolOpensANewStream();
  TestLostJournalIsFilledAgain();
  TestRefusalIsFollowedOnce();
  TestRefusalForOtherReasonsEndsTheConnection();
  TestBusyWaits();
  TestSilence();
  TestNoWelcome();
  TestFullSpoolEvictsCustodyFirst();
  TestFullSpoolDeclaresWhatItDrops();
  TestEvictedFramesAreStillRecognised();
  TestOldEpochIsCutAnew();
  TestTimesIncrease();
  TestBadTagEndsTheConnection();
  for (uint32_t seed = 1; seed <= 40; seed++) {
    fprintf(stderr, "seed %u\n", seed);
    TestRandomised(seed);
  }
}
