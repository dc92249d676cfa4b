#include <gtest/gtest.h>

#include <cmath>

#include "refclock/estimator.h"
#include "refclock/rounding.h"

namespace timeball::refclock {
namespace {

using Verdict = Estimator::Verdict;

// Pulses of ideal clocks, seen by a host that is fast by `host_fast`, each moved as the test likes.
class EstimatorTest : public testing::Test {
 protected:
  static constexpr std::int64_t kFirst = 1'800'000'000;

  HostTime host(double utc_s) const {
    return {std::llround(utc_s * 1e9 * (1 + host_fast)) + std::llround(host_moved_ns)};
  }
  Verdict rubidium(int n, double moved_ns = 0) {
    return estimator.rubidium_pulse(host(n + 0.3 + moved_ns * 1e-9), 50);
  }
  Verdict gnss(int n, double moved_ns = 0, bool learn = true) {
    Estimator::GnssPulse pulse{host(n + moved_ns * 1e-9), kFirst + n, 50, 0.0};
    return estimator.gnss_pulse(pulse, learn);
  }
  void second(int n, double gnss_moved_ns = 0) {
    rubidium(n - 1);
    ASSERT_EQ(gnss(n, gnss_moved_ns), Verdict::kFits) << n;
    estimator.tick(host(n + 0.5));
  }
  // By how much the estimate is wrong at a time, in ns; and whether it holds the truth.
  double error(double utc_s) {
    const Estimate e = estimator.at(host(utc_s), 0);
    const double truth =
        static_cast<double>(static_cast<std::int64_t>(utc_s * 1e9) + kFirst * 1'000'000'000 -
                            host(utc_s).ns - estimator.utc_minus_host(0));
    EXPECT_TRUE(e.phase.widened(1).contains(truth))
        << e.phase.lo << " " << truth << " " << e.phase.hi;
    return e.serve - truth;
  }

