// The scripted ingress behind a real port, for the command's test. Prints its port, serves one connection at
// a time, commits every 5 ms, stores now and then, and at SIGTERM prints how much it accepted.
//   ingress_server KEY_FILE

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "ingress.h"

using namespace vigia;

namespace {

volatile sig_atomic_t stopped = 0;

}  // namespace

int main(int argc, char** argv) {
  CHECK(argc == 2 && sodium_init() >= 0);
  Identity identity;
  CHECK_OK(LoadKeyFile(argv[1], &identity));
  Ingress ingress(identity);
  ingress.window = 64;
  signal(SIGTERM, [](int) { stopped = 1; });
  signal(SIGPIPE, SIG_IGN);

  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  CHECK(bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0 && listen(listener, 8) == 0);
  CHECK(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);

  int connection = -1;
  size_t committed = 0;
  for (int round = 0; !stopped; round++) {
    pollfd wanted[] = {{.fd = listener, .events = POLLIN, .revents = 0},
                       {.fd = connection, .events = POLLIN, .revents = 0}};
    poll(wanted, 2, 5);
    bool gone = false;
    if (wanted[1].revents != 0) {
      uint8_t bytes[64 << 10];
      const ssize_t n = read(connection, bytes, sizeof bytes);
      gone = n <= 0 || !ingress.Receive(ByteView(bytes, static_cast<size_t>(n)));
    }
    if (ingress.accepted.size() != committed) ingress.Commit();
    committed = ingress.accepted.size();
    if (round % 8 == 0) ingress.StoreAll();
    const Bytes answers = ingress.TakeOutput();
    if (connection >= 0 && !gone) gone = write(connection, answers.data(), answers.size()) < 0;
    if (gone || wanted[0].revents != 0) {
      if (connection >= 0) close(connection);
      connection = wanted[0].revents != 0 ? accept(listener, nullptr, nullptr) : -1;
      ingress.Accept();
      ingress.TakeOutput();
    }
  }
  size_t gaps = 0;
  for (const auto& [position, content] : ingress.accepted) gaps += content.gap_reason != 0;
  printf("readings=%zu gaps=%zu frames=%d sessions=%d refusals=%d\n", ingress.accepted.size() - gaps, gaps,
         ingress.data_frames, ingress.sessions, ingress.refusals);
}
