#include "bench/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace timeball::bench {
namespace {

TEST(Histogram, IsEmptyAtFirst) {
  const Histogram h;
  EXPECT_EQ(h.count(), 0u);
  EXPECT_EQ(h.min(), Duration(0));
  EXPECT_EQ(h.max(), Duration(0));
  EXPECT_EQ(h.quantile(0.5), Duration(0));
}

TEST(Histogram, KeepsSmallValuesExactly) {
  Histogram h;
  for (int ns = -100; ns <= 100; ++ns) h.record(Duration(ns));
  EXPECT_EQ(h.min(), Duration(-100));
  EXPECT_EQ(h.max(), Duration(100));
  EXPECT_EQ(h.quantile(0.0), Duration(-100));
  EXPECT_EQ(h.quantile(0.5), Duration(0));
  EXPECT_EQ(h.quantile(1.0), Duration(100));
}

TEST(Histogram, TakesTheExtremesOfItsType) {
  Histogram h;
  h.record(Duration(std::numeric_limits<std::int64_t>::min()));
  h.record(Duration(std::numeric_limits<std::int64_t>::max()));
  EXPECT_EQ(h.min(), Duration(-std::numeric_limits<std::int64_t>::max()));
  EXPECT_LT(h.quantile(0.5), Duration(std::numeric_limits<std::int64_t>::min() / 64 * 63));
  EXPECT_EQ(h.quantile(1.0), Duration(std::numeric_limits<std::int64_t>::max()));
}

// Against the sorted values themselves: never below the true quantile by more than a nanosecond,
// and above it by at most 1 part in 64.
TEST(Histogram, QuantilesAreWithinOnePartIn64) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 50; ++round) {
    Histogram h;
    std::vector<std::int64_t> values;
    for (int i = 0; i < 1000; ++i) {
      const unsigned width = static_cast<unsigned>(random() % 60);
      auto value = static_cast<std::int64_t>(random() & ((std::uint64_t{1} << width) - 1));
      if (round % 2 == 1 && random() % 2 == 1) value = -value;
      values.push_back(value);
      h.record(Duration(value));
    }
    std::ranges::sort(values);
    for (const double share : {0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0}) {
      const auto rank = static_cast<std::size_t>(std::ceil(share * 1000)) - 1;
      const auto exact = static_cast<double>(values[rank]);
      const auto got = static_cast<double>(h.quantile(share).count());
      EXPECT_GE(got, exact - 1 - std::abs(exact) / 1e12) << share;
      EXPECT_LE(got, exact + std::abs(exact) / 64 + 1) << share;
    }
  }
}

TEST(Histogram, MergesAsIfRecordedByOne) {
  std::mt19937_64 random(8);
  Histogram all;
  Histogram parts[2];
  for (int i = 0; i < 5000; ++i) {
    const Duration value(static_cast<std::int64_t>(random() % 1'000'000) - 300'000);
    all.record(value);
    parts[i % 2].record(value);
  }
  parts[0].merge(parts[1]);
  EXPECT_EQ(parts[0].count(), all.count());
  EXPECT_EQ(parts[0].min(), all.min());
  EXPECT_EQ(parts[0].max(), all.max());
  for (const double share : {0.01, 0.5, 0.99}) {
    EXPECT_EQ(parts[0].quantile(share), all.quantile(share));
  }
}

}  // namespace
}  // namespace timeball::bench
