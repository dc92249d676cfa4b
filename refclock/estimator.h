// From stamped pulses to an interval that holds UTC. Knows seconds by their numbers, edges by
// HostTime; labels, states and leap seconds are the discipline's, which owns this. Pure.
//
// Three PhaseBounds, each between two clocks:
//
//   gnss_      UTC as the receiver's pulses tell it, over the host's crystal   (good for seconds)
//   count_     the rubidium's count of its own seconds, over the host's crystal
//   training_  UTC over the rubidium's count                       (good for days: the holdover)
//
// UTC at a host time lies in gnss_ and in count_ + training_. In holdover only the second learns,
// and hands its interval to the first, so that losing the rubidium too finds it up to date; a
// rubidium that comes in an outage begins with what the first still knows. The rubidium runs free
// ("paper clock") while it is used: nothing is steered, so nothing that steering adds is in it.
//
// Pulses that do not fit are not used; three in a row are evidence, and so are three in some
// minutes that only just do not: in the contract there are none. Against the host's crystal, which
// saw the same receiver a moment ago: the receiver stepped (kStep), the rubidium is right. Against
// the rubidium only: one of the two has left its limits (kSlope) and nothing here tells which:
// `training_` is distrusted, time goes on by the rubidium, and the interval also covers what GNSS
// says for as long as it goes on without a step. Against both at once, or without a rubidium that
// could tell: the crystal is no witness (kHost), and time is lost.
#pragma once

#include <cstdint>
#include <optional>

#include "refclock/clock_contract.h"
#include "refclock/observations.h"
#include "refclock/phase_bound.h"

namespace timeball::refclock {

// UTC - host time at one moment, in ns against a base that the estimator keeps; the receiver's
// fixed error is not in it.
struct Estimate {
  Interval phase;
  double serve = 0;    // inside `phase`: the middle, or what the rubidium alone says
  Interval frequency;  // ns/s, from then to the horizon asked for; 0 when none was
  double radius() const { return std::max(phase.hi - serve, serve - phase.lo); }
};

class Estimator {
 public:
  enum class Verdict : std::uint8_t { kFits, kMisfit, kStep, kSlope, kHost };

  // The pulse of second `number`, corrected for its sawtooth when that is known.
  struct GnssPulse {
    HostTime edge;
    std::int64_t number = 0;
    double reading_error_ns = 0;
    std::optional<double> quantisation_ns;
  };

  explicit Estimator(const ClockContract& contract);

  // kStep: it is not where the host's crystal says, for the third time running; the rubidium has
  // been forgotten. kHost: nor are GNSS's; everything has been.
  Verdict rubidium_pulse(HostTime edge, double reading_error_ns);
  // Its phase or frequency is a new one: forget it. What it said of UTC is kept.
  void rubidium_lost() {
    count_.forget();
    training_.forget();
  }
  // Only judges when `learn` is false (GNSS is excluded).
  Verdict gnss_pulse(const GnssPulse& pulse, bool learn);
  // What other sources agree on: UTC - host time = offset_ns + rest. Judged like a pulse.
  Verdict sources(HostTime at, std::int64_t offset_ns, Interval rest, bool learn);
  // Once a second.
  void tick(HostTime now);
  // After an exclusion: false, and nothing changed, while GNSS runs at another frequency than the
  // rubidium had before.
  bool readmit(HostTime now, bool forced);
  void forget();

  bool known() const { return !gnss_.empty() || rubidium_known(); }
  bool rubidium_known() const { return !count_.empty() && !training_.empty(); }
  // Needs known(). With a horizon: the frequency holds for `horizon_s` from `at`.
  Estimate at(HostTime at);
  Estimate at(HostTime at, double horizon_s);
  // The number of the second nearest to `at`; nothing when that is in doubt.
  std::optional<std::int64_t> second_at(HostTime at);
  // UTC - host time for a phase, in ns since the second with number 0.
  std::int64_t utc_minus_host(double phase_ns) const;

 private:
  double seconds(HostTime t) const { return static_cast<double>(t.ns - epoch_.ns) * 1e-9; }
  Interval stamped(std::int64_t number, HostTime edge, const StampContract& stamp,
                   double reading_error_ns) const;
  Interval frequency(double until);
  bool witness_fits(double t, Interval phase) const;
  void cover(double t, Interval phase);
  void start(HostTime at);
  Verdict take(double t, Interval utc, bool may_learn);
  Verdict judge(double t, Interval utc, Interval phase);
  void learn(double t, Interval utc, Interval phase);

  ClockContract contract_;
  double unlock_ns_;  // so far the rubidium may be off before it says that it is unlocked
  PhaseBound gnss_;
  PhaseBound count_;
  PhaseBound training_;
  PhaseBound trial_;  // like training_, of the pulses since GNSS was excluded
  HostTime epoch_;
  std::int64_t base_ = 0;  // the number of the second at epoch_, nearly
  bool started_ = false;
  double gnss_misfits_ = 0;
  double near_misfits_ = 0;
  int rubidium_misfits_ = 0;
  double last_learnt_ = 0;
  bool stepped_ = false;  // GNSS is known to be the one that is wrong
  // While distrusted: UTC over the rubidium's count as GNSS has it.
  struct Witness {
    double t = 0;
    Interval newest;
    Interval all;
  };
  std::optional<Witness> witness_;
};

}  // namespace timeball::refclock
