#include "server/rate_limiter.h"

#include <gtest/gtest.h>

#include <array>

namespace timeball::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Answer = RateLimiter::Answer;

constexpr MonotonicTime kStart{1'000'000'000'000};

net::IpAddress address(std::string_view text) {
  return net::IpAddress::parse(text).value();
}

RateLimits strict() {
  RateLimits limits;
  limits.enabled = true;
  limits.interval = seconds(1);
  limits.burst = 3;
  limits.let_through = 0;
  limits.table_size = 64;
  return limits;
}

class RateLimiterTest : public testing::Test {
 protected:
  int admitted(RateLimiter& limiter, std::string_view client, MonotonicTime now, int requests) {
    int n = 0;
    for (int i = 0; i < requests; ++i) {
      n += limiter.admit(address(client), now, random_) == Answer::kAdmit ? 1 : 0;
    }
    return n;
  }

  crypto::RandomGenerator random_{std::array<std::uint8_t, crypto::kSeedLength>{7}};
};

TEST_F(RateLimiterTest, DisabledAdmitsEverything) {
  RateLimiter limiter(RateLimits{}, 1);
  EXPECT_EQ(admitted(limiter, "192.0.2.1", kStart, 1000), 1000);
}

TEST_F(RateLimiterTest, BurstThenOneEachInterval) {
  RateLimiter limiter(strict(), 1);
  EXPECT_EQ(admitted(limiter, "192.0.2.1", kStart, 10), 3);
  EXPECT_EQ(admitted(limiter, "192.0.2.1", kStart + milliseconds(999), 10), 0);
  EXPECT_EQ(admitted(limiter, "192.0.2.1", kStart + seconds(1), 10), 1);
  EXPECT_EQ(admitted(limiter, "192.0.2.1", kStart + seconds(100), 10), 3);
}

TEST_F(RateLimiterTest, AddressesOfOnePrefixShareABucketOthersDoNot) {
  RateLimits limits = strict();
  limits.ipv4_prefix = 24;
  limits.ipv6_prefix = 56;
  RateLimiter limiter(limits, 1);
  EXPECT_EQ(admitted(limiter, "192.0.2.1", kStart, 3), 3);
  EXPECT_EQ(admitted(limiter, "192.0.2.200", kStart, 3), 0);
  EXPECT_EQ(admitted(limiter, "192.0.3.1", kStart, 3), 3);
  EXPECT_EQ(admitted(limiter, "2001:db8:0:aa00::1", kStart, 3), 3);
  EXPECT_EQ(admitted(limiter, "2001:db8:0:aaff::1", kStart, 3), 0);
  EXPECT_EQ(admitted(limiter, "2001:db8:0:ab00::1", kStart, 3), 3);
}

TEST_F(RateLimiterTest, ARandomShareOfTheExcessPasses) {
  RateLimits limits = strict();
  limits.let_through = 4;
  RateLimiter limiter(limits, 1);
  const int passed = admitted(limiter, "192.0.2.1", kStart, 10'003) - 3;
  EXPECT_GT(passed, 2'200);
  EXPECT_LT(passed, 2'800);
}

// Whatever addresses come, memory stays as it is, and a busy prefix is not pushed out by idle ones.
TEST_F(RateLimiterTest, AFullTableForgetsTheIdleNotTheBusy) {
  RateLimits limits = strict();
  limits.table_size = 4;  // one set
  RateLimiter limiter(limits, 99);
  EXPECT_EQ(admitted(limiter, "192.0.2.1", kStart, 100), 3);
  for (std::uint32_t i = 0; i < 1000; ++i) {
    limiter.admit(net::IpAddress::from_v4(0x0a000000 + i), kStart, random_);
  }
  EXPECT_EQ(admitted(limiter, "192.0.2.1", kStart, 100), 0);
}

TEST_F(RateLimiterTest, RefusalsAreCountedPerSecond) {
  RateLimits limits;
  limits.refusals_per_second = 10;
  RateLimiter limiter(limits, 1);
  int admitted = 0;
  for (int i = 0; i < 100; ++i) admitted += limiter.admit_refusal(kStart) ? 1 : 0;
  EXPECT_EQ(admitted, 10);
  EXPECT_FALSE(limiter.admit_refusal(kStart + milliseconds(99)));
  EXPECT_TRUE(limiter.admit_refusal(kStart + milliseconds(100)));
}

TEST_F(RateLimiterTest, NoRefusalsAtAllWhenTheLimitIsZero) {
  RateLimits limits;
  limits.refusals_per_second = 0;
  RateLimiter limiter(limits, 1);
  EXPECT_FALSE(limiter.admit_refusal(kStart));
}

}  // namespace
}  // namespace timeball::server