  double host_fast = 3e-5;
  double host_moved_ns = 0;
  Estimator estimator{ClockContract{}};
};

TEST_F(EstimatorTest, OnePulseIsATimeAndSomeMakeItGood) {
  EXPECT_FALSE(estimator.known());
  EXPECT_EQ(gnss(0), Verdict::kFits);
  EXPECT_TRUE(estimator.known());
  EXPECT_LT(std::abs(error(0.5)), 60'000);  // the crystal's 100 ppm, for half a second
  for (int n = 1; n < 30; ++n) second(n);
  EXPECT_TRUE(estimator.rubidium_known());
  EXPECT_LT(std::abs(error(29.5)), 100);
  EXPECT_LT(estimator.at(host(29.5), 0).radius(), 300);
}

TEST_F(EstimatorTest, TheRubidiumCarriesTimeThroughAnOutage) {
  for (int n = 0; n < 6 * 3600; ++n) second(n);
  for (int n = 6 * 3600; n < 7 * 3600; ++n) {
    rubidium(n - 1);
    estimator.tick(host(n + 0.5));
  }
  EXPECT_LT(std::abs(error(7 * 3600)), 400);
  EXPECT_LT(estimator.at(host(7 * 3600), 0).radius(), 1000);
}

TEST_F(EstimatorTest, LosingTheRubidiumInHoldoverFindsTheCrystalUpToDate) {
  for (int n = 0; n < 3600; ++n) second(n);
  for (int n = 3600; n < 5000; ++n) {
    rubidium(n - 1);
    estimator.tick(host(n + 0.5));
  }
  estimator.rubidium_lost();
  EXPECT_FALSE(estimator.rubidium_known());
  EXPECT_TRUE(estimator.known());
  EXPECT_LT(std::abs(error(5010)), 5000);
}

TEST_F(EstimatorTest, OneStrayPulseIsDropped) {
  for (int n = 0; n < 60; ++n) second(n);
  rubidium(59);
  const Estimate before = estimator.at(host(60.2), 0);
  EXPECT_EQ(gnss(60, 5000), Verdict::kMisfit);
  EXPECT_EQ(estimator.at(host(60.2), 0).phase, before.phase);
  rubidium(60);
  EXPECT_EQ(gnss(61), Verdict::kFits);
}

TEST_F(EstimatorTest, AReceiverThatStepsIsToldFromARubidiumThatDoes) {
  for (int n = 0; n < 60; ++n) second(n);
  Verdict verdict = Verdict::kFits;
  for (int n = 60; n < 63; ++n) {
    EXPECT_EQ(rubidium(n - 1), Verdict::kFits);
    verdict = gnss(n, 5000);
  }
  EXPECT_EQ(verdict, Verdict::kStep);
  EXPECT_TRUE(estimator.rubidium_known());
  EXPECT_LT(std::abs(error(63)), 200);

  for (int n = 63; n < 66; ++n) verdict = rubidium(n, 5000);
  EXPECT_EQ(verdict, Verdict::kStep);
  EXPECT_FALSE(estimator.rubidium_known());
}

TEST_F(EstimatorTest, AHostThatJumpsIsNoWitness) {
  for (int n = 0; n < 60; ++n) second(n);
  host_moved_ns = 10'000;
  Verdict verdict = Verdict::kFits;
  for (int n = 60; n < 64 && verdict != Verdict::kHost; ++n) {
    verdict = rubidium(n - 1);
    if (verdict != Verdict::kHost) verdict = gnss(n);
  }
  EXPECT_EQ(verdict, Verdict::kHost);
  EXPECT_FALSE(estimator.known());
}

TEST_F(EstimatorTest, WithoutARubidiumAStepCannotBeAttributedAndTimeIsLost) {
  for (int n = 0; n < 60; ++n) ASSERT_EQ(gnss(n), Verdict::kFits);
  EXPECT_EQ(gnss(60, 5000), Verdict::kMisfit);
  EXPECT_EQ(gnss(61, 5000), Verdict::kMisfit);
  EXPECT_EQ(gnss(62, 5000), Verdict::kStep);
  EXPECT_FALSE(estimator.known());
}

// GNSS walks off at 1e-8: neither is known to be wrong, and the interval covers both.
TEST_F(EstimatorTest, WhenGnssAndRubidiumPartTheIntervalCoversBoth) {
  for (int n = 0; n < 4 * 3600; ++n) second(n);
  int n = 4 * 3600;
  double walked = 0;
  for (; n < 5 * 3600; ++n, walked += 10) {
    rubidium(n - 1);
    if (gnss(n, walked) == Verdict::kSlope) break;
    estimator.tick(host(n + 0.5));
  }
  ASSERT_LT(n, 4 * 3600 + 120);
  const double served = error(n + 0.5);
  for (const int end = n + 3600; n < end; ++n, walked += 10) {
    rubidium(n - 1);
    gnss(n, walked, false);
    estimator.tick(host(n + 0.5));
  }
  EXPECT_NEAR(error(n), served, 300);  // GNSS does not move the time any more
  const Estimate e = estimator.at(host(n), 0);
  EXPECT_GT(e.radius(), 35'000);  // but how wrong it may be
  EXPECT_LT(e.radius(), 50'000);
  // As long as it runs at another frequency it does not come back by itself.
  EXPECT_FALSE(estimator.readmit(host(n), false));
  EXPECT_TRUE(estimator.readmit(host(n), true));
}

TEST_F(EstimatorTest, SecondsAreNumberedWhileThereIsNoDoubt) {
  EXPECT_EQ(estimator.second_at(host(0)), std::nullopt);
  for (int n = 0; n < 20; ++n) ASSERT_EQ(gnss(n), Verdict::kFits);
  EXPECT_EQ(estimator.second_at(host(1000.2)), kFirst + 1000);
  EXPECT_EQ(estimator.second_at(host(30e6)), std::nullopt);  // a year later
}

TEST_F(EstimatorTest, AMissingSawtoothCorrectionWidens) {
  Estimator with{ClockContract{}};
  Estimator without{ClockContract{}};
  with.gnss_pulse({HostTime{0}, kFirst, 50, 0.0}, true);
  without.gnss_pulse({HostTime{0}, kFirst, 50, std::nullopt}, true);
  EXPECT_NEAR(without.at(HostTime{0}, 0).radius() - with.at(HostTime{0}, 0).radius(), 10.5, 0.01);
}

TEST_F(EstimatorTest, TheSawtoothCorrectionIsAddedToTheStamp) {
  estimator.gnss_pulse({HostTime{0}, kFirst, 50, 8.0}, true);
  // The second was 8 ns after the stamp, so UTC at the stamp was 8 ns before the second.
  EXPECT_NEAR(estimator.at(HostTime{0}, 0).serve, -8, 0.01);
}

TEST_F(EstimatorTest, InterruptLatencyIsOneSided) {
  ClockContract contract;
  contract.gnss_stamp = StampContract::irq();
  Estimator irq(contract);
  irq.gnss_pulse({HostTime{0}, kFirst, 50, 0.0}, true);
  const Interval phase = irq.at(HostTime{0}, 0).phase;
  EXPECT_NEAR(phase.lo, -90 - 4, 3);
  EXPECT_NEAR(phase.hi, 20'000 + 90 + 4, 6);
}

TEST(Rounded, IsLlround) {
  for (const double x : {0.0, 0.25, 0.49999999999999994, 0.5, 0.75, 1.5, 2.5, 1e9 + 0.5,
                         0x1p52 - 0.5, 0x1p52 + 1, 0x1p53 - 1, 1.8e18}) {
    EXPECT_EQ(rounded(x), std::llround(x)) << x;
    EXPECT_EQ(rounded(-x), std::llround(-x)) << -x;
  }
}

}  // namespace
}  // namespace timeball::refclock
