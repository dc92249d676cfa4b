#include <gtest/gtest.h>

#include <cmath>

#include "refclock/publisher.h"

namespace timeball::refclock {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kKernelBase = 1'800'000'000'000'000'000;

// The kernel's clock runs at 1 + rate of the host's.
KernelTime kernel_at(std::int64_t host_ns, double rate, std::int64_t moved_ns = 0) {
  return {kKernelBase + host_ns + std::llround(static_cast<double>(host_ns) * rate) + moved_ns};
}
ClockPair pair(int second, double rate, std::int64_t moved_ns = 0) {
  const std::int64_t host = 1'000'000'000 + second * 1'000'000'000LL;
  return {HostTime{host}, kernel_at(host, rate, moved_ns), 60ns};
}

double rate_ppb(const ClockState& state) {
  return std::ldexp(static_cast<double>(state.rate), -ClockState::kRateBits) * 1e9;
}

class PublisherTest : public testing::Test {
 protected:
  PublisherTest() {
    // UTC is host time and 1.7e9 s.
    for (int n = 0; n < 60; ++n) {
      estimator.gnss_pulse({HostTime{n * 1'000'000'000LL}, 1'700'000'000 + n, 50, 0.0}, true);
    }
  }
  static std::int64_t utc_of(std::int64_t host_ns) { return 1'700'000'000'000'000'000 + host_ns; }
  ClockState publish(int second, double rate, std::int64_t moved_ns = 0) {
    const ClockPair p = pair(second, rate, moved_ns);
    EXPECT_TRUE(publisher.hear(p));
    return publisher.state(estimator, estimator.at(p.host, publisher.horizon_s()), 0);
  }

  Estimator estimator{ClockContract{}};
  Publisher publisher{ClockContract{}};
};

TEST_F(PublisherTest, TheKernelsRateIsInTheState) {
  ClockState state;
  for (int n = 57; n < 80; ++n) state = publish(n, 40e-6);
  EXPECT_NEAR(rate_ppb(state), -40'000, 60);
  for (const std::int64_t age_ms : {0, 500, 1000, 2000}) {
    const std::int64_t host = 80'000'000'000 + age_ms * 1'000'000;
    const KernelTime k = kernel_at(host, 40e-6);
    EXPECT_LE(std::abs(state.utc(k).ns - utc_of(host)), state.root_dispersion(k).count());
    EXPECT_LT(state.root_dispersion(k), 5us);  // 20 s of crystal
  }
}

TEST_F(PublisherTest, TheBoundNamesAllItsParts) {
  const ClockState state = publish(58, 0);
  // Fixed 100, pair 60, noise 6: and the estimate's own.
  const double own = estimator.at(HostTime{59'000'000'000}, 0).radius();
  EXPECT_NEAR(static_cast<double>(state.error_bound.count()), own + 166, 8);
  EXPECT_GT(publisher.bound(estimator.at(HostTime{59'000'000'000}, 0)), state.error_bound);
}

TEST_F(PublisherTest, NothingIsPromisedLongAfterAPublication) {
  const ClockState state = publish(58, 0);
  EXPECT_EQ(state.void_after - state.as_of, 4s);
  EXPECT_LT(state.root_dispersion(state.void_after), 5ms);  // the first pair: no rate known yet
  EXPECT_GT(state.root_dispersion(state.void_after + 1ns), std::chrono::hours(24 * 365));
}

TEST_F(PublisherTest, ForeignSteeringIsNoticedAndFollowed) {
  for (int n = 40; n < 58; ++n) publish(n, 0);
  EXPECT_FALSE(publisher.hear(pair(58, 0, 1'000'000)));
  const ClockPair p = pair(58, 0, 1'000'000);
  const ClockState state =
      publisher.state(estimator, estimator.at(p.host, publisher.horizon_s()), 0);
  EXPECT_LE(std::abs(state.utc(p.kernel).ns - utc_of(p.host.ns)),
            state.root_dispersion(p.kernel).count());
}

TEST_F(PublisherTest, OurOwnSteeringIsNotForeignAndCostsNothing) {
  for (int n = 30; n < 58; ++n) publish(n, 0);
  const std::int64_t growth = publish(58, 0).growth_ppb;
  // From second 58.5 on: 1 ms ahead, and 20 ppm fast.
  publisher.steered({HostTime{59'500'000'000}, 1us, 20'000, 1ms});
  const auto steered = [](double s) {
    ClockPair p = pair(0, 0);
    p.host = HostTime{std::llround(s * 1e9)};
    p.kernel = kernel_at(p.host.ns, 0, 1'000'000 + std::llround((s - 59.5) * 20'000));
    return p;
  };
  const ClockPair p = steered(60);
  EXPECT_TRUE(publisher.hear(p));
  const ClockState state =
      publisher.state(estimator, estimator.at(p.host, publisher.horizon_s()), 0);
  EXPECT_NEAR(rate_ppb(state), -20'000, 50);
  EXPECT_LT(state.growth_ppb, growth + 30);
  for (const double s : {60.0, 61.0, 62.0}) {
    const ClockPair later = steered(s);
    EXPECT_LE(std::abs(state.utc(later.kernel).ns - utc_of(later.host.ns)),
              state.root_dispersion(later.kernel).count());
  }
}

TEST_F(PublisherTest, LeapSecondsArePartOfTheOffset) {
  const ClockPair p = pair(58, 0);
  publisher.hear(p);
  const Estimate e = estimator.at(p.host, 4);
  const ClockState before = publisher.state(estimator, e, 0);
  const ClockState after = publisher.state(estimator, e, 1);
  EXPECT_EQ(before.offset - after.offset, 1s);
}

}  // namespace
}  // namespace timeball::refclock
