#include <gtest/gtest.h>

#include <cmath>

#include "refclock/phase_bound.h"
#include "refclock/sim/random.h"

namespace timeball::refclock {
namespace {

using sim::Random;

// 1 ns/s at most, nothing else moves.
OscillatorLimits steady() {
  OscillatorLimits limits;
  limits.frequency_max = 1e-9;
  return limits;
}

OscillatorLimits rubidium() {
  return RubidiumContract{}.limits();
}

// An oscillator within its limits whose steps, wander and drift are as hostile as they may be.
class Hostile {
 public:
  Hostile(const OscillatorLimits& limits, Random& random)
      : limits_(limits), random_(random), base_(random.within(0.5e-9) * 1e9), side_(1) {}

  // dt seconds on.
  double advance(double dt) {
    since_step_ += dt;
    if (since_step_ > limits_.step_interval_s && random_.chance(dt / 20000)) {
      base_ += limits_.step * 1e9 * (random_.chance(0.5) ? 1 : -1);
      since_step_ = 0;
    }
    if (random_.chance(dt / 3000)) side_ = -side_;
    base_ += side_ * limits_.drift_per_s * 1e9 * dt;
    phase_ += (base_ + side_ * limits_.wander * 1e9 / 2) * dt;
    return phase_;
  }

 private:
  OscillatorLimits limits_;
  Random& random_;
  double base_;
  double side_;
  double phase_ = 0;
  double since_step_ = 1e9;
};

TEST(PhaseBound, KnowsNothingBeforeTheFirstMeasurement) {
  PhaseBound bound(steady(), PhaseMemory::host());
  EXPECT_TRUE(bound.empty());
  EXPECT_TRUE(bound.measure(10, {100, 200}));
  EXPECT_FALSE(bound.empty());
  EXPECT_EQ(bound.at(10).lo, 100);
  EXPECT_EQ(bound.at(10).hi, 200);
  bound.forget();
  EXPECT_TRUE(bound.empty());
}

TEST(PhaseBound, GrowsByTheLargestFrequencyUntilOneIsKnown) {
  PhaseBound bound(steady(), PhaseMemory::host());
  bound.measure(0, {0, 0});
  const Interval after = bound.at(100);
  EXPECT_NEAR(after.hi, 100, 0.2);
  EXPECT_NEAR(after.lo, -100, 0.2);
}

TEST(PhaseBound, LearnsTheFrequencyFromPairsOfMeasurements) {
  PhaseBound bound(steady(), PhaseMemory::host());
  for (int t = 0; t <= 20; ++t) {
    ASSERT_TRUE(bound.measure(t, Interval::around(0.5 * t, 1)));
  }
  // 20 s apart, each to +-1 ns: the frequency to +-0.1 ns/s.
  const Interval y = bound.frequency(21);
  EXPECT_TRUE(y.contains(0.5));
  EXPECT_LT(y.radius(), 0.11);
  EXPECT_TRUE(bound.at(40).contains(20));
}

TEST(PhaseBound, RefusesWhatContradictsAndLearnsNothingOfIt) {
  PhaseBound bound(steady(), PhaseMemory::host());
  for (int t = 0; t < 20; ++t) bound.measure(t, Interval::around(0, 1));
  PhaseBound other = bound;
  EXPECT_FALSE(other.measure(20, Interval::around(50, 1)));
  EXPECT_NEAR(other.at(21).lo, bound.at(21).lo, 1e-9);
  EXPECT_NEAR(other.at(21).hi, bound.at(21).hi, 1e-9);
}

TEST(PhaseBound, AMeasurementOfTheRecentPastIsBroughtForward) {
  PhaseBound bound(steady(), PhaseMemory::host());
  for (int t = 0; t < 10; ++t) bound.measure(t, Interval::around(0, 10));
  (void)bound.at(10);
  EXPECT_TRUE(bound.measure(9.5, Interval::around(3, 1)));
  EXPECT_TRUE(bound.at(10).contains(3));
  EXPECT_LE(bound.at(10).radius(), 2);
  // And the phase of the recent past can be asked for.
  EXPECT_TRUE(bound.at(9.5).contains(3));
}

TEST(PhaseBound, NoiseIsPaidOnceForAMeasurementNotOnceASecond) {
  OscillatorLimits limits = steady();
  limits.phase_noise_ns = 5;
  PhaseBound bound(limits, PhaseMemory::host());
  for (int t = 0; t < 100; ++t) bound.measure(t, {-1, 1});
  const double start = bound.at(100).radius();
  double before = start;
  for (int t = 101; t < 200; ++t) {
    const double radius = bound.at(t).radius();
    EXPECT_LT(radius - before, 1.0);
    before = radius;
  }
}

// The promise, against an adversary, through two outages.
TEST(PhaseBound, HoldsTheTruthInEveryWorldWithinTheLimits) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Random random(seed);
    Hostile truth(rubidium(), random);
    PhaseBound bound(rubidium(), PhaseMemory::rubidium());
    double x = 0;
    for (int t = 0; t < 9 * 86400; t += 30) {
      const bool outage = (t > 2 * 86400 && t < 4 * 86400) || (t > 6 * 86400 && t < 7.5 * 86400);
      if (!outage) {
        const double error = random.chance(0.5) ? 100 : -100;
        ASSERT_TRUE(bound.measure(t, Interval::around(x + error, 100.001))) << seed << " at " << t;
      }
      ASSERT_TRUE(bound.at(t).widened(1e-3).contains(x)) << seed << " at " << t;
      ASSERT_TRUE(bound.slopes_agree()) << seed << " at " << t;
      x = truth.advance(30);
    }
  }
}

