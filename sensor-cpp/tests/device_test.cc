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

constexpr uint64_t kRoomy = 4 << 20;
constexpr uint64_t kTight = 64 << 10;

// A device, its spool and an ingress, and the bytes between them.
class World {
 public:
  explicit World(uint64_t max_bytes = kRoomy) : max_bytes_(max_bytes), ingress(identity) { Start(); }

  void Start() {
    truth_ = std::make_unique<Truth>();
    CHECK_OK(truth_->Open(scratch / "truth"));
    Spool::Report report;
    const Spool::Options options{scratch / "spool", identity.sensor,
                                 static_cast<uint16_t>(ReadingSize(identity.quantities)), max_bytes_};
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
      Reading reading{.time_us = now.wall_us, .values = {value, value / 2, -value}};
      reading.values.resize(identity.quantities.size());
      device->Take(std::move(reading));
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
  CHECK(world.ingress.next() == Position(1, 151));
  world.Cut();  // the acknowledgement never came
  CHECK(world.spool->custody() == 1);
  world.Take(10);
  world.Connect();
  world.Step();
  CHECK(world.device->in_session() && world.spool->custody() == 151);
  world.Drain();
  CHECK(world.AcceptedTimes() == AsSet(world.taken) && world.ingress.next().first == 1);
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
  CHECK(world.ingress.next() == Position(1, 156));
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
  CHECK(world.ingress.next() == Position(4, 11));
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
  CHECK(world.ingress.next() == Position(2, 18));
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
  world.ingress.TakeJournal();
  world.Take(10);
  world.Cut();
  world.Connect();
  world.Step();
  CHECK(world.device->in_session() && world.spool->custody() == 1);
  world.Drain();
  CHECK(world.ingress.next() == Position(1, 311) && world.ingress.stored.size() == 310);
}

// A refusal says that the ingress stands elsewhere; only its next WELCOME tells where, and why.
void TestRefusalEndsTheConnection() {
  for (uint16_t reason = 1; reason <= 4; reason++) {
    World world;
    world.ingress.refuse_reason = reason;
    world.Take(64 * 3);
    world.Connect();
    CHECK(world.Step() && !world.device->session_works());
    CHECK(!world.Step() && world.ingress.refusals == 3);
    CHECK(world.last_status.code() == Status::Code::kPeer);
    world.ingress.refuse_reason.reset();
    world.Drain();
    CHECK(world.ingress.data_frames == 3 + 3 && world.spool->stream() == 1);
    CHECK(world.AcceptedTimes() == AsSet(world.taken));
  }
}

Bytes AckBody() { return Bytes(16, 0); }

Bytes BusyBody(uint32_t retry_ms) {
  Bytes body;
  PutU32(&body, retry_ms);
  return body;
}

Bytes RefuseBody() {
  Bytes body;
  PutU16(&body, static_cast<uint16_t>(RefuseReason::kPosition));
  return body;
}

// Behind BUSY the frames under way are refused: no news, until something from there on is acknowledged.
void TestEchoOfBusy() {
  World world;
  world.ingress.busy = true;
  world.ingress.window = 4;
  world.Take(64 * 4);
  world.Connect();
  CHECK(world.Step() && world.Step());
  CHECK(world.ingress.refusals == 3 && world.device->in_session());
  world.ingress.busy = false;
  world.Pass(100'000);
  CHECK(world.Step() && world.ingress.next() == Position(1, 64 * 4 + 1));
  // An ACK that ends where it went back to is of what came before.
  world.ingress.Answer(FrameType::kAck, {1, 1}, AckBody());
  world.ingress.Answer(FrameType::kRefuse, {1, 1}, RefuseBody());
  CHECK(world.Step());
  // Any other position is no echo.
  World other;
  other.ingress.busy = true;
  other.Take(64);
  other.Connect();
  CHECK(other.Step() && other.Step());
  other.ingress.Answer(FrameType::kRefuse, {1, 2}, RefuseBody());
  CHECK(!other.Step());
  // And behind an acknowledgement that one is none either.
  world.ingress.Commit();
  world.ingress.Answer(FrameType::kRefuse, {1, 1}, RefuseBody());
  CHECK(!world.Step());
  world.Drain();
  CHECK(world.spool->stream() == 1 && world.AcceptedTimes() == AsSet(world.taken));
}

void TestBusyIsAlwaysMeant() {
  World world;
  world.ingress.busy = true;
  world.ingress.retry_ms = 5000;
  world.Take(64);
  world.Connect();
  CHECK(world.Step() && world.Step());
  for (int i = 0; i < 3; i++) {
    world.Pass(4'000'000);
    world.ingress.Answer(FrameType::kBusy, {1, 1}, BusyBody(5000));
    CHECK(world.Step());
  }
  world.Pass(4'999'999);
  CHECK(world.Step() && world.ingress.data_frames == 1);
  world.Pass(1);
  CHECK(world.Step() && world.ingress.data_frames == 2);
  // Not for what was never sent.
  world.ingress.Answer(FrameType::kBusy, {1, 66}, BusyBody(1));
  CHECK(!world.Step());
}

// However much an older connection has sent.
void TestAckBeyondWhatWasSent() {
  World world;
  world.Take(64 * 3);
  world.Connect();
  CHECK(world.Step());
  CHECK_OK(world.device->Advance(world.now));
  CHECK(world.spool->cuts().size() == 3);
  world.ingress.window = 1;
  world.Connect();
  CHECK(world.Step() && world.Step() && world.ingress.next() == Position(1, 65));
  world.ingress.Answer(FrameType::kAck, {1, 66}, AckBody());
  CHECK(!world.Step() && world.spool->custody() == 1);
  world.Drain();
}

void TestPingFromTheIngressEndsTheConnection() {
  World world;
  world.Connect();
  CHECK(world.Step());
  world.ingress.Answer(FrameType::kPing, {0, 0}, {});
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
  World world(kTight);
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
  CHECK(world.spool->bytes() <= kTight);
  world.Drain();
  CHECK(world.ingress.gap_frames == 0);
  CHECK(world.AcceptedTimes() == AsSet(world.taken));
}

void TestFullSpoolDeclaresWhatItDrops() {
  World world(kTight);
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
  World world(kTight);
  world.Take(64 * 8);
  world.Connect();
  world.Step();
  world.Step();
  CHECK(world.ingress.next() == Position(1, 64 * 8 + 1));
  world.Cut();
  world.Take(3000);
  CHECK(world.spool->dropped() > 64 * 8);
  world.Crash();
  world.Start();
  world.Connect();
  world.Step();
  CHECK(world.device->in_session() && world.spool->stream() == 1);
  world.Drain();
  CHECK(world.ingress.next() == Position(1, 64 * 8 + 3001));
}

// From HELLO until WELCOME it is not known which journal will answer. What HELLO speaks of stays, or is
// declared.
void TestEvictionWhileGreeting() {
  for (const bool lost : {false, true}) {
    World world(kTight);
    world.Take(600);
    world.Connect();
    for (int i = 0; i < 30; i++) {
      world.Step();
      world.ingress.Commit();
      world.Pass(5000);
    }
    CHECK(world.device->all_in_custody() && world.spool->first() == 1);
    world.Cut();
    if (lost) world.ingress.TakeJournal();
    world.Connect();
    CHECK(world.spool->custody() == 1);
    world.Take(1100);
    const uint64_t dropped = world.spool->dropped();
    CHECK(world.spool->first() == 1 && dropped > 100);
    CHECK(world.Step() && world.device->in_session());
    // Exactly what WELCOME says.
    CHECK(world.spool->custody() == (lost ? 1 : 601));
    world.Drain();
    CHECK(world.ingress.next() == Position(1, 1701));
    CHECK(world.ingress.gap_frames == (lost ? 1 : 0));
    CHECK(world.TruthLines("gap").size() == (lost ? 1 : 0));
  }
}

// Of a cut that contains the position in its middle only a part can be sent. The whole was accepted by
// another journal, and that one knows this memory by it.
void TestPositionInTheMiddleOfACut() {
  World world(kTight);
  world.Take(600);
  world.Connect();
  world.Step();
  world.Step(6 * (64 * 24 + kDataExtra));  // six of eight frames arrive
  CHECK(world.ingress.next() == Position(1, 385) && world.spool->cuts().size() == 8);
  world.Connect();
  CHECK(world.Step() && world.spool->custody() == 385);
  world.Cut();
  world.Take(1000);
  const uint64_t first = world.spool->first();
  CHECK(first > 321 && first < 385 && world.spool->dropped() == 0);

  Ingress::Journal older = world.ingress.TakeJournal();
  world.ingress.window = 1;
  world.Connect();
  CHECK(world.Step() && world.device->in_session() && world.spool->custody() == first);
  world.Pass(5000);
  CHECK(world.Step());
  // Up to where the next old cut begins, which is then sent as it was.
  CHECK(world.ingress.next() == Position(1, 385));
  const size_t cuts = world.spool->cuts().size();
  world.ingress.Commit();
  world.Step();
  world.Pass(5000);
  CHECK(world.Step() && world.ingress.next() == Position(1, 449) && world.spool->cuts().size() == cuts);

  world.Crash();
  world.Start();
  Ingress::Journal newer = world.ingress.TakeJournal();
  world.ingress.PutJournal(older);
  world.Connect();
  CHECK(world.Step() && world.device->in_session() && world.spool->custody() == 385);
  world.Crash();
  world.Start();
  world.ingress.PutJournal(newer);
  world.Connect();
  CHECK(world.Step() && world.device->in_session() && world.spool->custody() == 449);
  world.ingress.window = 8;
  world.Drain();
  CHECK(world.spool->stream() == 1 && world.AcceptedTimes() == AsSet(world.taken));
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

// A frame of the old epoch was accepted by a journal that was away while all was cut anew.
void TestOldEpochIsStillRecognised() {
  World world;
  world.Take(100);
  world.Connect();
  CHECK(world.Step() && world.Step() && world.ingress.next() == Position(1, 101));
  world.Crash();
  world.identity = MakeIdentity(2);
  Ingress::Journal older = world.ingress.TakeJournal();
  world.Start();
  world.Connect();
  CHECK(world.Step() && world.Step() && world.ingress.next() == Position(1, 101));
  CHECK(world.spool->cuts().size() == 4);
  world.Crash();
  world.Start();
  world.ingress.PutJournal(older);
  world.Connect();
  CHECK(world.Step() && world.device->in_session() && world.spool->custody() == 101);
  world.Drain();
  CHECK(world.spool->stream() == 1 && world.AcceptedTimes() == AsSet(world.taken));
}

// The key file's profile was changed while readings were held, and changed back.
void TestReadingsOfAnOlderProfile() {
  World world;
  const auto change = [&](std::vector<Quantity> quantities) {
    world.Crash();
    world.identity.quantities = std::move(quantities);
    world.Start();
  };
  const std::vector<Quantity> climate = world.identity.quantities;
  world.Take(70);
  world.Connect();
  world.Step();
  CHECK_OK(world.device->Advance(world.now));  // cuts are made, frames do not arrive
  CHECK(world.spool->cuts().size() == 2);
  world.Take(10);
  change({{"pressure", ValueType::kF64}});
  world.Take(20);
  change(climate);
  world.Take(5);
  world.Drain();
  CHECK(world.ingress.data_frames == 64 / 64 + 1 + 1 + 1 + 1);  // 64, 6, 10 | 20 | 5
  CHECK(world.AcceptedTimes() == AsSet(world.taken));
  for (const auto& [position, content] : world.ingress.accepted) {
    const bool other = position.second > 80 && position.second <= 100;
    CHECK(content.reading.size() == (other ? 20 : 24));
  }
  CHECK(world.TruthLines("sent").size() == 85);
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
  World world(small ? kTight : kRoomy);
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
        !world.ingress.accepted.empty() && world.ingress.next() > world.ingress.accepted.rbegin()->first;
    if (chance(300) && !rolled_back) world.Cut(), world.ingress.TakeJournal();
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
    if (!small && world.spool->stream() == world.ingress.next().first) {
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

// Whatever happens to connections, processes, keys and journals: with its memory in one piece a sensor stays
// in one stream, and everything arrives there.
void TestOneMemoryStaysInOneStream(uint32_t seed) {
  std::mt19937 random(seed);
  const auto chance = [&](int n) { return std::uniform_int_distribution(1, n)(random) == 1; };
  const bool small = seed % 2 == 0;
  World world(small ? kTight : kRoomy);
  world.ingress.window = static_cast<uint16_t>(1 + seed % 9);
  std::vector<Ingress::Journal> journals;
  for (int i = 0; i < 1000; i++) {
    if (chance(2)) world.Take(chance(20) ? 200 : 3);
    if (!world.connected && chance(3)) world.Connect();
    world.Step(chance(2) ? SIZE_MAX : 1 + random() % 2000);
    if (chance(3)) world.ingress.Commit();
    if (chance(30)) world.ingress.StoreAll();
    if (chance(40)) world.Cut();
    if (chance(60)) world.ingress.busy = !world.ingress.busy;
    if (chance(100)) world.Crash(), world.Start();
    if (chance(200)) {
      world.Crash();
      world.identity = MakeIdentity(static_cast<uint16_t>(world.identity.epoch + 1));
      world.Start();
    }
    if (chance(60)) journals.push_back(world.ingress.journal());
    if (chance(60)) {
      world.Cut();
      Ingress::Journal other;
      if (!journals.empty() && !chance(4)) other = journals[random() % journals.size()];
      world.ingress.PutJournal(other);
    }
    world.Pass(static_cast<int64_t>(random() % 20'000));
    CHECK(world.spool->stream() == 1);
  }
  world.ingress.busy = false;
  world.Drain();
  CHECK(world.spool->stream() == 1 && world.ingress.next() == Position(1, world.taken.size() + 1));
  if (!small) CHECK(world.AcceptedTimes() == AsSet(world.taken));
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
  TestRefusalEndsTheConnection();
  TestEchoOfBusy();
  TestBusyIsAlwaysMeant();
  TestAckBeyondWhatWasSent();
  TestPingFromTheIngressEndsTheConnection();
  TestBusyWaits();
  TestSilence();
  TestNoWelcome();
  TestFullSpoolEvictsCustodyFirst();
  TestFullSpoolDeclaresWhatItDrops();
  TestEvictedFramesAreStillRecognised();
  TestEvictionWhileGreeting();
  TestPositionInTheMiddleOfACut();
  TestOldEpochIsCutAnew();
  TestOldEpochIsStillRecognised();
  TestReadingsOfAnOlderProfile();
  TestTimesIncrease();
  TestBadTagEndsTheConnection();
  for (uint32_t seed = 1; seed <= SeedsWanted(20); seed++) {
    fprintf(stderr, "seed %u\n", seed);
    TestRandomised(seed);
    TestOneMemoryStaysInOneStream(seed);
  }
}
