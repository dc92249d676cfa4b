// The last step: UTC is known over the host's own time (CLOCK_MONOTONIC_RAW), and served over the
// kernel's (CLOCK_REALTIME). A pair of readings of both, once for each publication, ties them; what
// tying them costs is in the bound.
//
// Owned by the discipline; its thread calls. Pure.
#pragma once

#include <optional>

#include "common/time/clock_state.h"
#include "refclock/estimator.h"

namespace timeball::refclock {

// Both clocks at one moment, to within `error` of the kernel's.
struct ClockPair {
  HostTime host;
  KernelTime kernel;
  Duration error{};
};

class Publisher {
 public:
  explicit Publisher(const ClockContract& contract);

  // False: the kernel's clock is not where it was going. Somebody else steps or slews it; it is
  // followed afresh.
  bool hear(const ClockPair& pair);
  // We ourselves have changed the kernel's clock (clock.mode "system").
  void steered() { kernel_.forget(); }

  // as_of, offset, rate, error bound, growth and void_after for the newest pair; the estimate is of
  // that moment. `leap_s` is taken from UTC (leap seconds since the start).
  ClockState state(const Estimator& estimator, const Estimate& estimate, std::int64_t leap_s);
  // The error bound of a state published now, at the time of the next.
  Duration bound(const Estimate& estimate) const;
  // So long after a publication its growth holds.
  double horizon_s() const { return 2 * contract_.publish_interval_s; }

 private:
  // What the bound adds to an estimate's radius.
  double overhead_ns() const;

  ClockContract contract_;
  PhaseBound kernel_;  // kernel time - host time
  ClockPair first_;
  ClockPair newest_;
  double radius_ns_ = 0;  // of the kernel's reading at the newest pair
  double growth_ = 0;     // ns/s, of the newest state
};

}  // namespace timeball::refclock
