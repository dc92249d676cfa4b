// From CLOCK_REALTIME, in which the kernel stamps pulses, to HostTime (CLOCK_MONOTONIC_RAW), which
// nobody steps or slews. The two are read in turn, and the reading with the smallest window counts.
//
// Between a stamp and its conversion CLOCK_REALTIME may be slewed by `most_slew_ppm` (the kernel's
// own limit is 500); the error has that. A step in between would be the error itself: it is seen as
// a difference between two conversions that no slew explains, and refused. Owned by one device,
// called by its thread.
#pragma once

#include <optional>

#include "common/time/time_scales.h"
#include "refclock/linux/system_calls.h"
#include "refclock/observations.h"

namespace timeball::refclock {

class HostClock {
 public:
  static constexpr std::int64_t kKernelsMostSlewPpm = 500;

  explicit HostClock(SystemCalls calls, std::int64_t most_slew_ppm = kKernelsMostSlewPpm)
      : calls_(std::move(calls)), most_slew_ppm_(most_slew_ppm), last_(pair()) {}

  // The same instant on both clocks, within the error.
  struct Pair {
    HostTime host;
    KernelTime kernel;
    Duration error{};
  };
  Pair pair() const;

  struct Instant {
    HostTime at;
    Duration error{};  // half the window, and the slew
  };
  // Nothing when the clock was stepped since the last conversion, so that t may be from before.
  std::optional<Instant> convert(KernelTime t);
  // Forgets steps until now: for when there was nothing to convert for a while, which would let a
  // large step pass for a slew.
  void refresh() { last_ = pair(); }

  HostTime now() const { return {read(CLOCK_MONOTONIC_RAW)}; }

 private:
  std::int64_t read(clockid_t clock) const;
  Duration slew_within(Duration d) const;

  SystemCalls calls_;
  std::int64_t most_slew_ppm_;
  Pair last_;
};

}  // namespace timeball::refclock
