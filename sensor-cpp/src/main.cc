// vigia-sensor: options, key, spool, and one loop that moves readings and bytes.

#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "device.h"
#include "options.h"
#include "socket.h"
#include "source.h"

namespace vigia {
namespace {

enum ExitCode { kDelivered = 0, kDiskFailed = 1, kUndelivered = 3, kUsage = 64, kLinesSkipped = 65 };

constexpr int64_t kDefaultLingerUs = 5'000'000;
// Readings taken before the connection gets its turn again.
constexpr int kMaxTakenAtOnce = 1024;

void Say(const std::string& sentence) { fprintf(stderr, "vigia-sensor: %s\n", sentence.c_str()); }

// SIGTERM and SIGINT become readable; SIGPIPE goes.
int CatchSignals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  sigprocmask(SIG_BLOCK, &stop, nullptr);
  return signalfd(-1, &stop, SFD_NONBLOCK | SFD_CLOEXEC);
}

class Sensor {
 public:
  Sensor(const CommandOptions& options, const Identity& identity, Spool* spool, Truth* truth, int signals)
      : options_(options),
        start_(Now()),
        spool_(spool),
        signals_(signals),
        device_(identity, spool, truth),
        source_(options, identity.quantities, start_),
        socket_(options.host, options.port),
        next_stats_us_(options.stats_us ? start_.mono_us + *options.stats_us : INT64_MAX) {}

  ExitCode Run() {
    if (Status status = source_.Open(); !status.ok()) return GiveUp(status, kUsage);
    for (;;) {
      const Instant now = Now();
      if (Status status = TakeReadings(now); !status.ok()) return GiveUp(status, kUsage);
      if (Status status = MoveBytes(now); !status.ok()) Disconnect(status, now);
      if (!device_.disk().ok()) return GiveUp(device_.disk(), kDiskFailed);
      ReportDisk();
      ReportStats(now);
      if (finishing_ && (device_.all_in_custody() || now.mono_us >= linger_until_us_)) return Finish();
      Wait();
    }
  }

 private:
  Status TakeReadings(Instant now) {
    if (finishing_) return Status::Ok();
    // A file that is read as fast as possible leaves a quarter of the spool free.
    const bool no_room =
        !device_.all_in_custody() && spool_->bytes() > options_.spool_max - options_.spool_max / 4;
    for (int i = 0; i < kMaxTakenAtOnce; i++) {
      if (options_.count && device_.stats().taken >= *options_.count) return StopTaking(), Status::Ok();
      if (options_.for_us && now.mono_us >= start_.mono_us + *options_.for_us) {
        return StopTaking(), Status::Ok();
      }
      std::optional<Reading> reading;
      if (Status status = source_.Next(now, no_room, &reading); !status.ok()) return status;
      if (!reading) {
        if (source_.ended()) StopTaking();
        return Status::Ok();
      }
      if (now.mono_us >= next_clock_check_us_) {
        synchronised_ = ClockSynchronised();
        next_clock_check_us_ = now.mono_us + 1'000'000;
      }
      if (synchronised_) reading->flags |= kFlagSynchronised;
      device_.Take(std::move(*reading));
      if (!device_.disk().ok()) return Status::Ok();
    }
    more_due_ = true;
    return Status::Ok();
  }

  // Nothing new is taken from here on. `linger` unset: without limit.
  void StopTaking(std::optional<int64_t> linger_us = std::nullopt) {
    if (finishing_) return;
    finishing_ = true;
    if (options_.linger_us) linger_us = options_.linger_us;
    linger_until_us_ = linger_us ? Now().mono_us + *linger_us : INT64_MAX;
  }

