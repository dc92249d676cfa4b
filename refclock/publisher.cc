#include "refclock/publisher.h"

#include <algorithm>
#include <cmath>

#include "refclock/rounding.h"

namespace timeball::refclock {
namespace {

// As far as we may be wrong about where our own steering took the kernel's clock.
constexpr double kMostUncertain_ns = 1;

// And two more for what was rounded on the way.
Duration rounded_up(double ns) {
  return Duration(static_cast<std::int64_t>(std::ceil(std::min(ns, 9e18))) + 2);
}

}  // namespace

Publisher::Publisher(const ClockContract& contract)
    : contract_(contract), kernel_(contract.kernel.limits(), PhaseMemory::kernel()) {}

bool Publisher::fits(const ClockPair& pair) {
  const double t = seconds(pair.host);
  const auto ahead = static_cast<double>((pair.kernel - first_.kernel).count() -
                                         (pair.host - first_.host).count());
  const auto error = static_cast<double>(pair.error.count());
  return kernel_.measure(t, Interval::around(ahead - steered_ns(t), error));
}

bool Publisher::hear(const ClockPair& pair, int leap) {
  newest_ = pair;
  const bool known = !kernel_.empty();
  if (known && fits(pair)) return true;
  if (known && leap != 0) {
    first_.kernel = first_.kernel - std::chrono::seconds(leap);
    if (fits(pair)) return true;
  }
  kernel_.forget();
  first_ = pair;
  steered_t_ = steered_rate_ = moved_ns_ = change_ = 0;
  fits(pair);
  return !known;
}

void Publisher::steered(const Steered& what) {
  if (kernel_.empty()) return;
  first_.kernel = first_.kernel + what.step;
  change_ = std::abs(what.rate_ns_per_s);
  if (change_ * std::chrono::duration<double>(what.within).count() > kMostUncertain_ns) {
    return kernel_.forget();
  }
  const double t = seconds(what.at);
  moved_ns_ = steered_ns(t);
  steered_t_ = t;
  steered_rate_ += what.rate_ns_per_s;
}

double Publisher::overhead_ns() const {
  return radius_ns_ + contract_.gnss.fixed_ns + contract_.host.phase_noise_ns +
         contract_.kernel.phase_noise_ns;
}

Duration Publisher::bound(const Estimate& estimate) const {
  return rounded_up(estimate.radius() + overhead_ns() + growth_ * contract_.publish_interval_s);
}

ClockState Publisher::state(const Estimator& estimator, const Estimate& utc, std::int64_t leap_s) {
  const double t = seconds(newest_.host);
  // kernel - host: `whole` and an interval of nanoseconds.
  const std::int64_t whole = first_.kernel.ns - first_.host.ns;
  const Interval ahead = kernel_.at(t) + steered_ns(t);
  const Interval drift = kernel_.frequency(t + horizon_s()) + steered_rate_;

  ClockState state;
  // The moment of the pair, as the middle of what the kernel's clock may have read then.
  state.as_of = KernelTime{newest_.host.ns + whole + rounded(ahead.middle())};
  state.offset = Duration(newest_.host.ns + estimator.utc_minus_host(utc.serve) -
                          leap_s * kNsPerSecond - state.as_of.ns);
  // d(UTC - kernel) / d kernel, both known per ns of host time.
  const double stretch = 1 + drift.middle() * 1e-9;
  const double rate = (utc.frequency.middle() - drift.middle()) / stretch;
  state.rate = rounded(rate * 1e-9 * static_cast<double>(std::int64_t{1} << ClockState::kRateBits));
  const double growth =
      (utc.frequency.radius() + drift.radius()) / (stretch - drift.radius() * 1e-9);
  state.growth_ppb = static_cast<std::int64_t>(std::ceil(growth)) + 1;
  radius_ns_ = ahead.radius();
  growth_ = growth;
  // Just after its rate was changed: for what is asked about the moments before.
  constexpr double kLag = std::chrono::duration<double>(kReadersLag).count();
  const double before = t - steered_t_ < kLag ? change_ * kLag : 0;
  state.error_bound = rounded_up(utc.radius() + overhead_ns() + before);
  state.void_after = state.as_of + Duration(static_cast<std::int64_t>(horizon_s() * 1e9));
  return state;
}

}  // namespace timeball::refclock
