// A rack's true time as this machine has it: it begins with CLOCK_REALTIME and runs with
// CLOCK_MONOTONIC_RAW, so that nobody who steps or slews the system's clock moves the truth.
//
// Thread rules: any thread.
#pragma once

#include <algorithm>
#include <ctime>

#include "common/time/ntp_timestamp.h"
#include "refclock/host_clock.h"
#include "refclock/sim/rubidium_model.h"

namespace timeball::refclock::sim {

class RackClock {
 public:
  // The same instant on both clocks.
  struct Pair {
    SimTime truth;
    KernelTime kernel;

    // What the kernel's clock said, or will say, if nobody steers it.
    KernelTime kernel_at(SimTime t) const { return kernel + (t - truth); }
  };

  // offset: truth minus CLOCK_REALTIME, now.
  explicit RackClock(Duration offset) {
    const Pair start = read();
    ahead_ = start.kernel.ns - start.truth.ns + offset.count();
  }

  SimTime now() const { return truth(host_now()); }
  // The best of a few readings, that of CLOCK_REALTIME between the two others.
  Pair read() const {
    Pair best;
    Duration narrowest = Duration::max();
    for (int i = 0; i < 5; ++i) {
      const HostTime before = host_now();
      timespec t{};
      clock_gettime(CLOCK_REALTIME, &t);
      const Duration width = host_now() - before;
      if (width >= narrowest) continue;
      narrowest = width;
      best = {truth(before + width / 2), KernelTime{t.tv_sec * kNsPerSecond + t.tv_nsec}};
    }
    return best;
  }

 private:
  SimTime truth(HostTime host) const { return {host.ns + ahead_}; }

  std::int64_t ahead_ = 0;
};

}  // namespace timeball::refclock::sim