  Status MoveBytes(Instant now) {
    Status trouble;
    if (socket_.Advance(now, &trouble)) {
      device_.OnConnected(now);
    } else if (!trouble.ok() && trouble.message() != last_trouble_) {
      Say(last_trouble_ = trouble.message());  // once, not at every attempt
    }
    if (socket_.state() != Socket::State::kConnected) return Status::Ok();

    Bytes bytes;
    const bool was_in_session = device_.in_session();
    Status status = socket_.Read(&bytes);
    if (status.ok() && !bytes.empty()) status = device_.OnBytes(bytes, now);
    if (!status.ok()) return status;
    // Not for WELCOME alone: one that refuses what follows must not be asked ever again without a pause.
    if (device_.session_works()) socket_.Succeeded();
    if (!was_in_session && device_.in_session()) {
      if (!was_ever_connected_ || !last_trouble_.empty()) {
        Say("connected to " + options_.host + " port " + options_.port);
      }
      was_ever_connected_ = true;
      last_trouble_.clear();
    }
    if (status = device_.Advance(now); !status.ok()) return status;
    while (!device_.output().empty()) {
      size_t written = 0;
      status = socket_.Write(device_.output(), &written);
      if (!status.ok() || written == 0) return status;
      device_.Consume(written);
    }
    return Status::Ok();
  }

  void Disconnect(const Status& why, Instant now) {
    if (why.message() != last_trouble_) Say(last_trouble_ = why.message());
    device_.OnDisconnected();
    socket_.Close(now);
  }

