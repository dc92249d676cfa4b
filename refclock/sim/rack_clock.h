// A rack's true time as this machine has it: it begins with CLOCK_REALTIME and runs with
// CLOCK_MONOTONIC_RAW, so that nobody who steps or slews the system's clock moves the truth.
//
// Thread rules: one thread.
#pragma once

#include "refclock/host_clock.h"
#include "refclock/linux/host_clock.h"
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
  Pair read() const {
    const HostClock::Pair both = clocks_.pair();
    return {truth(both.host), both.kernel};
  }

 private:
  SimTime truth(HostTime host) const { return {host.ns + ahead_}; }

  HostClock clocks_{kernel_calls()};
  std::int64_t ahead_ = 0;
};

}  // namespace timeball::refclock::sim
