// Oscillators that keep within their contract by construction: a rubidium and the host's crystal,
// advanced a second at a time. Noise as datasheets describe it (white and flicker FM, random walk,
// ageing, temperature with lag, sudden steps), clamped at the contract's limits; or adverse, where
// every part sits at one of its limits and changes sides now and then. Owned by a World. Pure.
//
// Phases in ns, frequencies in ns/s.
#pragma once

#include <array>

#include "refclock/clock_contract.h"
#include "refclock/sim/random.h"

namespace timeball::refclock::sim {

// A value at one of two limits, which changes sides at random, on average every `period_s`.
class BangBang {
 public:
  BangBang(Random& random, double period_s)
      : per_second_(1 / period_s), side_(random.chance(0.5) ? 1 : -1) {}

  double step(Random& random) {
    if (random.chance(per_second_)) side_ = -side_;
    return side_;
  }
  // Stays on this side.
  void hold(double side) {
    side_ = side;
    per_second_ = 0;
  }

 private:
  double per_second_;
  double side_;
};

// Flicker FM and its random walk: AR(1) processes whose corner times are decades apart.
class Flicker {
 public:
  explicit Flicker(double floor) : floor_(floor) {}
  // Called every 16 s; clamped to +-limit.
  double step16(Random& random, double limit);

 private:
  double floor_;
  std::array<double, 5> parts_{};
};

class Rubidium {
 public:
  Rubidium(const RubidiumContract& contract, Random& random, bool adverse);

  // One second on, the base plate being `temperature` away from its mean (at most half the range).
  void advance(Random& random, double temperature_c);
  // Its phase against UTC at the newest second.
  double phase_ns() const { return phase_ + white_; }
  double frequency() const { return frequency_; }
  // A step as large as the contract allows, if it allows one now.
  void step_as_allowed(double side);
  // These leave the contract.
  void step_frequency(double by) { base_ += by; }
  void step_phase(double by_ns) { phase_ += by_ns; }
  // Adverse: everything that can push in one direction does so, from now on.
  void push(double side);
  double temperature_side() const { return temperature_side_; }

 private:
  void maybe_step(Random& random);
  void whiten(Random& random);

  RubidiumContract contract_;
  bool adverse_;
  double base_;
  double drift_;
  double temperature_sign_;
  double lagged_c_ = 0;
  double phase_ = 0;
  double white_ = 0;
  double centre_ = 0;
  double frequency_ = 0;
  double flicker_ = 0;
  Flicker flicker_noise_;
  double steps_per_day_;
  double since_step_s_ = 86400;
  double temperature_side_ = 0;
  bool pushed_ = false;
  BangBang side_;
  std::uint64_t seconds_ = 0;
};

// Its own time against UTC. Within a second the frequency moves on a straight line.
class HostCrystal {
 public:
  HostCrystal(const HostContract& contract, Random& random, bool adverse);

  void advance(Random& random);
  // Host time minus UTC, `fraction` of a second after the newest second, without reading noise.
  double phase_ns(double fraction) const {
    return phase_ + (slow_ + fast_) * fraction + slope_ * fraction * fraction / 2;
  }
  // What reading it adds.
  double reading_ns(Random& random) const { return random.within(contract_.phase_noise_ns / 2); }
  void step_frequency(double by) { base_ += by; }

 private:
  HostContract contract_;
  bool adverse_;
  double base_;
  double phase_ = 0;
  double slow_ = 0;  // base_ included
  double moved_ = 0;
  double slope_ = 0;
  double fast_ = 0;
  BangBang slope_side_;
  BangBang fast_side_;
};

}  // namespace timeball::refclock::sim
