#include "socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace vigia {

namespace {

constexpr int64_t kShortestPauseUs = 100'000;
constexpr int64_t kLongestPauseUs = 10'000'000;
constexpr int64_t kConnectTimeoutUs = 5'000'000;
constexpr int64_t kResolvePollUs = 20'000;
constexpr size_t kReadSize = 64 << 10;

}  // namespace

// A name being looked up by glibc's own helper thread. It must stay where it is until that is done.
struct Socket::Resolution {
  std::string host;
  std::string port;
  addrinfo hints{};
  gaicb request{};
};

Socket::Socket(std::string host, std::string port)
    : host_(std::move(host)), port_(std::move(port)), random_(std::random_device{}()) {}

Socket::~Socket() {
  if (fd_ >= 0) close(fd_);
  if (addresses_ != nullptr) freeaddrinfo(addresses_);
  // One that is under way and cannot be stopped is left to the end of the process.
  if (resolution_ && gai_cancel(&resolution_->request) == EAI_NOTCANCELED) resolution_.release();
}

void Socket::StartResolving() {
  resolution_ = std::make_unique<Resolution>();
  resolution_->host = host_;
  resolution_->port = port_;
  resolution_->hints.ai_socktype = SOCK_STREAM;
  resolution_->hints.ai_flags = AI_NUMERICSERV;
  resolution_->request.ar_name = resolution_->host.c_str();
  resolution_->request.ar_service = resolution_->port.c_str();
  resolution_->request.ar_request = &resolution_->hints;
  gaicb* list[] = {&resolution_->request};
  getaddrinfo_a(GAI_NOWAIT, list, 1, nullptr);  // a failure shows in gai_error()
  state_ = State::kResolving;
}

// Tries the addresses in turn, from next_address_ on.
bool Socket::StartConnecting(Instant now, Status* status) {
  std::string why = "no address";
  for (; next_address_ != nullptr; next_address_ = next_address_->ai_next) {
    const addrinfo& address = *next_address_;
    fd_ = socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd_ < 0) {
      why = strerror(errno);
      continue;
    }
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd_, address.ai_addr, address.ai_addrlen) == 0 || errno == EINPROGRESS) {
      next_address_ = next_address_->ai_next;
      state_ = State::kConnecting;
      next_us_ = now.mono_us + kConnectTimeoutUs;
      return true;
    }
    why = strerror(errno);
    close(fd_);
    fd_ = -1;
  }
  Fail(now, status, why);
  return false;
}

void Socket::Fail(Instant now, Status* status, std::string why) {
  *status = Status::Peer("cannot connect to " + host_ + " port " + port_ + ": " + why);
  Close(now);
}

bool Socket::Advance(Instant now, Status* status) {
  if (state_ == State::kWaiting) {
    if (now.mono_us < next_us_) return false;
    attempts_++;
    StartResolving();
  }
  if (state_ == State::kResolving) {
    const int result = gai_error(&resolution_->request);
    if (result == EAI_INPROGRESS) {
      next_us_ = now.mono_us + kResolvePollUs;
      return false;
    }
    if (addresses_ != nullptr) freeaddrinfo(addresses_);
    next_address_ = addresses_ = result == 0 ? resolution_->request.ar_result : nullptr;
    resolution_.reset();
    if (result != 0) {
      Fail(now, status, gai_strerror(result));
      return false;
    }
    StartConnecting(now, status);
    return false;
  }
  if (state_ == State::kConnecting) {
    pollfd ready{.fd = fd_, .events = POLLOUT, .revents = 0};
    const bool late = now.mono_us >= next_us_;
    if (poll(&ready, 1, 0) <= 0 && !late) return false;
    int error = ETIMEDOUT;
    socklen_t size = sizeof error;
    if (!late && getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error == 0) {
      state_ = State::kConnected;
      return true;
    }
    close(fd_);
    fd_ = -1;
    if (next_address_ != nullptr) StartConnecting(now, status);
    else Fail(now, status, strerror(error));
  }
  return false;
}

pollfd Socket::PollFor(bool want_write) const {
  pollfd wanted{.fd = fd_, .events = POLLIN, .revents = 0};
  if (state_ == State::kConnecting) wanted.events = POLLOUT;
  if (state_ == State::kConnected && want_write) wanted.events = POLLIN | POLLOUT;
  return wanted;
}

int64_t Socket::NextDeadline() const { return state_ == State::kConnected ? INT64_MAX : next_us_; }

Status Socket::Read(Bytes* bytes) {
  bytes->resize(kReadSize);
  const ssize_t n = recv(fd_, bytes->data(), bytes->size(), 0);
  const int error = errno;
  bytes->resize(n > 0 ? static_cast<size_t>(n) : 0);
  if (n == 0) return Status::Peer("the ingress closed the connection");
  if (n > 0 || error == EAGAIN || error == EINTR) return Status::Ok();
  return Status::Peer(std::string("connection lost: ") + strerror(error));
}

Status Socket::Write(ByteView bytes, size_t* written) {
  const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  *written = n > 0 ? static_cast<size_t>(n) : 0;
  if (n >= 0 || errno == EAGAIN || errno == EINTR) return Status::Ok();
  return Status::Peer(std::string("connection lost: ") + strerror(errno));
}

void Socket::Close(Instant now) {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  state_ = State::kWaiting;
  pause_us_ = std::clamp(pause_us_ * 2, kShortestPauseUs, kLongestPauseUs);
  // Half of the pause is chance.
  const int64_t jittered = std::uniform_int_distribution<int64_t>(pause_us_ / 2, pause_us_)(random_);
  next_us_ = now.mono_us + std::max(jittered, kShortestPauseUs);
}

}  // namespace vigia
