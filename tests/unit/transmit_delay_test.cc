#include "server/transmit_delay.h"

#include <gtest/gtest.h>

#include <random>

namespace timeball::server {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr KernelTime kStart{1'800'000'000'000'000'000};
constexpr std::size_t kMax = TransmitDelay::kMaxGroup;

TEST(TransmitDelay, NothingIsKnownAtFirst) {
  const TransmitDelay delay;
  for (std::size_t size = 1; size <= kMax; ++size) {
    for (std::size_t p = 0; p < size; ++p) EXPECT_EQ(delay.expected(size, p), Duration{});
  }
}

TEST(TransmitDelay, TheFirstGroupOfASizeIsSampledWhole) {
  TransmitDelay delay;
  for (std::size_t size = 1; size <= kMax; ++size) {
    const auto sample = delay.choose(size, kStart);
    EXPECT_EQ(sample.first, 0u);
    EXPECT_EQ(sample.end, size);
    EXPECT_FALSE(sample.warm_up);
  }
}

TEST(TransmitDelay, OneSampleEndsTheIgnorance) {
  TransmitDelay delay;
  delay.learn(3, 1, microseconds(4));
  EXPECT_EQ(delay.expected(3, 1), microseconds(4));
  EXPECT_EQ(delay.expected(3, 0), Duration{});
  EXPECT_EQ(delay.expected(2, 1), Duration{});
}

TEST(TransmitDelay, SamplesComeInPairsThatVisitEachPositionInTurn) {
  TransmitDelay delay;
  KernelTime now = kStart;
  delay.choose(4, now);
  for (std::size_t i = 0; i < 8; ++i) {
    now = now + TransmitDelay::kInterval;
    EXPECT_TRUE(delay.choose(4, now).warm_up);
    const auto sample = delay.choose(4, now);
    EXPECT_FALSE(sample.warm_up);
    EXPECT_EQ(sample.first, i % 4);
    EXPECT_EQ(sample.end, i % 4 + 1);
  }
}

TEST(TransmitDelay, NoMoreThanOnePairInAnInterval) {
  TransmitDelay delay;
  delay.choose(1, kStart);
  std::size_t asked = 0;
  for (KernelTime now = kStart; now < kStart + seconds(1); now = now + microseconds(10)) {
    const auto sample = delay.choose(1, now);
    asked += sample.end - sample.first;
  }
  EXPECT_EQ(asked, 2u * (seconds(1) / TransmitDelay::kInterval));
}

// A clock stepped back by a year must not end the sampling for a year.
TEST(TransmitDelay, AStepOfTheClockDoesNotStopTheSampling) {
  TransmitDelay delay;
  delay.choose(1, kStart);
  EXPECT_TRUE(delay.choose(1, kStart).warm_up);
  delay.choose(1, kStart);
  EXPECT_EQ(delay.choose(1, kStart).end, 0u);
  EXPECT_TRUE(delay.choose(1, kStart - seconds(31'536'000)).warm_up);
}

TEST(TransmitDelay, NonsenseIsIgnored) {
  TransmitDelay delay;
  delay.learn(1, 0, microseconds(3));
  for (int i = 0; i < 100; ++i) {
    delay.learn(1, 0, -nanoseconds(1));
    delay.learn(1, 0, TransmitDelay::kLongest + nanoseconds(1));
    delay.learn(1, 0, seconds(3600));
  }
  EXPECT_EQ(delay.expected(1, 0), microseconds(3));
}

// One in four samples is hit by an interrupt: as long as the last nine hold at most four such, no
// matter; a mean would be 10 us off.
TEST(TransmitDelay, InterruptsDoNotMoveIt) {
  TransmitDelay delay;
  std::minstd_rand random(1);
  for (int i = 0; i < 1000; ++i) {
    const nanoseconds usual(2900 + random() % 200);
    delay.learn(2, 1, i % 4 == 0 ? nanoseconds(microseconds(40)) : usual);
    if (i < 3) continue;
    EXPECT_GE(delay.expected(2, 1), nanoseconds(2900));
    EXPECT_LE(delay.expected(2, 1), nanoseconds(3100));
  }
}

TEST(TransmitDelay, ANewPathIsFollowedWithinFiveSamples) {
  TransmitDelay delay;
  for (int i = 0; i < 100; ++i) delay.learn(8, 7, microseconds(20));
  for (int i = 0; i < 5; ++i) delay.learn(8, 7, microseconds(11));
  EXPECT_EQ(delay.expected(8, 7), microseconds(11));
}

}  // namespace
}  // namespace timeball::server
