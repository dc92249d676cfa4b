#include "refclock/sim/oscillators.h"

#include <algorithm>

namespace timeball::refclock::sim {

double Flicker::step16(Random& random, double limit) {
  double sum = 0;
  double corner = 64;
  for (double& part : parts_) {
    const double keep = 1 - 16 / corner;
    part = keep * part + std::sqrt(1 - keep * keep) * random.normal();
    sum += part;
    corner *= 10;
  }
  return std::clamp(floor_ * sum * 0.7, -limit, limit);
}

Rubidium::Rubidium(const RubidiumContract& contract, Random& random, bool adverse)
    : contract_(contract),
      adverse_(adverse),
      base_(random.within(0.5e-9) * 1e9),
      drift_(contract.drift_per_s * 1e9 * (adverse ? 1 : random.within(1))),
      temperature_sign_(random.chance(0.5) ? 1 : -1),
      flicker_noise_(1e-12 * 1e9),
      steps_per_day_(adverse ? 1 : 0.05),
      side_(random, random.scale(30, 2 * 86400)) {}

void Rubidium::maybe_step(Random& random) {
  if (++since_step_s_ <= contract_.step_interval_s || pushed_) return;
  if (!adverse_ && !random.chance(steps_per_day_ / 86400)) return;
  if (adverse_ && !random.chance(1.0 / 7200)) return;
  const double limit = contract_.step * 1e9;
  const double by = adverse_ ? (random.chance(0.5) ? limit : -limit)
                             : std::clamp(random.normal() * 1e-11 * 1e9, -limit, limit);
  if (std::abs(base_ + by) < contract_.frequency_max * 0.9e9) base_ += by;
  since_step_s_ = 0;
}

// White FM, in a corridor that follows it: its increments stay within the contract's line.
void Rubidium::whiten(Random& random) {
  const double half = contract_.phase_noise_ns / 2;
  white_ += adverse_ ? side_.step(random) * 1.0 : random.normal() * 2e-11 * 1e9;
  const double rate = contract_.noise_rate * 1e9;
  centre_ += std::clamp(white_ - centre_, -rate, rate);
  white_ = std::clamp(white_, centre_ - half, centre_ + half);
}

void Rubidium::step_as_allowed(double side) {
  if (since_step_s_ <= contract_.step_interval_s) return;
  base_ += contract_.step * 1e9 * side;
  since_step_s_ = 0;
}

void Rubidium::push(double side) {
  pushed_ = true;
  side_.hold(side);
  drift_ = std::abs(drift_) * side;
  step_as_allowed(side);
}

void Rubidium::advance(Random& random, double temperature_c) {
  const double half_range = contract_.temperature_range_c / 2;
  const double flicker_limit = contract_.flicker_range * 1e9 / 2;
  maybe_step(random);
  whiten(random);
  if (adverse_) {
    temperature_side_ = side_.step(random);
    lagged_c_ = temperature_side_ * half_range * temperature_sign_;
    flicker_ = temperature_side_ * flicker_limit;
  } else {
    lagged_c_ += (std::clamp(temperature_c, -half_range, half_range) - lagged_c_) / 1800;
    if (seconds_ % 16 == 0) flicker_ = flicker_noise_.step16(random, flicker_limit);
  }
  ++seconds_;
  base_ += drift_;
  frequency_ = base_ + temperature_sign_ * lagged_c_ * contract_.per_celsius * 1e9 + flicker_;
  phase_ += frequency_;
}

HostCrystal::HostCrystal(const HostContract& contract, Random& random, bool adverse)
    : contract_(contract),
      adverse_(adverse),
      base_(random.within(contract.frequency_max * 0.9) * 1e9),
      slow_(base_),
      slope_side_(random, random.scale(2, 3000)),
      fast_side_(random, random.scale(2, 100)) {}

void HostCrystal::advance(Random& random) {
  phase_ = phase_ns(1);
  moved_ += slope_;
  slow_ = base_ + moved_;
  const double steepest = contract_.drift_per_s * 1e9;
  const double range = contract_.drift_range * 1e9 / 2;
  const double fast_limit = contract_.wander * 1e9 / 2;
  if (adverse_) {
    slope_ = slope_side_.step(random) * steepest;
    fast_ = fast_side_.step(random) * fast_limit;
  } else {
    slope_ = std::clamp(slope_ * 0.99 + random.normal() * steepest * 0.02 - moved_ * 1e-5,
                        -steepest, steepest);
    fast_ = std::clamp(fast_ * 0.9 + random.normal() * 0.3, -fast_limit, fast_limit);
  }
  if (std::abs(moved_ + slope_) > range) slope_ = 0;
}

}  // namespace timeball::refclock::sim
