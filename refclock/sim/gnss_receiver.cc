#include "refclock/sim/gnss_receiver.h"

#include <algorithm>
#include <numbers>

#include "refclock/rounding.h"

namespace timeball::refclock::sim {

GnssReceiver::GnssReceiver(const GnssContract& contract, Random& random, bool adverse)
    : contract_(contract),
      adverse_(adverse),
      fixed_(adverse ? (random.chance(0.5) ? contract.fixed_ns : -contract.fixed_ns)
                     : random.within(contract.fixed_ns)),
      // 48 MHz (M8) or 125 MHz (F9): the contract allows the slower.
      tick_ns_(random.chance(0.5) ? 2 * contract.sawtooth_ns : 8),
      astray_(random.uniform(1e6, 4e8)),
      cycle_(random.uniform()),
      cycle_rate_(random.within(0.5)),
      day_phase_(random.uniform(0, 2 * std::numbers::pi)),
      side_(random, random.scale(1, 86400)) {}

void GnssReceiver::advance(Random& random, std::int64_t second) {
  // The receiver's clock drifts slowly past its own harmonics, and hangs there.
  cycle_rate_ = std::clamp(cycle_rate_ + random.normal() * 1e-3, -0.5, 0.5);
  cycle_ += cycle_rate_;
  cycle_ -= std::floor(cycle_);
  sawtooth_ = (cycle_ - 0.5) * tick_ns_;
  if (adverse_) {
    error_ = fixed_ + side_.step(random) * contract_.variable_ns;
    return;
  }
  if (second % 16 == 0) {
    const double day = 2 * std::numbers::pi * static_cast<double>(second % 86400) / 86400;
    const double sky = 10 * std::sin(day + day_phase_) + 5 * std::sin(2 * day - day_phase_);
    flicker_ = sky + 0.99 * (flicker_ - sky) + 0.2 * random.normal();
  }
  error_ = fixed_ + std::clamp(flicker_ + 5 * random.normal(), -contract_.variable_ns,
                               contract_.variable_ns);
}

std::optional<std::int32_t> GnssReceiver::quantisation_ps() const {
  if (faults.no_quantisation) return std::nullopt;
  return static_cast<std::int32_t>(rounded(-sawtooth_ * 1e3));
}

}  // namespace timeball::refclock::sim