// Line 4 of the header, tried with steps at random moments, as close as they may come.
TEST(PhaseBound, StepsNeverMoveThePhaseFurtherThanTheHeaderSays) {
  const double p = 86400;
  Random random(7);
  double worst = 0;
  for (int n = 0; n < 20'000; ++n) {
    const double span = random.uniform(600, p);
    const double u = random.scale(600, 8 * p);
    double mean = 0;
    double phase = 0;
    for (double at = -span + random.uniform(-p, span); at < u;
         at += p * (random.chance(0.7) ? 1 : random.uniform(1, 2))) {
      const double step = random.chance(0.9) ? 1 : -1;
      mean += step * std::min(1.0, std::max(0.0, -at / span));
      phase += step * (u - std::max(at, 0.0));
    }
    const double m = std::floor(u / p);
    const double limit = u + p * m * (m - 1) / 2 + m * (u - m * p);
    EXPECT_LE(std::abs(phase - mean * u), limit * (1 + 1e-9)) << "span " << span << " u " << u;
    worst = std::max(worst, std::abs(phase - mean * u) / limit);
  }
  EXPECT_GT(worst, 0.9);  // and it is no exaggeration
}

// A walk that no single measurement contradicts: what does not fit is left out, as one would.
TEST(PhaseBound, SlopesOfTheRubidiumAndOfASpooferDiffer) {
  Random random(4);
  PhaseBound bound(rubidium(), PhaseMemory::rubidium());
  double x = 0;
  int t = 0;
  for (; t < 86400; t += 10, x += 1.0) {
    ASSERT_TRUE(bound.measure(t, Interval::around(x + random.within(100), 100)));
  }
  EXPECT_TRUE(bound.slopes_agree());
  for (; bound.slopes_agree() && t < 86400 + 7200; t += 10, x += 1.0 + 0.7) {
    (void)bound.measure(t, Interval::around(x + random.within(100), 100));
  }
  EXPECT_FALSE(bound.slopes_agree());
}

TEST(PhaseBound, DistrustOnlyWidensAndStopsLearning) {
  PhaseBound bound(rubidium(), PhaseMemory::rubidium());
  for (int t = 0; t < 2 * 86400; t += 10) bound.measure(t, Interval::around(0, 100));
  const Interval before = bound.at(2 * 86400);
  const double frequency = bound.frequency(2 * 86400).radius();
  bound.distrust(2 * 86400);
  EXPECT_TRUE(bound.distrusted());
  EXPECT_LE(bound.at(2 * 86400).lo, before.lo);
  EXPECT_GE(bound.at(2 * 86400).hi, before.hi);
  EXPECT_GE(bound.frequency(2 * 86400).radius(), frequency);
  EXPECT_FALSE(bound.measure(2 * 86400 + 1, Interval::around(0, 1)));
  EXPECT_TRUE(bound.trusted_frequency().contains(0));

  bound.readmit(2 * 86400 + 10);
  EXPECT_FALSE(bound.distrusted());
  EXPECT_TRUE(bound.measure(2 * 86400 + 11, Interval::around(0, 1)));
}

}  // namespace
}  // namespace timeball::refclock
