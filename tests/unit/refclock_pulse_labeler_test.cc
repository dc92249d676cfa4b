#include <gtest/gtest.h>

#include "refclock/pulse_labeler.h"

namespace timeball::refclock {
namespace {

using namespace std::chrono_literals;
using State = PulseLabeler::State;
using Verdict = PulseLabeler::Verdict;

constexpr std::int64_t kSecond = 1'800'000'000;
constexpr std::int64_t kRollover = std::int64_t{1024} * 7 * 86400;

class PulseLabelerTest : public testing::Test {
 protected:
  // The pulse of second n, and its label `off` seconds wrong.
  Verdict second(int n, std::int64_t off = 0, bool trusted = true, Duration latency = 120ms) {
    labeler.pulse(edge(n));
    return label(n, off, trusted, latency);
  }
  Verdict label(int n, std::int64_t off = 0, bool trusted = true, Duration latency = 120ms) {
    SecondLabel l;
    l.arrival = edge(n) + latency;
    l.trusted = trusted;
    return labeler.label(l, kSecond + n + off);
  }
  static HostTime edge(int n) { return HostTime{1000} + std::chrono::seconds(n); }

  PulseLabeler labeler{LabelingRules{}};
};

TEST_F(PulseLabelerTest, FiveAgreeingSecondsMakeANumber) {
  EXPECT_EQ(labeler.state(), State::kUnnumbered);
  for (int n = 0; n < 4; ++n) {
    EXPECT_EQ(second(n), Verdict::kCounting);
    EXPECT_EQ(labeler.state(), State::kCandidate);
    EXPECT_EQ(labeler.second(), std::nullopt);
  }
  EXPECT_EQ(second(4), Verdict::kCounting);
  EXPECT_EQ(labeler.state(), State::kNumbered);
  EXPECT_EQ(labeler.second(), kSecond + 4);
}

TEST_F(PulseLabelerTest, AWrongLabelStartsTheCountAgain) {
  for (int n = 0; n < 4; ++n) second(n);
  second(4, 1);
  EXPECT_EQ(labeler.state(), State::kCandidate);
  for (int n = 5; n < 9; ++n) second(n);
  EXPECT_EQ(labeler.state(), State::kCandidate);
  second(9);
  EXPECT_EQ(labeler.second(), kSecond + 9);
}

TEST_F(PulseLabelerTest, AMissingPulseOrLabelStartsTheCountAgain) {
  for (int n = 0; n < 4; ++n) second(n);
  second(5);
  EXPECT_NE(labeler.state(), State::kNumbered);
  labeler.restart();
  for (int n = 0; n < 4; ++n) second(n);
  labeler.pulse(edge(4));  // no label
  second(5);
  EXPECT_NE(labeler.state(), State::kNumbered);
}

TEST_F(PulseLabelerTest, UntrustedLateAndUnpairedLabelsAreIgnored) {
  EXPECT_EQ(label(0), Verdict::kIgnored);  // no pulse yet
  EXPECT_EQ(second(0, 0, false), Verdict::kIgnored);
  EXPECT_EQ(second(1, 0, true, 960ms), Verdict::kIgnored);
  EXPECT_EQ(second(2, 0, true, -1ms), Verdict::kIgnored);
  EXPECT_EQ(second(3), Verdict::kCounting);
  EXPECT_EQ(label(3), Verdict::kIgnored);  // a second one for the same pulse
}

TEST_F(PulseLabelerTest, ALabelMayNameTheNextPulse) {
  for (int n = 0; n < 5; ++n) {
    labeler.pulse(edge(n));
    SecondLabel l;
    l.arrival = edge(n) + 500ms;
    l.trusted = true;
    l.names = SecondLabel::Names::kNextPulse;
    labeler.label(l, kSecond + n + 1);
  }
  EXPECT_EQ(labeler.second(), kSecond + 4);
}

TEST_F(PulseLabelerTest, OnceNumberedADisagreeingLabelNeverRenumbers) {
  for (int n = 0; n < 5; ++n) second(n);
  for (int n = 5; n < 500; ++n) {
    EXPECT_EQ(second(n, 1), Verdict::kDisagrees);
    ASSERT_EQ(labeler.second(), kSecond + n);
    EXPECT_EQ(labeler.disagreements(), n - 4);
  }
  EXPECT_EQ(second(500), Verdict::kAgrees);
  EXPECT_EQ(labeler.disagreements(), 0);
}

TEST_F(PulseLabelerTest, WholeRolloversStillNameTheSecond) {
  for (int n = 0; n < 5; ++n) second(n);
  EXPECT_EQ(second(5, -kRollover), Verdict::kWeekRollover);
  EXPECT_EQ(second(6, -2 * kRollover), Verdict::kWeekRollover);
  EXPECT_EQ(second(7, -kRollover + 1), Verdict::kDisagrees);
  EXPECT_EQ(labeler.second(), kSecond + 7);
}

TEST_F(PulseLabelerTest, CountsAcrossGapsThatTheCrystalCanBridge) {
  for (int n = 0; n < 5; ++n) second(n);
  labeler.pulse(edge(400) + 30ms);  // 75 ppm fast
  EXPECT_EQ(labeler.second(), kSecond + 400);
  labeler.pulse(edge(1000));  // 600 s: in doubt
  EXPECT_EQ(labeler.state(), State::kUnnumbered);
}

TEST_F(PulseLabelerTest, TheDisciplinesTimeBridgesAnyGap) {
  for (int n = 0; n < 5; ++n) second(n);
  labeler.pulse(edge(700'000), kSecond + 700'001);
  EXPECT_EQ(labeler.second(), kSecond + 700'001);
  // But it does not number what has no number.
  labeler.restart();
  labeler.pulse(edge(0), kSecond);
  EXPECT_EQ(labeler.second(), std::nullopt);
}

}  // namespace
}  // namespace timeball::refclock
