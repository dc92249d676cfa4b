#include "refclock/kernel_steering.h"

#include <cmath>
#include <utility>

namespace timeball::refclock {
namespace {

double ns_per_s(std::int64_t scaled) {
  return static_cast<double>(scaled) * 1e3 / kScaledPpm;
}

// Until the kernel's clock was stepped.
ClockState void_state(const ClockState& served) {
  ClockState state;
  state.as_of = state.reference_time = served.as_of;
  state.precision = served.precision;
  state.void_after = KernelTime{std::numeric_limits<std::int64_t>::min()};
  return state;
}

// The rate of the offset changes by as much as the kernel's does, per ns of a clock that may be off
// by KernelContract::frequency_max.
ClockState with_either_rate(ClockState served, std::int64_t change) {
  served.growth_ppb += std::llround(std::abs(ns_per_s(change)) * 1.001) + 1;
  return served;
}

}  // namespace

ClockState KernelSteering::prepare(const RackClockStatus& status, const ClockState& served,
                                   KernelTime now) {
  due_ = {};
  refused_ = false;
  const auto frequency = control_.frequency();
  if (!frequency) {
    refused_ = true;
    return served;
  }
  Correction correction = steering_.tick(status.state, served, now, *frequency);
  if (correction.status) {
    correction.status->tai_minus_utc_s = status.tai_minus_utc_s;
    if (!control_.set_status(*correction.status)) refused_ = true;
  }
  due_ = correction;
  if (due_.step != Duration{}) return void_state(served);
  return due_.change != 0 ? with_either_rate(served, due_.change) : served;
}

std::optional<ClockState> KernelSteering::apply(RackClock& clock) {
  const Correction now = std::exchange(due_, {});
  stepped_ = {};
  if (now.nothing()) return std::nullopt;
  const bool step = now.step != Duration{};
  const HostTime before = pair_().host;
  if (!(step ? control_.step(now.step) : control_.set_frequency(now.frequency))) {
    refused_ = true;
    return std::nullopt;
  }
  const ClockPair after = pair_();
  const Duration within = (after.host - before) / 2;
  clock.steered({before + within, within, ns_per_s(now.change), now.step});
  stepped_ = now.step;
  if (step) return std::nullopt;
  return clock.publish(after);
}

}  // namespace timeball::refclock
