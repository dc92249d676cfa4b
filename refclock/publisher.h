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

// Who read a state has let go of it so long after the next one was published, and what he asks it
// about is no older: a batch takes well under a millisecond.
inline constexpr auto kReadersLag = std::chrono::milliseconds(10);

// What we ourselves did to the kernel's clock (clock.mode "system").
struct Steered {
  HostTime at;  // within...
  Duration within{};
  double rate_ns_per_s = 0;  // the change
  Duration step{};
};

class Publisher {
 public:
  explicit Publisher(const ClockContract& contract);

  // False: the kernel's clock is not where it was going. Somebody else steps or slews it; it is
  // followed afresh. `leap`, when not 0, is a change of TAI-UTC that is happening now: the kernel's
  // clock may step by it (it does so by itself once it is told), at once or not at all.
  bool hear(const ClockPair& pair, int leap = 0);
  // When it is too uncertain when that was, the kernel's clock is followed afresh.
  void steered(const Steered& what);

  // as_of, offset, rate, error bound, growth and void_after for the newest pair; the estimate is of
  // that moment. `leap_s` is taken from UTC (leap seconds since the start).
  ClockState state(const Estimator& estimator, const Estimate& estimate, std::int64_t leap_s);
  // The error bound of a state published now, at the time of the next.
  Duration bound(const Estimate& estimate) const;
  // So long after a publication its growth holds.
  double horizon_s() const { return 2 * contract_.publish_interval_s; }

 private:
  double seconds(HostTime t) const { return static_cast<double>((t - first_.host).count()) * 1e-9; }
  // How far our own steering has moved the kernel's clock.
  double steered_ns(double t) const { return moved_ns_ + steered_rate_ * (t - steered_t_); }
  bool fits(const ClockPair& pair);
  // What the bound adds to an estimate's radius.
  double overhead_ns() const;

  ClockContract contract_;
  PhaseBound kernel_;  // kernel time - host time, without our steering
  ClockPair first_;
  ClockPair newest_;
  double steered_t_ = 0;
  double steered_rate_ = 0;  // ns/s
  double moved_ns_ = 0;      // at steered_t_
  double change_ = 0;        // ns/s, of the rate then
  double radius_ns_ = 0;     // of the kernel's reading at the newest pair
  double growth_ = 0;        // ns/s, of the newest state
};

}  // namespace timeball::refclock
