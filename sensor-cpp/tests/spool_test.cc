// The spool against a small model, and against what happens to files.

#include "spool.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include "check.h"
#include "scratch.h"

using namespace vigia;

namespace {

constexpr uint16_t kSize = 24;

// A reading that can be told from all others.
Bytes ReadingOf(uint64_t n, size_t size = kSize) {
  Bytes reading;
  PutU64(&reading, n);
  reading.resize(size, static_cast<uint8_t>(n * 7));
  return reading;
}

uint64_t Identify(ByteView reading) {
  const uint64_t n = GetU64(reading.data());
  const Bytes expected = ReadingOf(n, reading.size());
  CHECK(std::equal(expected.begin(), expected.end(), reading.begin(), reading.end()));
  return n;
}

Spool::Options OptionsFor(const std::string& dir, uint64_t max_bytes = 128 << 10) {
  return Spool::Options{dir, 7, kSize, max_bytes};
}

std::unique_ptr<Spool> OpenSpool(const Spool::Options& options, Spool::Report* report = nullptr) {
  std::unique_ptr<Spool> spool;
  Spool::Report ignored;
  CHECK_OK(Spool::Open(options, &spool, report != nullptr ? report : &ignored));
  return spool;
}

Cut CutOf(uint64_t seq, uint16_t count, uint16_t reason = 0) {
  Cut cut{.seq = seq, .count = count, .epoch = 1, .reason = reason};
  cut.nonce.fill(static_cast<uint8_t>(seq + 1));
  return cut;
}

// What a spool holds, item by item: the reading's number, or minus a gap's reason.
std::vector<int64_t> Held(Spool* spool) {
  std::vector<int64_t> held;
  for (uint64_t seq = spool->first(); seq < spool->next();) {
    const Spool::Run run = spool->RunAt(seq);
    CHECK(run.end > seq && run.end <= spool->next());
    if (run.reason != 0) {
      held.insert(held.end(), run.end - seq, -static_cast<int64_t>(run.reason));
      seq = run.end;
      continue;
    }
    Bytes bytes;
    uint16_t count = 0;
    CHECK_OK(spool->ReadReadings(seq, std::min<uint64_t>(run.end - seq, 64), &bytes, &count));
    const size_t size = run.reading_size;
    for (size_t i = 0; i < count; i++) {
      held.push_back(static_cast<int64_t>(Identify(ByteView(bytes).subspan(i * size, size))));
    }
    seq += count;
  }
  return held;
}

std::vector<std::filesystem::path> SegmentFiles(const std::string& dir) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    if (entry.path().extension() == ".spool") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

Bytes ReadAll(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

void WriteAll(const std::filesystem::path& path, const Bytes& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  CHECK(file.good());
}

// ---- random operations against a model

struct Model {
  uint32_t stream = 1;
  uint64_t first = 1;
  uint64_t custody = 1;
  std::vector<int64_t> items;  // from first on
  std::deque<Cut> cuts;

  uint64_t next() const { return first + items.size(); }
  void Add(const Cut& cut) {
    cuts.insert(std::find_if(cuts.begin(), cuts.end(), [&](const Cut& old) { return old.seq > cut.seq; }), cut);
  }
};

bool Contains(const std::deque<Cut>& cuts, const Cut& cut) {
  return std::find(cuts.begin(), cuts.end(), cut) != cuts.end();
}

void CheckAgainst(const Model& model, Spool* spool, bool reopened) {
  CHECK(spool->stream() == model.stream);
  CHECK(spool->next() == model.next());
  // A start may have forgotten that some was stored, never more than is.
  CHECK(reopened ? spool->first() <= model.first : spool->first() == model.first);
  std::vector<int64_t> held = Held(spool);
  held.erase(held.begin(), held.begin() + static_cast<ptrdiff_t>(model.first - spool->first()));
  CHECK(held == model.items);
  if (!reopened) CHECK(spool->cuts() == model.cuts);
  for (const Cut& cut : model.cuts) {
    CHECK(Contains(spool->cuts(), cut) && spool->KnowsCut(cut.end(), cut.nonce));
    CHECK(spool->Holds(cut) == (cut.seq >= spool->first()));
    const Cut* again = spool->CutToRepeat(cut.seq, cut.epoch);
    CHECK((again != nullptr) == spool->Holds(cut));
    CHECK(spool->CutToRepeat(cut.seq, 2) == nullptr && spool->NextCutBehind(cut.seq - 1, 0) == cut.seq);
  }
}

void TestRandomOperations(uint32_t seed) {
  std::mt19937 random(seed);
  const auto below = [&](uint64_t n) { return std::uniform_int_distribution<uint64_t>(0, n - 1)(random); };
  Scratch scratch;
  const auto options = OptionsFor(scratch / "spool", 256 << 10);
  auto spool = OpenSpool(options);
  Model model;
  uint64_t n = 1;
  for (int i = 0; i < 400; i++) {
    switch (below(8)) {
      case 0:
      case 1:
      case 2:
        for (uint64_t k = below(60); k > 0; k--) {
          CHECK_OK(spool->AddReading(ReadingOf(n)));
          model.items.push_back(static_cast<int64_t>(n++));
        }
        // Far enough from full that nothing is ever evicted here.
        if (model.items.size() < 3000) break;
        [[fallthrough]];
      case 3: {  // stored
        const uint64_t seq = model.custody;
        CHECK_OK(spool->Forget(seq));
        model.items.erase(model.items.begin(), model.items.begin() + static_cast<ptrdiff_t>(seq - model.first));
        model.first = seq;
        while (!model.cuts.empty() && model.cuts.front().end() < seq) model.cuts.pop_front();
        break;
      }
      case 4:
      case 5: {  // cut from a random place on
        if (model.items.empty()) break;
        uint64_t seq = model.custody + below(model.next() - model.custody + 1);
        std::vector<Cut> cuts;
        while (seq < model.next() && cuts.size() < 4) {
          Cut cut = CutOf(seq, static_cast<uint16_t>(1 + below(std::min<uint64_t>(64, model.next() - seq))));
          for (uint8_t& byte : cut.nonce) byte = static_cast<uint8_t>(random());
          cuts.push_back(cut);
          seq = cut.end();
        }
        if (cuts.empty()) break;
        CHECK_OK(spool->AddCuts(cuts));
        CHECK_OK(spool->Sync());
        for (const Cut& cut : cuts) model.Add(cut);
        break;
      }
      case 6:
        for (const Cut& cut : model.cuts) model.custody = std::max(model.custody, cut.end());
        spool->SetCustody(model.custody);
        break;
      case 7: {
        if (below(4) == 0) {  // a new stream
          model.stream += 1 + static_cast<uint32_t>(below(3));
          CHECK_OK(spool->OpenStream(model.stream));
          model.first = model.custody = 1;
          model.cuts.clear();
        }
        spool.reset();  // killed
        spool = OpenSpool(options);
        CheckAgainst(model, spool.get(), true);
        CHECK(spool->custody() == spool->first());  // nobody has spoken yet
        spool->SetCustody(model.custody);
        CHECK_OK(spool->Forget(model.first));
        model.cuts = spool->cuts();
        break;
      }
    }
    CheckAgainst(model, spool.get(), false);
    CHECK(spool->bytes() <= options.max_bytes && spool->dropped() == 0);
  }
  // In the end everything is stored and hardly anything is left on disk.
  spool->SetCustody(spool->next());
  CHECK_OK(spool->Forget(spool->next()));
  CHECK(SegmentFiles(scratch / "spool").size() == 1);
}

// ---- damage

void FillForDamage(Spool* spool) {
  for (uint64_t n = 1; n <= 40; n++) CHECK_OK(spool->AddReading(ReadingOf(n)));
  CHECK_OK(spool->AddCuts({CutOf(1, 10), CutOf(11, 10)}));
  for (uint64_t n = 41; n <= 44; n++) CHECK_OK(spool->AddReading(ReadingOf(n)));
  CHECK_OK(spool->AddCuts({CutOf(21, 24)}));
}

// Cut off anywhere, what was written before is still there, in order.
void TestTruncationAtEveryByte() {
  Scratch scratch;
  const std::string original = scratch / "original";
  FillForDamage(OpenSpool(OptionsFor(original)).get());
  const auto file = SegmentFiles(original).back();
  const Bytes bytes = ReadAll(file);
  uint64_t longest = 0;
  for (size_t size = 0; size <= bytes.size(); size++) {
    const std::string dir = scratch / "torn";
    std::filesystem::remove_all(dir);
    std::filesystem::create_directory(dir);
    WriteAll(std::filesystem::path(dir) / file.filename(), Bytes(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size)));
    Spool::Report report;
    auto spool = OpenSpool(OptionsFor(dir), &report);
    CHECK(report.damaged_bytes == 0 && report.lost_readings == 0);
    const auto held = Held(spool.get());
    for (size_t i = 0; i < held.size(); i++) CHECK(held[i] == static_cast<int64_t>(i + 1));
    CHECK(held.size() >= longest);
    longest = held.size();
    if (held.size() >= 41) CHECK(spool->CutToRepeat(11, 1) != nullptr);
    // And it goes on from there.
    CHECK_OK(spool->AddReading(ReadingOf(1000)));
    spool.reset();
    spool = OpenSpool(OptionsFor(dir), &report);
    CHECK(Held(spool.get()).size() == held.size() + 1 && Held(spool.get()).back() == 1000);
  }
  CHECK(longest == 44);
}

// A wrong byte anywhere costs at most one record: a reading becomes a gap of reason 2.
void TestDamageAtEveryByte() {
  Scratch scratch;
  const std::string original = scratch / "original";
  FillForDamage(OpenSpool(OptionsFor(original)).get());
  OpenSpool(OptionsFor(original));  // a later segment, so that no damage is a torn tail
  const auto file = SegmentFiles(original).front();
  const Bytes bytes = ReadAll(file);
  for (size_t at = 0; at < bytes.size(); at++) {
    const std::string dir = scratch / "damaged";
    std::filesystem::remove_all(dir);
    std::filesystem::copy(original, dir);
    Bytes damaged = bytes;
    damaged[at] ^= static_cast<uint8_t>(1 + at % 255);
    WriteAll(std::filesystem::path(dir) / file.filename(), damaged);
    Spool::Report report;
    auto spool = OpenSpool(OptionsFor(dir), &report);
    CHECK(report.lost_readings <= 1);
    const auto held = Held(spool.get());
    CHECK(held.size() == 44);
    for (size_t i = 0; i < held.size(); i++) {
      CHECK(held[i] == static_cast<int64_t>(i + 1) || (held[i] == -2 && report.lost_readings == 1));
    }
    // What was found lost stays lost, and is not found again.
    spool.reset();
    spool = OpenSpool(OptionsFor(dir), &report);
    CHECK(Held(spool.get()) == held);
  }
}

// Damage that comes while the spool is open is seen when the reading is wanted.
void TestDamageWhileOpen() {
  Scratch scratch;
  auto spool = OpenSpool(OptionsFor(scratch / "spool"));
  FillForDamage(spool.get());
  const auto file = SegmentFiles(scratch / "spool").back();
  const Bytes bytes = ReadAll(file);
  Bytes wanted = ReadingOf(30);
  const auto at = std::search(bytes.begin(), bytes.end(), wanted.begin(), wanted.end());
  CHECK(at != bytes.end());
  std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
  stream.seekp(at - bytes.begin());
  stream.put('x');
  stream.close();
  Bytes readings;
  uint16_t count = 0;
  CHECK_OK(spool->ReadReadings(25, 20, &readings, &count));
  CHECK(count == 5 && spool->RunAt(30).reason == 2 && spool->RunAt(30).end == 31);
  CHECK(!spool->Holds(CutOf(21, 24)) && spool->Holds(CutOf(11, 10)));
}

void TestLostSegmentIsAGap() {
  Scratch scratch;
  const auto options = OptionsFor(scratch / "spool", 256 << 10);
  auto spool = OpenSpool(options);
  for (uint64_t n = 1; n <= 3000; n++) CHECK_OK(spool->AddReading(ReadingOf(n)));
  spool.reset();
  const auto files = SegmentFiles(scratch / "spool");
  CHECK(files.size() >= 4);
  std::filesystem::remove(files[1]);
  Spool::Report report;
  spool = OpenSpool(options, &report);
  const auto held = Held(spool.get());
  CHECK(held.size() == 3000 && report.lost_readings > 100);
  CHECK(static_cast<uint64_t>(std::count(held.begin(), held.end(), -2)) == report.lost_readings);
  CHECK(held.front() == 1 && held.back() == 3000);
}

// ---- full

void TestEvictionOrder() {
  Scratch scratch;
  const auto options = OptionsFor(scratch / "spool", 128 << 10);
  auto spool = OpenSpool(options);
  for (uint64_t n = 1; n <= 1000; n++) CHECK_OK(spool->AddReading(ReadingOf(n)));
  CHECK_OK(spool->AddCuts({CutOf(1, 64), CutOf(65, 64)}));
  CHECK_OK(spool->Sync());
  spool->SetCustody(129);
  for (uint64_t n = 1001; n <= 6000; n++) CHECK_OK(spool->AddReading(ReadingOf(n)));
  CHECK(spool->bytes() <= options.max_bytes);
  CHECK(spool->first() == 129);  // custody went silently, and not one gap stands for it
  const auto check = [&] {
    const Spool::Run run = spool->RunAt(129);
    CHECK(run.reason == 1 && run.end > 2500 && run.end < 6000);
    CHECK(spool->RunAt(run.end).reason == 0 && spool->RunAt(run.end).end == 6001);
    const auto held = Held(spool.get());
    CHECK(held.back() == 6000 && held[run.end - 129] == static_cast<int64_t>(run.end));
    // The next WELCOME may still name the last ended cut.
    CHECK(spool->KnowsCut(129, CutOf(65, 64).nonce));
  };
  check();
  spool.reset();
  spool = OpenSpool(options);
  check();
}

// ---- cuts over each other

void TestCutsAreBounded() {
  Scratch scratch;
  const auto options = OptionsFor(scratch / "spool", 64 << 10);
  auto spool = OpenSpool(options);
  const auto nonce_of = [](uint64_t n) {
    Nonce nonce{};
    nonce[0] = static_cast<uint8_t>(n);
    nonce[1] = static_cast<uint8_t>(n >> 8);
    return nonce;
  };
  const auto cut = [&](uint64_t seq, uint64_t n) {
    Cut made = CutOf(seq, 1);
    made.nonce = nonce_of(n);
    CHECK_OK(spool->AddCuts({made}));
  };
  for (uint64_t n = 1; n <= 300; n++) CHECK_OK(spool->AddReading(ReadingOf(n)));
  for (uint64_t n = 1; n <= 300; n++) cut(n, n);
  // The last reading's frame is cut again and again; the newest are kept.
  for (uint64_t n = 301; n <= 1300; n++) cut(300, n);
  CHECK(spool->cuts().size() >= 300 && spool->cuts().size() < 400);
  CHECK(spool->KnowsCut(301, nonce_of(1300)) && spool->CutToRepeat(300, 1)->nonce == nonce_of(1300));
  CHECK_OK(spool->Sync());

  // All of it is evicted: what is left of the cuts takes no room worth speaking of.
  for (uint64_t n = 301; n <= 3000; n++) CHECK_OK(spool->AddReading(ReadingOf(n)));
  const auto check = [&] {
    CHECK(spool->first() == 1 && spool->RunAt(300).reason == 1 && spool->bytes() <= options.max_bytes);
    CHECK(!spool->cuts().empty() && spool->cuts().size() < 60);
    CHECK(spool->KnowsCut(301, nonce_of(1300)) && spool->CutToRepeat(300, 1) == nullptr);
  };
  check();
  spool.reset();
  spool = OpenSpool(options);
  check();
}

// The key file may have changed its profile while readings were held.
void TestReadingsOfTwoLengths() {
  Scratch scratch;
  auto options = OptionsFor(scratch / "spool");
  const size_t sizes[] = {24, 20, 140, 24};
  uint64_t n = 1;
  for (const size_t size : sizes) {
    options.reading_size = static_cast<uint16_t>(size);
    auto spool = OpenSpool(options);
    for (int i = 0; i < 100; i++) CHECK_OK(spool->AddReading(ReadingOf(n++, size)));
  }
  Spool::Report report;
  auto spool = OpenSpool(options, &report);
  CHECK(report.damaged_bytes == 0 && report.lost_readings == 0);
  for (uint64_t seq = 1; seq < n; seq++) {
    const uint64_t part = (seq - 1) / 100;
    const Spool::Run run = spool->RunAt(seq);
    CHECK(run.reading_size == sizes[part] && run.end == part * 100 + 101);
  }
  CHECK(!spool->Holds(CutOf(90, 20)) && spool->Holds(CutOf(81, 20)));
  const auto held = Held(spool.get());
  for (size_t i = 0; i < held.size(); i++) CHECK(held[i] == static_cast<int64_t>(i + 1));
  CHECK(held.size() == 400);
}

// ---- refusals

void TestRefusals() {
  Scratch scratch;
  const auto options = OptionsFor(scratch / "spool");
  auto spool = OpenSpool(options);
  std::unique_ptr<Spool> other;
  Spool::Report report;
  Status status = Spool::Open(options, &other, &report);
  CHECK(status.code() == Status::Code::kInvalid && status.message().find("in use") != std::string::npos);
  spool.reset();

  auto foreign = options;
  foreign.sensor = 8;
  status = Spool::Open(foreign, &other, &report);
  CHECK(status.code() == Status::Code::kInvalid &&
        status.message().find("belongs to sensor 7") != std::string::npos);

  const auto file = SegmentFiles(scratch / "spool").back();
  WriteAll(file, EncodeSegmentHeader({.version = 2, .sensor = 7, .reading_size = kSize, .number = 1}));
  status = Spool::Open(options, &other, &report);
  CHECK(status.code() == Status::Code::kInvalid &&
        status.message().find(file.filename().string() + " has spool format 2") != std::string::npos);
}

}  // namespace

int main() {
  TestTruncationAtEveryByte();
  TestDamageAtEveryByte();
  TestDamageWhileOpen();
  TestLostSegmentIsAGap();
  TestEvictionOrder();
  TestCutsAreBounded();
  TestReadingsOfTwoLengths();
  TestRefusals();
  for (uint32_t seed = 1; seed <= SeedsWanted(10); seed++) {
    fprintf(stderr, "seed %u\n", seed);
    TestRandomOperations(seed);
  }
}
