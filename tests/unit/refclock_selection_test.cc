#include <gtest/gtest.h>

#include <vector>

#include "refclock/sample_filter.h"
#include "refclock/selection.h"

namespace timeball::refclock {
namespace {

std::optional<Selection> of(const std::vector<Interval>& sources) {
  return select(sources);
}

TEST(Selection, NothingFromNobody) {
  EXPECT_FALSE(of({}));
  EXPECT_FALSE(of({{1, -1}, {5, 3}}));
}

TEST(Selection, OneAloneIsBelieved) {
  const auto s = of({{2, 4}});
  ASSERT_TRUE(s);
  EXPECT_EQ(s->agreed, (Interval{2, 4}));
  EXPECT_EQ(s->truechimers, 1U);
}

TEST(Selection, TheMajorityIsRightAndNamed) {
  const auto s = of({{0, 10}, {100, 110}, {8, 20}, {9, 9.5}});
  ASSERT_TRUE(s);
  EXPECT_EQ(s->agreed, (Interval{9, 9.5}));
  EXPECT_EQ(s->truechimers, 0b1101U);
}

TEST(Selection, HalfIsNoMajority) {
  EXPECT_FALSE(of({{0, 1}, {5, 6}}));
  EXPECT_FALSE(of({{0, 1}, {0, 1}, {5, 6}, {5, 6}}));
  EXPECT_FALSE(of({{0, 1}, {2, 3}, {4, 5}}));
  // Empty ones do not vote.
  EXPECT_TRUE(of({{0, 1}, {1, -1}, {1, -1}}));
}

TEST(Selection, TouchingIsAgreeing) {
  const auto s = of({{0, 1}, {1, 2}});
  ASSERT_TRUE(s);
  EXPECT_EQ(s->agreed, (Interval{1, 1}));
}

TEST(Selection, AWideIntervalAgreesWithBothCampsAndDecidesNothing) {
  const auto s = of({{-100, 100}, {0, 1}, {5, 6}});
  ASSERT_TRUE(s);
  EXPECT_EQ(std::uint32_t{0b011}, s->truechimers);  // the first of equals
}

TEST(SampleFilter, SamplesTogetherSayMoreThanEach) {
  SampleFilter filter{HostContract{}};
  EXPECT_FALSE(filter.at(0));
  EXPECT_TRUE(filter.accept(0, {-1e6, 1e6}));
  EXPECT_TRUE(filter.accept(1, {0.9e6, 2e6}));
  const auto now = filter.at(1);
  ASSERT_TRUE(now);
  EXPECT_LT(now->radius(), 0.2e6);
}

TEST(SampleFilter, DropsAnOutlierAndFollowsAStep) {
  SampleFilter filter{HostContract{}};
  for (int t = 0; t < 20; ++t) EXPECT_TRUE(filter.accept(t, {-1e3, 1e3}));
  EXPECT_FALSE(filter.accept(20, {5e6, 5.1e6}));
  EXPECT_TRUE(filter.at(20)->contains(0));
  EXPECT_FALSE(filter.accept(21, {5e6, 5.1e6}));
  EXPECT_TRUE(filter.accept(22, {5e6, 5.1e6}));
  EXPECT_TRUE(filter.at(22)->contains(5.05e6));
}

TEST(SampleFilter, ASilentSourceSaysNothing) {
  SampleFilter filter{HostContract{}};
  filter.accept(0, {0, 1});
  EXPECT_TRUE(filter.at(64));
  EXPECT_FALSE(filter.at(65));
}

}  // namespace
}  // namespace timeball::refclock
