#include "refclock/publisher.h"

#include <algorithm>
#include <cmath>

namespace timeball::refclock {
namespace {

// And two more for what was rounded on the way.
Duration rounded_up(double ns) {
  return Duration(static_cast<std::int64_t>(std::ceil(std::min(ns, 9e18))) + 2);
}

}  // namespace

Publisher::Publisher(const ClockContract& contract)
    : contract_(contract), kernel_(contract.kernel.limits(), PhaseMemory::kernel()) {}

bool Publisher::hear(const ClockPair& pair) {
  if (kernel_.empty()) first_ = pair;
  newest_ = pair;
  const double t = static_cast<double>((pair.host - first_.host).count()) * 1e-9;
  const auto ahead = static_cast<double>((pair.kernel - first_.kernel).count() -
                                         (pair.host - first_.host).count());
  const auto error = static_cast<double>(pair.error.count());
  if (kernel_.measure(t, Interval::around(ahead, error))) return true;
  kernel_.forget();
  first_ = pair;
  kernel_.measure(0, Interval::around(0, error));
  return false;
}

double Publisher::overhead_ns() const {
  return radius_ns_ + contract_.gnss.fixed_ns + contract_.host.phase_noise_ns +
         contract_.kernel.phase_noise_ns;
}

Duration Publisher::bound(const Estimate& estimate) const {
  return rounded_up(estimate.radius() + overhead_ns() + growth_ * contract_.publish_interval_s);
}

ClockState Publisher::state(const Estimator& estimator, const Estimate& utc, std::int64_t leap_s) {
  const double t = static_cast<double>((newest_.host - first_.host).count()) * 1e-9;
  // kernel - host: `whole` and an interval of nanoseconds.
  const std::int64_t whole = first_.kernel.ns - first_.host.ns;
  const Interval ahead = kernel_.at(t);
  const Interval drift = kernel_.frequency(t + horizon_s());

  ClockState state;
  // The moment of the pair, as the middle of what the kernel's clock may have read then.
  state.as_of = KernelTime{newest_.host.ns + whole + std::llround(ahead.middle())};
  state.offset = Duration(newest_.host.ns + estimator.utc_minus_host(utc.serve) -
                          leap_s * kNsPerSecond - state.as_of.ns);
  // d(UTC - kernel) / d kernel, both known per ns of host time.
  const double stretch = 1 + drift.middle() * 1e-9;
  const double rate = (utc.frequency.middle() - drift.middle()) / stretch;
  state.rate_ppb = std::llround(rate);
  const double growth =
      (utc.frequency.radius() + drift.radius()) / (stretch - drift.radius() * 1e-9) +
      std::abs(rate - static_cast<double>(state.rate_ppb));
  state.growth_ppb = static_cast<std::int64_t>(std::ceil(growth)) + 1;
  radius_ns_ = ahead.radius();
  growth_ = growth;
  state.error_bound = rounded_up(utc.radius() + overhead_ns());
  state.void_after = state.as_of + Duration(static_cast<std::int64_t>(horizon_s() * 1e9));
  return state;
}

}  // namespace timeball::refclock
