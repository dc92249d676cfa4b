// What is known of one clock's phase against another's, as an interval that holds the truth
// whenever the two keep within their limits (OscillatorLimits). The discipline owns a few; its
// thread calls. Pure: time is an argument, in seconds on any scale that is right to 1e-3; phase is
// in ns, frequency in ns/s.
//
// The mathematics. Phase x moves by its frequency y and by noise n: x(t+u) - x(t) = int y + n.
// The limits say |y(s) - y(t)| <= F(|s - t|), |n| <= w0 + w1 u.
//  1. A measurement says x(t) in Z. What was known of x(t) is intersected with Z.
//  2. Two such intervals X_i, X_j, T apart, hold the mean frequency of the window between them:
//     m in (X_j - X_i +- (w0 + w1 T)) / T. Since m is the mean of y over the window,
//     |y(t_j + u) - m| <= mean over v in [0, T] of F(u + v), written F(T, u) below.
//  3. So y(t) lies in Y(t), the intersection over some windows of m +- F(T, t - t_j), and
//     x(t+u) in X(t) + int Y +- (w0 + w1 u). w0 is paid once for a measurement, not once a step.
//  4. 3 lets the frequency be at its worst at every moment, though no one world is. From t_j on,
//     x(t_j+u) in X_j + m u +- (Phi(T, u) + w0 + w1 u), where Phi is the most that int y can differ
//     from m u. Steps of at most s, at least P apart, add s (u + int floor(v / P) dv over [0, u])
//     to it when T <= P: with the steps at -a, P - a, 2P - a, .. the difference is
//     s (1 - a/T) u + s sum (u - kP + a)+, convex in a, largest at a = 0 (and a = T gives no more).
// Each line is a true statement about the same world, hence so is every intersection of them.
// Intervals, no zonotope: a step that may have come just before the last measurement and one that
// may come after it are one and the same step in 2 and 4 (counted once), which is what a plain
// recursion on (X, Y) would lose.
//
// Data that contradict what is known change nothing: measure() says so and the caller decides.
// `distrust` then gives up what may have been learnt from bad data, and only ever widens.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

#include "refclock/clock_contract.h"
#include "refclock/interval.h"

namespace timeball::refclock {

// How much of the past is remembered: an anchor every `spacing_s`, `anchors` of them, and windows
// that end at the newest one and begin so many anchors before it (0: not used).
struct PhaseMemory {
  double spacing_s = 1;
  std::size_t anchors = 32;  // a power of two
  std::array<std::size_t, 8> windows{1, 3, 9, 20};
  double horizon_s = 1.1;  // Y is worked out so far ahead
  // Slope test: the mean of so many anchors against that of as many (at least `slope_base`) before.
  // 0: none.
  std::array<std::size_t, 3> slopes{};
  std::size_t slope_base = 0;

  static PhaseMemory host() { return {}; }
  // Of a clock that does not drift.
  static PhaseMemory kernel() { return {1, 32, {1, 5, 24}, 1.1, {}, 0}; }
  // Anchors every five minutes for three days; windows of 10 min to a day; slopes of 1 h, 4 h, a
  // day.
  static PhaseMemory rubidium() {
    return {300, 1024, {2, 6, 12, 36, 96, 144, 192, 280}, 16, {12, 48, 288}, 96};
  }
};

class PhaseBound {
 public:
  PhaseBound(const OscillatorLimits& limits, const PhaseMemory& memory);

  // Nothing is known (yet, or since forget()).
  bool empty() const { return !known_; }
  void forget();

  // The phase at t, which may lie a little (seconds) before the newest measurement. Needs !empty().
  Interval at(double t) {
    if (t < t_) return before(t);
    advance(t);
    return x_;
  }
  // The frequency, noise included, from the newest t asked about to `until`.
  Interval frequency(double until);
  // The mean frequency since the second anchor kept (the first is one raw measurement). Needs
  // three.
  Interval mean_frequency() const;
  // While distrusted: the frequency just before, as the data say that are older than what is
  // distrusted.
  Interval trusted_frequency() const { return trusted_; }

  // x(t) lies in `phase`. False, and nothing learnt, when that contradicts what is known.
  bool measure(double t, Interval phase);
  // False: the mean frequencies of two windows differ by more than the limits allow, on one of the
  // three scales. Of all measurements, those included that were refused: what was learnt has been
  // held to the limits already. Changes only when an anchor is made.
  bool slopes_agree() const { return slopes_agree_; }

  // Whatever was learnt in the last day may be wrong: the hull of what it says, of what the data
  // of more than an hour ago say, and of those of more than a day ago. No measure() until
  // readmit(), which learns afresh from the measurements to come; what is known of the phase stays.
  void distrust(double t);
  void readmit(double t);
  bool distrusted() const { return distrusted_; }

 private:
  struct Anchor {
    double t = 0;
    Interval x;
    Interval measured;  // since the anchor before, all measurements together and nothing else
  };
  // y averaged over `span` seconds up to t lies in `mean`.
  struct Window {
    double t = 0;
    double span = 0;
    Interval mean;
  };
  // The windows that end at one anchor, and of older ones the two that said most.
  struct Family {
    std::array<Window, 10> windows;
    std::size_t size = 0;
    std::size_t lowest = 0;  // which of them set the ends of Y
    std::size_t highest = 0;
  };

  // 0: the newest
  const Anchor& anchor(std::size_t back) const {
    return ring_[(count_ - 1 - back) & (memory_.anchors - 1)];
  }
  std::size_t available() const { return std::min(count_, memory_.anchors); }
  void add_anchor(double t, Interval x);
  template <Interval Anchor::*kOf = &Anchor::x>
  Window window(std::size_t newer, std::size_t older) const;
  void find_windows(Family& family, std::size_t newest) const;
  bool test_slopes();
  double deviation(double span, double u) const;
  double phase_deviation(double span, double u) const;
  Interval from_anchor(double t) const;
  Interval frequency_of(Family& family, double t) const;
  Interval frequency_at(double t);
  Interval with_noise(Interval y) const { return y.widened(noise_rate_); }
  void update_frequency(double until);
  void advance(double t) {
    if (t != t_) move(t);
  }
  void move(double t);
  Interval before(double t) const;
  void gather(Interval phase);

  OscillatorLimits limits_;  // in ns/s
  double noise_ns_;
  double noise_rate_;
  PhaseMemory memory_;

  bool known_ = false;
  bool distrusted_ = false;
  bool slopes_agree_ = true;
  double t_ = 0;      // x_ is of this time; its noise_ns_ is paid
  double until_ = 0;  // y_ holds up to here
  Interval x_;
  Interval y_;
  Interval trusted_;
  std::optional<Interval> measured_;  // at t_
  std::vector<Anchor> ring_;
  std::size_t count_ = 0;  // anchors ever made
  std::array<Family, 3> families_;
  std::size_t family_count_ = 0;
};

}  // namespace timeball::refclock
