// The one header of refclock/ that the daemon sees: reference clocks in, a published ClockState
// out; and, where CLOCK_REALTIME is steered, how (remote_clock.h, clock_service.h). Either a rack's
// (rack.h), or SystemClock: what the kernel says of its own synchronisation (ntp_adjtime(2) with
// modes 0: read only, no rights needed), whose root dispersion is the kernel's maxerror plus its
// growth.
#pragma once

#include <cstdint>
#include <memory>

#include "common/base/seqlock.h"
#include "common/time/clock_state.h"
#include "refclock/linux/clock_service.h"
#include "refclock/linux/remote_clock.h"
#include "refclock/rack.h"

namespace timeball::refclock {

// What ntp_adjtime(2) returned, in its own units (struct timex).
struct KernelClock {
  int state = 5;        // TIME_OK .. TIME_ERROR
  unsigned status = 0;  // STA_*
  std::int64_t maxerror_us = 0;
  std::int64_t esterror_us = 0;
  std::int64_t precision_us = 1;
  std::int64_t tolerance_ppm = 500;
};

struct SystemClockOptions {
  bool trust = false;     // serve it even when the kernel says TIME_ERROR
  unsigned stratum = 10;  // to serve: the kernel does not tell its own
  // How wrong the clock may be while trusted without the kernel's word; the operator's assertion.
  Duration error_bound = std::chrono::milliseconds(10);
};

// Pure: the state to serve for this reading taken at `now`.
ClockState state_of(const KernelClock& kernel, const SystemClockOptions& options, KernelTime now);

// Where readings come from; a test hands its own.
using ReadKernelClock = KernelClock (*)();
// Reads the real one, with modes 0: never changes it.
KernelClock read_kernel_clock();

// Publishes what the kernel says when made, and once started once a second, in a thread of its own.
// Stops when destroyed.
class SystemClock {
 public:
  SystemClock(const SystemClockOptions& options, ReadKernelClock read = &read_kernel_clock);
  ~SystemClock();

  void start();
  const Seqlock<ClockState>& state() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace timeball::refclock