  void Wait() {
    const Instant now = Now();
    int64_t deadline =
        std::min({socket_.NextDeadline(), device_.NextDeadline(now), next_stats_us_, linger_until_us_});
    if (!finishing_) {
      deadline = std::min(deadline, source_.NextDeadline());
      if (options_.for_us) deadline = std::min(deadline, start_.mono_us + *options_.for_us);
      if (more_due_) deadline = now.mono_us;
    }
    more_due_ = false;
    pollfd wanted[] = {socket_.PollFor(!device_.output().empty()),
                       {.fd = finishing_ ? -1 : source_.poll_fd(), .events = POLLIN, .revents = 0},
                       {.fd = signals_, .events = POLLIN, .revents = 0}};
    const int64_t wait_us = std::clamp<int64_t>(deadline - now.mono_us, 0, 3'600'000'000);
    const timespec timeout{.tv_sec = wait_us / 1'000'000, .tv_nsec = wait_us % 1'000'000 * 1000};
    if (ppoll(wanted, std::size(wanted), &timeout, nullptr) <= 0) return;
    if (wanted[1].revents != 0) source_.OnReadable();
    signalfd_siginfo info;
    if (wanted[2].revents != 0 && read(signals_, &info, sizeof info) == sizeof info) {
      if (stop_asked_) linger_until_us_ = 0;  // asked twice
      stop_asked_ = true;
      StopTaking(kDefaultLingerUs);
      // After the end of input the wait was without limit; now somebody is waiting.
      if (!options_.linger_us) linger_until_us_ = std::min(linger_until_us_, now.mono_us + kDefaultLingerUs);
    }
  }

  void ReportDisk() {
    if (spool_->disk_full() == disk_was_full_) return;
    disk_was_full_ = spool_->disk_full();
    Say(disk_was_full_ ? "no room on the disk of " + options_.spool +
                             ": readings are dropped, and will be declared as a gap"
                       : "room on the disk of " + options_.spool + " again, " +
                             std::to_string(spool_->dropped()) + " readings dropped so far");
  }

  void ReportStats(Instant now) {
    if (now.mono_us < next_stats_us_) return;
    next_stats_us_ = now.mono_us + *options_.stats_us;
    PrintStats();
  }

  void PrintStats() const {
    const DeviceStats& stats = device_.stats();
    char skew[48] = "unknown";
    if (stats.clock_difference_us) {
      snprintf(skew, sizeof skew, "%.3fs", static_cast<double>(*stats.clock_difference_us) / 1e6);
    }
    fprintf(stderr,
            "vigia-sensor: taken=%" PRIu64 " sent=%" PRIu64 " acknowledged=%" PRIu64 " stored=%" PRIu64
            " held=%" PRIu64 " unacknowledged=%" PRIu64 " gaps=%" PRIu64 " dropped=%" PRIu64
            " reconnects=%" PRIu64 " refused=%" PRIu64 " skipped_lines=%" PRIu64
            " spool_bytes=%" PRIu64 " stream=%" PRIu32 " clock_difference=%s\n",
            stats.taken, stats.sent, spool_->custody() - 1, spool_->first() - 1,
            spool_->next() - spool_->first(), spool_->next() - spool_->custody(), stats.gap_frames,
            spool_->dropped(), stats.sessions > 0 ? stats.sessions - 1 : 0, stats.refused,
            source_.skipped_lines(), spool_->bytes(), spool_->stream(), skew);
  }

  ExitCode Finish() {
    if (Status status = spool_->Close(); !status.ok()) Say(status.message());
    if (options_.stats_us) PrintStats();
    if (!device_.all_in_custody()) {
      Say(std::to_string(spool_->next() - spool_->custody()) +
          " readings are not acknowledged and remain in the spool " + options_.spool);
      return kUndelivered;
    }
    if (source_.skipped_lines() == 0) return kDelivered;
    Say("lines skipped: " + std::to_string(source_.skipped_lines()) + "; everything else is acknowledged");
    return kLinesSkipped;
  }

  ExitCode GiveUp(const Status& why, ExitCode code) {
    Say(why.message());
    if (options_.stats_us) PrintStats();
    return code;
  }

  const CommandOptions& options_;
  const Instant start_;
  Spool* const spool_;
  const int signals_;
  Device device_;
  Source source_;
  Socket socket_;
  int64_t next_stats_us_;
  int64_t next_clock_check_us_ = 0;
  bool synchronised_ = true;
  bool more_due_ = false;
  bool finishing_ = false;
  bool stop_asked_ = false;
  int64_t linger_until_us_ = INT64_MAX;
  bool disk_was_full_ = false;
  bool was_ever_connected_ = false;
  std::string last_trouble_;
};

// A memory that is new may follow one that is forgotten, by the ingress too: then nobody could tell this one's
// readings from those. So its stream is the time, in Unix seconds.
Status BeginStream(Spool* spool) {
  const int64_t seconds = Now().wall_us / 1'000'000;
  const bool is_new = spool->stream() == 1 && spool->next() == 1;
  if (!is_new || seconds <= 1 || seconds > UINT32_MAX) return Status::Ok();
  return spool->OpenStream(static_cast<uint32_t>(seconds));
}

ExitCode Main(int argc, char** argv) {
  const auto refuse = [](const Status& status) {
    Say(status.message());
    return kUsage;
  };
  CommandOptions options;
  if (Status status = ParseOptions(argc, argv, &options); !status.ok()) return refuse(status);
  if (options.help) return fputs(kHelp, stdout), kDelivered;
  if (options.version) return puts("vigia-sensor " VIGIA_VERSION), kDelivered;

  // Keys are in memory from here on: no core file may carry them away.
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  if (sodium_init() < 0) return refuse(Status::Io("libsodium does not start"));

  Identity identity;
  if (Status status = LoadKeyFile(options.key, &identity); !status.ok()) return refuse(status);
  Truth truth;
  if (!options.truth.empty()) {
    if (Status status = truth.Open(options.truth); !status.ok()) return refuse(status);
  }

  const int signals = CatchSignals();
  std::unique_ptr<Spool> spool;
  Spool::Report report;
  const Spool::Options spool_options{
      .dir = options.spool,
      .sensor = identity.sensor,
      .reading_size = static_cast<uint16_t>(ReadingSize(identity.quantities)),
      .max_bytes = options.spool_max};
  if (Status status = Spool::Open(spool_options, &spool, &report); !status.ok()) {
    Say(status.message());
    return status.code() == Status::Code::kInvalid ? kUsage : kDiskFailed;
  }
  if (report.damaged_bytes > 0 || report.lost_readings > 0) {
    Say("the spool was damaged: " + std::to_string(report.damaged_bytes) + " bytes unreadable, " +
        std::to_string(report.lost_readings) + " readings lost");
  }
  if (Status status = BeginStream(spool.get()); !status.ok()) {
    Say(status.message());
    return kDiskFailed;
  }
  return Sensor(options, identity, spool.get(), &truth, signals).Run();
}

}  // namespace
}  // namespace vigia

int main(int argc, char** argv) { return vigia::Main(argc, argv); }
