#include "refclock/linux/remote_clock.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include "refclock/steering.h"

namespace timeball::refclock {
namespace {

constexpr timeval kPatience{1, 0};
constexpr std::int64_t kMostError_us = 16'000'000;  // where the kernel itself ends
constexpr std::int64_t kMostStep_s = 100LL * 366 * 86400;
constexpr std::int64_t kMostTai_s = 1000;

bool within(std::int64_t value, std::int64_t least, std::int64_t most) {
  return least <= value && value <= most;
}

bool is_leap_status(std::int32_t status) {
  return status == 0 || status == STA_INS || status == STA_DEL;
}

ClockRequest request_of(const timex& t) {
  ClockRequest request;
  request.modes = t.modes;
  request.status = t.status;
  request.frequency = t.freq;
  request.offset = t.offset;
  request.tick = t.tick;
  request.most_error_us = t.maxerror;
  request.estimated_error_us = t.esterror;
  request.constant = t.constant;
  request.step_s = t.time.tv_sec;
  request.step_ns = t.time.tv_usec;
  return request;
}

timex timex_of(const ClockRequest& request) {
  timex t{};
  t.modes = request.modes;
  t.status = request.status;
  t.freq = static_cast<long>(request.frequency);
  t.offset = static_cast<long>(request.offset);
  t.tick = static_cast<long>(request.tick);
  t.maxerror = static_cast<long>(request.most_error_us);
  t.esterror = static_cast<long>(request.estimated_error_us);
  t.constant = static_cast<long>(request.constant);
  t.time.tv_sec = static_cast<time_t>(request.step_s);
  t.time.tv_usec = static_cast<suseconds_t>(request.step_ns);
  return t;
}

// A call that a signal interrupted is made again.
template <class Call>
ssize_t insist(Call call) {
  for (;;) {
    const ssize_t result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

class RemoteClock {
 public:
  explicit RemoteClock(int socket) : socket_(socket) {
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  }
  ~RemoteClock() { give_up(); }
  RemoteClock(const RemoteClock&) = delete;
  RemoteClock& operator=(const RemoteClock&) = delete;

  int adjust(timex* t) {
    ClockAnswer answer;
    if (!ask(request_of(*t), answer)) {
      give_up();
      errno = EPIPE;
      return -1;
    }
    t->freq = static_cast<long>(answer.frequency);
    errno = answer.error;
    return answer.result;
  }
  bool gone() const { return socket_ < 0; }

 private:
  bool ask(const ClockRequest& request, ClockAnswer& answer) const {
    if (socket_ < 0) return false;
    const ssize_t sent =
        insist([&] { return send(socket_, &request, sizeof request, MSG_NOSIGNAL); });
    if (sent != sizeof request) return false;
    return insist([&] { return recv(socket_, &answer, sizeof answer, 0); }) == sizeof answer;
  }
  // An answer that comes too late must not be taken for the next one's.
  void give_up() {
    if (socket_ >= 0) close(std::exchange(socket_, -1));
  }

  int socket_;
};

class ReturningClock {
 public:
  ReturningClock(int socket, std::function<int()> connect)
      : connect_(std::move(connect)), waiting_(socket) {}
  ~ReturningClock() { hang_up(); }
  ReturningClock(const ReturningClock&) = delete;
  ReturningClock& operator=(const ReturningClock&) = delete;

  int adjust(timex* t) {
    if ((clock_ && !clock_->gone()) || admitted()) return clock_->adjust(t);
    errno = EPIPE;
    return -1;
  }

 private:
  bool admitted() {
    if (waiting_ < 0) waiting_ = connect_();
    if (waiting_ < 0) return false;
    ClockAnswer word;
    const ssize_t size = insist([&] { return recv(waiting_, &word, sizeof word, MSG_DONTWAIT); });
    if (size < 0 && errno == EAGAIN) return false;
    if (size != sizeof word || word.result < 0) {
      hang_up();
      return false;
    }
    clock_.emplace(std::exchange(waiting_, -1));
    return true;
  }
  void hang_up() {
    if (waiting_ >= 0) close(std::exchange(waiting_, -1));
  }

  std::function<int()> connect_;
  int waiting_;  // connected, and without a word yet; or -1
  std::optional<RemoteClock> clock_;
};

}  // namespace

bool ClockGate::permits(const ClockRequest& r) const {
  switch (r.modes) {
    case 0:
      return true;
    case ADJ_STATUS | ADJ_OFFSET | ADJ_TICK:
      return r.status == (STA_PLL | STA_UNSYNC) && r.offset == 0 &&
             r.tick == 1'000'000 / sysconf(_SC_CLK_TCK);
    case ADJ_OFFSET_SINGLESHOT:
      return r.offset == 0;
    case ADJ_STATUS:
      return r.status == STA_UNSYNC;
    case ADJ_FREQUENCY:
      return within(r.frequency, -Steering::kMostFrequency, Steering::kMostFrequency);
    case ADJ_SETOFFSET | ADJ_NANO:
      return !stepped_ && within(r.step_s, -kMostStep_s, kMostStep_s) &&
             within(r.step_ns, 0, kNsPerSecond - 1);
    case ADJ_STATUS | ADJ_MAXERROR | ADJ_ESTERROR:
    case ADJ_STATUS | ADJ_MAXERROR | ADJ_ESTERROR | ADJ_TAI:
      return is_leap_status(r.status) && within(r.most_error_us, 0, kMostError_us) &&
             within(r.estimated_error_us, 0, kMostError_us) && within(r.constant, 0, kMostTai_s);
    default:
      return false;
  }
}

void ClockGate::done(const ClockRequest& request) {
  if ((request.modes & ADJ_SETOFFSET) != 0) stepped_ = true;
}

KernelClockControl::Adjust remote_clock(int socket) {
  return [clock = std::make_shared<RemoteClock>(socket)](timex* t) { return clock->adjust(t); };
}

KernelClockControl::Adjust remote_clock(int socket, std::function<int()> connect) {
  return [clock = std::make_shared<ReturningClock>(socket, std::move(connect))](timex* t) {
    return clock->adjust(t);
  };
}

bool answer_request(int socket, ClockGate& gate, const KernelClockControl::Adjust& adjust) {
  ClockRequest request;
  if (insist([&] { return read(socket, &request, sizeof request); }) != sizeof request) {
    return false;
  }
  ClockAnswer answer{-1, EPERM, 0};
  if (gate.permits(request)) {
    timex t = timex_of(request);
    answer.result = adjust(&t);
    answer.error = answer.result < 0 ? errno : 0;
    answer.frequency = t.freq;
    if (answer.result >= 0) gate.done(request);
  }
  return insist([&] { return write(socket, &answer, sizeof answer); }) == sizeof answer;
}

void serve_clock(int socket, const KernelClockControl::Adjust& adjust) {
  ClockGate gate;
  while (answer_request(socket, gate, adjust)) {
  }
}

}  // namespace timeball::refclock
