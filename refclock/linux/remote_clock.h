// CLOCK_REALTIME, changed by another process that may: so the daemon needs no right to. Over a
// socket (SOCK_SEQPACKET) goes one request and comes one answer. The other side does only what
// KernelClockControl does, and checks for itself that it is that: it takes nothing else from
// a daemon that somebody has taken over. What such a daemon can still do is to lie about the time
// as slowly as the kernel slews, and once to step it.
//
// A round trip is some tens of microseconds. KernelSteering reads its clocks after it, and what
// passes meanwhile is in the bound.
#pragma once

#include <cstdint>
#include <functional>

#include "refclock/linux/kernel_clock_control.h"

namespace timeball::refclock {

// What is asked: the fields of struct timex that a request of its modes has.
struct ClockRequest {
  std::uint32_t modes = 0;
  std::int32_t status = 0;
  std::int64_t frequency = 0;  // scaled (kScaledPpm)
  std::int64_t offset = 0;
  std::int64_t tick = 0;
  std::int64_t most_error_us = 0;
  std::int64_t estimated_error_us = 0;
  std::int64_t constant = 0;  // TAI-UTC
  std::int64_t step_s = 0;
  std::int64_t step_ns = 0;
};

struct ClockAnswer {
  std::int32_t result = -1;
  std::int32_t error = 0;  // errno, when the result is -1
  std::int64_t frequency = 0;
};

// What a helper does, and what it does not: the modes of KernelClockControl, in their ranges; one
// step in its life.
class ClockGate {
 public:
  bool permits(const ClockRequest& request) const;
  void done(const ClockRequest& request);

 private:
  bool stepped_ = false;
};

// The daemon's end, which closes the socket. Fails with EPIPE when the other end is gone or has not
// answered within a second: it is asked no more. One thread.
KernelClockControl::Adjust remote_clock(int socket);

// The daemon's end towards a helper with a life of its own (refclock/linux/clock_service.h), whose
// first word on a connection is a ClockAnswer: whether it will. socket: such a connection. When it
// is lost, connect() is asked for another at the next call, and at each one after that; it returns
// -1 when nobody listens. Meanwhile calls fail with EPIPE, and wait for nobody. One thread.
KernelClockControl::Adjust remote_clock(int socket, std::function<int()> connect);

// The helper's end. Returns when the other end is closed, or says what is no request. What the gate
// does not let pass fails with EPERM. Allocates nothing; read(2) and write(2) only.
void serve_clock(int socket, const KernelClockControl::Adjust& adjust);
// One request of it; whether there was one, and its answer went out.
bool answer_request(int socket, ClockGate& gate, const KernelClockControl::Adjust& adjust);

}  // namespace timeball::refclock
