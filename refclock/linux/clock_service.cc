#include "refclock/linux/clock_service.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "refclock/linux/remote_clock.h"

namespace timeball::refclock {
namespace {

class ClockService {
 public:
  ClockService(uid_t user, int listener, const KernelClockControl::Adjust& adjust)
      : user_(user), listener_(listener), adjust_(adjust) {}
  ~ClockService() { hang_up(); }
  ClockService(const ClockService&) = delete;
  ClockService& operator=(const ClockService&) = delete;

  void run() {
    for (;;) {
      std::array<pollfd, 2> sockets{{{daemon_, POLLIN, 0}, {listener_, POLLIN, 0}}};
      if (poll(sockets.data(), sockets.size(), -1) < 0) {
        if (errno == EINTR) continue;
        return;
      }
      // Who has gone makes room for who has come.
      if (sockets[0].revents != 0 && !answer_request(daemon_, gate_, adjust_)) hang_up();
      if (sockets[1].revents != 0 && !admit()) return;
    }
  }

 private:
  bool admit() {
    const int peer = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (peer < 0) return errno == EINTR || errno == EAGAIN || errno == ECONNABORTED;
    ucred who{};
    socklen_t size = sizeof who;
    const bool known = getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0;
    ClockAnswer word{0, 0, 0};
    if (!known || who.uid != user_) {
      word = {-1, EACCES, 0};
    } else if (daemon_ >= 0) {
      word = {-1, EBUSY, 0};
    }
    const bool told = write(peer, &word, sizeof word) == sizeof word;
    if (!told || word.result < 0) {
      close(peer);
      return true;
    }
    daemon_ = peer;
    if (who.pid != process_) gate_ = {};
    process_ = who.pid;
    return true;
  }
  void hang_up() {
    if (daemon_ >= 0) close(std::exchange(daemon_, -1));
  }

  const uid_t user_;
  const int listener_;
  const KernelClockControl::Adjust& adjust_;
  int daemon_ = -1;     // for which it steers; nobody: -1
  pid_t process_ = -1;  // its, or the last one's; 0: of a namespace that we do not see
  ClockGate gate_;
};

}  // namespace

void serve_clock_to(uid_t user, int listener, const KernelClockControl::Adjust& adjust) {
  ClockService(user, listener, adjust).run();
}

}  // namespace timeball::refclock
