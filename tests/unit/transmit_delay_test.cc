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

// Past the samples at first, three of each position.
void begin(TransmitDelay& delay, std::size_t size) {
  for (std::size_t i = 0; i < 3 * size; ++i) delay.choose(size, kStart);
}

TEST(TransmitDelay, AtFirstEveryGroupIsSampledAtEachPositionInTurn) {
  TransmitDelay delay;
  for (std::size_t size = 1; size <= kMax; ++size) {
    for (std::size_t i = 0; i < 3 * size; ++i) {
      const auto sample = delay.choose(size, kStart);
      ASSERT_TRUE(sample);
      EXPECT_EQ(sample->position, i % size);
      EXPECT_FALSE(sample->warm_up);
    }
  }
  EXPECT_TRUE(delay.choose(1, kStart)->warm_up);
}

TEST(TransmitDelay, OneSampleEndsTheIgnorance) {
  TransmitDelay delay;
  delay.learn(3, 1, microseconds(4));
  EXPECT_EQ(delay.expected(3, 1), microseconds(4));
  EXPECT_EQ(delay.expected(3, 0), Duration{});
}

TEST(TransmitDelay, ASizeNeverSeenIsJudgedByItsPosition) {
  TransmitDelay delay;
  delay.learn(3, 1, microseconds(4));
  EXPECT_EQ(delay.expected(2, 1), microseconds(4));
  EXPECT_EQ(delay.expected(kMax, 1), microseconds(4));
  delay.learn(2, 1, microseconds(3));
  EXPECT_EQ(delay.expected(2, 1), microseconds(3));
  EXPECT_EQ(delay.expected(3, 1), microseconds(4));  // known for itself
}

TEST(TransmitDelay, LaterSamplesComeInPairsThatVisitEachPositionInTurn) {
  TransmitDelay delay;
  KernelTime now = kStart;
  begin(delay, 4);
  for (std::size_t i = 0; i < 8; ++i) {
    now = now + TransmitDelay::kInterval;
    EXPECT_TRUE(delay.choose(4, now)->warm_up);
    const auto sample = delay.choose(4, now);
    EXPECT_FALSE(sample->warm_up);
    EXPECT_EQ(sample->position, i % 4);
  }
}

TEST(TransmitDelay, NoMoreThanOnePairInAnInterval) {
  TransmitDelay delay;
  begin(delay, 1);
  std::int64_t asked = 0;
  for (KernelTime now = kStart; now < kStart + seconds(1); now = now + microseconds(10)) {
    asked += delay.choose(1, now) ? 1 : 0;
  }
  EXPECT_EQ(asked, 2 * (seconds(1) / TransmitDelay::kInterval));
}

// A clock stepped back by a year must not end the sampling for a year.
TEST(TransmitDelay, AStepOfTheClockDoesNotStopTheSampling) {
  TransmitDelay delay;
  begin(delay, 1);
  EXPECT_TRUE(delay.choose(1, kStart)->warm_up);
  EXPECT_FALSE(delay.choose(1, kStart)->warm_up);
  EXPECT_FALSE(delay.choose(1, kStart));
  EXPECT_TRUE(delay.choose(1, kStart - seconds(31'536'000))->warm_up);
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
  for (int i = 0; i < 100; ++i) delay.learn(kMax, kMax - 1, microseconds(20));
  for (int i = 0; i < 5; ++i) delay.learn(kMax, kMax - 1, microseconds(11));
  EXPECT_EQ(delay.expected(kMax, kMax - 1), microseconds(11));
}

}  // namespace
}  // namespace timeball::server
