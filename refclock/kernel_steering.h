// Steers the kernel's clock under what is served (clock.mode "system"): what is published fits the
// kernel's clock at every moment, and who reads it need not know.
//
//   prepare()   just after RackClock::tick: decides (Steering). Publish what it returns: a state
//               that holds with the old rate and with the new one. Its bound grows by the
//               difference. Before a step: a state that says nothing.
//   apply()     kReadersLag later, when nobody holds an older state: changes the clock, tells
//               RackClock, and returns a fresh state to publish. Its bound also covers what
//               is asked about the kReadersLag before (Publisher). After a step nothing: the next
//               tick's.
//
// So the change costs, for that second, its kMostChange times kReadersLag: 160 ns while much is
// slewed away, nothing when settled. Should the thread stand still in between, however long, the
// promise holds.
//
// Owned by the rack; its thread calls. Tests hand their own kernel.
#pragma once

#include <functional>
#include <optional>

#include "refclock/linux/kernel_clock_control.h"
#include "refclock/rack_clock.h"
#include "refclock/steering.h"

namespace timeball::refclock {

class KernelSteering {
 public:
  // `pair` reads both clocks now.
  KernelSteering(KernelClockControl control, std::function<ClockPair()> pair)
      : control_(std::move(control)), pair_(std::move(pair)) {}

  ClockState prepare(const RackClockStatus& status, const ClockState& served, KernelTime now);
  // Nothing: there was nothing to do, or the kernel refused, or (stepped()) it is for the next tick
  // to tell.
  std::optional<ClockState> apply(RackClock& clock);
  // What the last apply() stepped it by, to log.
  Duration stepped() const { return stepped_; }
  // Since the last prepare(): CAP_SYS_TIME is gone, somebody filters the call, or whoever makes it
  // for us has ended (remote_clock.h).
  bool refused() const { return refused_; }

 private:
  KernelClockControl control_;
  std::function<ClockPair()> pair_;
  Steering steering_;
  Correction due_;
  Duration stepped_{};
  bool refused_ = false;
};

}  // namespace timeball::refclock
