// The models keep within the contract by construction, and worlds can be repeated.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "refclock/sim/gnss_receiver.h"
#include "refclock/sim/world.h"

namespace timeball::refclock::sim {
namespace {

// |x(t + u) - x(t) - y u| has an envelope; frequencies are looked at as means over `dt`.
void expect_within(const OscillatorLimits& limits, const std::vector<double>& phase, double dt) {
  const std::size_t n = phase.size();
  for (const std::size_t lag : {std::size_t{1}, std::size_t{10}, std::size_t{100}, n / 4, n / 2}) {
    for (std::size_t i = 0; i + lag + 1 < n; i += 1 + lag / 3) {
      const double tau = static_cast<double>(lag) * dt;
      const double y0 = (phase[i + 1] - phase[i]) / dt;
      const double y1 = (phase[i + lag + 1] - phase[i + lag]) / dt;
      const double noise = 2 * (limits.phase_noise_ns + limits.noise_rate * 1e9 * dt) / dt;
      const double steps = limits.step * (1 + std::floor((tau + dt) / limits.step_interval_s));
      const double allowed =
          1e9 * (limits.wander + std::min(limits.drift_per_s * (tau + dt), limits.drift_range) +
                 steps) +
          noise;
      ASSERT_LE(std::abs(y1 - y0), allowed * (1 + 1e-9)) << "at " << i << " lag " << lag;
      ASSERT_LE(std::abs(y0), limits.frequency_max * 1e9 + noise);
    }
  }
}

class Models : public testing::TestWithParam<bool> {};

TEST_P(Models, TheRubidiumKeepsItsContract) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    Random random(seed);
    Rubidium rubidium({}, random, GetParam());
    std::vector<double> phase;
    for (int t = 0; t < 6 * 86400; ++t) {
      rubidium.advance(random, 2.5 * std::sin(t / 10000.0));
      if (t % 60 == 0) phase.push_back(rubidium.phase_ns());
    }
    expect_within(RubidiumContract{}.limits(), phase, 60);
  }
}

TEST_P(Models, TheHostsCrystalKeepsItsContract) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    Random random(seed);
    HostCrystal host({}, random, GetParam());
    std::vector<double> phase;
    for (int t = 0; t < 40'000; ++t) {
      host.advance(random);
      phase.push_back(host.phase_ns(0));
      phase.push_back(host.phase_ns(0.5));
    }
    expect_within(HostContract{}.limits(), phase, 0.5);
  }
}

TEST_P(Models, TheReceiversPulseKeepsItsContract) {
  const GnssContract contract;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    GnssReceiver receiver(contract, random, GetParam());
    double lo = 1e9;
    double hi = -1e9;
    for (int t = 0; t < 20'000; ++t) {
      receiver.advance(random, t);
      const double sawtooth = *receiver.quantisation_ps() * 1e-3;
      ASSERT_LE(std::abs(sawtooth), contract.sawtooth_ns);
      const double corrected = receiver.pulse_ns() + sawtooth;
      lo = std::min(lo, corrected);
      hi = std::max(hi, corrected);
    }
    EXPECT_LE(hi - lo, 2 * contract.variable_ns + 0.01);
    EXPECT_LE(std::max(hi, -lo), contract.fixed_ns + contract.variable_ns + 0.01);
  }
}

INSTANTIATE_TEST_SUITE_P(UsualAndAdverse, Models, testing::Bool());

TEST(GnssReceiver, BridgesHang) {
  Random random(3);
  GnssReceiver receiver({}, random, false);
  int hanging = 0;
  int longest = 0;
  double before = 0;
  for (int t = 0; t < 200'000; ++t) {
    receiver.advance(random, t);
    const double sawtooth = *receiver.quantisation_ps() * 1e-3;
    hanging = std::abs(sawtooth - before) < 0.5 ? hanging + 1 : 0;
    longest = std::max(longest, hanging);
    before = sawtooth;
  }
  EXPECT_GT(longest, 30);
}

TEST(World, OneSeedMakesOneWorld) {
  Scenario scenario;
  scenario.event_h = 3;
  scenario.outage_h = 2;
  WorldOptions options;
  options.days = 0.3;
  options.seed = 5;
  const WorldResult a = run_world(scenario, options);
  const WorldResult b = run_world(scenario, options);
  options.seed = 6;
  const WorldResult c = run_world(scenario, options);
  EXPECT_EQ(a.worst_served_error_ns, b.worst_served_error_ns);
  EXPECT_NE(a.worst_served_error_ns, c.worst_served_error_ns);
  EXPECT_EQ(a.violations, 0U);
  EXPECT_GT(a.checks, 50'000U);
  ASSERT_TRUE(a.holdover[0]);
  EXPECT_GE(a.holdover[0]->bound_ns, a.holdover[0]->error_ns);
}

// The check can fail: an estimator that was told a smaller latency than there is.
TEST(World, AnEstimatorThatIsToldLessIsFoundOut) {
  Scenario scenario;
  scenario.stamps = Stamps::kIrq;
  scenario.adverse = true;
  WorldOptions options;
  options.days = 0.5;
  ClockContract told;
  told.gnss_stamp = told.rubidium_stamp = StampContract::irq();
  told.gnss_stamp.latency_ns /= 2;
  options.claimed = told;
  EXPECT_GT(run_world(scenario, options).violations, 0U);
}

TEST(LogHistogram, QuantilesToThreePercent) {
  LogHistogram h;
  EXPECT_EQ(h.count(), 0U);
  EXPECT_EQ(h.min(), 0);
  for (int i = 1; i <= 1000; ++i) h.add(i);
  EXPECT_NEAR(h.quantile(0.5), 500, 15);
  EXPECT_EQ(h.min(), 1);
  EXPECT_EQ(h.max(), 1000);
  LogHistogram sum;
  sum.add(h);
  sum.add(h);
  EXPECT_EQ(sum.count(), 2000U);
  EXPECT_NEAR(sum.quantile(0.9), 900, 27);
}

}  // namespace
}  // namespace timeball::refclock::sim
