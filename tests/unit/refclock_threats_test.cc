#include <gtest/gtest.h>

#include <limits>

#include "refclock/threats.h"

namespace timeball::refclock {
namespace {

using namespace std::chrono_literals;

HostTime at(std::int64_t s) {
  return HostTime{s * 1'000'000'000};
}
GnssCondition clean_condition() {
  GnssCondition c;
  c.usable = true;
  c.jamming = c.spoofing = Threat::kNone;
  c.antenna = Antenna::kOk;
  return c;
}

TEST(Threats, NothingReportedExcludesNothing) {
  Threats threats{{}};
  threats.hear(GnssCondition{});
  threats.hear(clean_condition());
  EXPECT_FALSE(threats.excluded());
  EXPECT_FALSE(threats.alarms().any());
}

TEST(Threats, EachIndicatorHasItsAlarmAndItsWeight) {
  struct Row {
    const char* what;
    void (*set)(GnssCondition&);
    Alarm alarm;
    bool excludes;
  };
  const Row rows[] = {
      {"jamming warning", [](GnssCondition& c) { c.jamming = Threat::kWarning; }, Alarm::kJamming,
       false},
      {"jamming", [](GnssCondition& c) { c.jamming = Threat::kCritical; }, Alarm::kJamming, true},
      {"spoofing indicated", [](GnssCondition& c) { c.spoofing = Threat::kWarning; },
       Alarm::kSpoofing, true},
      {"spoofing", [](GnssCondition& c) { c.spoofing = Threat::kCritical; }, Alarm::kSpoofing,
       true},
      {"moved", [](GnssCondition& c) { c.position_offset_m = 51; }, Alarm::kPosition, true},
      {"nowhere",
       [](GnssCondition& c) { c.position_offset_m = std::numeric_limits<double>::quiet_NaN(); },
       Alarm::kPosition, true},
      {"antenna open", [](GnssCondition& c) { c.antenna = Antenna::kOpen; }, Alarm::kAntenna,
       false},
      {"antenna short", [](GnssCondition& c) { c.antenna = Antenna::kShort; }, Alarm::kAntenna,
       false},
  };
  for (const Row& row : rows) {
    Threats threats{{}};
    GnssCondition c = clean_condition();
    row.set(c);
    threats.hear(c);
    EXPECT_TRUE(threats.alarms().has(row.alarm)) << row.what;
    EXPECT_EQ(threats.excluded(), row.excludes) << row.what;
    threats.hear(clean_condition());
    EXPECT_EQ(threats.excluded(), row.excludes) << row.what;  // it does not come back by itself
    EXPECT_EQ(threats.alarms().has(row.alarm), row.excludes) << row.what;
  }
}

TEST(Threats, AnHourOfCleanSecondsReadmits) {
  Threats threats{{}};
  threats.report(Alarm::kPhaseStep, at(0));
  for (int s = 0; s < 3600; ++s) ASSERT_FALSE(threats.clean(at(s))) << s;
  EXPECT_TRUE(threats.excluded());
  EXPECT_TRUE(threats.clean(at(3600)));
  EXPECT_TRUE(threats.excluded());  // the discipline has the last word
  threats.readmit();
  EXPECT_FALSE(threats.excluded());
  EXPECT_FALSE(threats.alarms().any());
}

TEST(Threats, TheHourStartsAgainAfterAnythingElse) {
  Threats threats{{}};
  threats.report(Alarm::kPhaseStep, at(0));
  for (int s = 0; s < 3000; ++s) threats.clean(at(s));
  threats.report(Alarm::kPhaseStep, at(3000));
  for (int s = 3000; s < 6600; ++s) ASSERT_FALSE(threats.clean(at(s)));
  // A gap: nobody saw whether it was clean.
  for (int s = 6606; s < 6606 + 3600; ++s) ASSERT_FALSE(threats.clean(at(s))) << s;
  EXPECT_TRUE(threats.clean(at(6606 + 3600)));
}

TEST(Threats, NoSecondIsCleanWhileAnIndicatorStands) {
  Threats threats{{}};
  GnssCondition c = clean_condition();
  c.jamming = Threat::kCritical;
  for (int s = 0; s < 10'000; ++s) {
    threats.hear(c);
    ASSERT_FALSE(threats.clean(at(s)));
  }
}

// A spoofer that walks slowly need only wait until the rubidium may have gone as far.
TEST(Threats, ADayAfterASlopeOnlyTheOperatorReadmits) {
  constexpr int kDay = 86'400;
  Threats early{{}};
  early.report(Alarm::kPhaseSlope, at(0));
  for (int s = kDay - 3600; s < kDay; ++s) ASSERT_FALSE(early.clean(at(s))) << s;
  EXPECT_TRUE(early.clean(at(kDay)));

  Threats late{{}};
  late.report(Alarm::kPhaseSlope, at(0));
  late.report(Alarm::kPhaseSlope, at(kDay / 2));  // still there: the day began with the first
  for (int s = kDay - 3599; s < kDay + 7200; ++s) ASSERT_FALSE(late.clean(at(s))) << s;
  late.readmit();
  EXPECT_FALSE(late.excluded());
  late.report(Alarm::kPhaseSlope, at(2 * kDay));
  for (int s = 0; s < 3600; ++s) ASSERT_FALSE(late.clean(at(2 * kDay + s))) << s;
  EXPECT_TRUE(late.clean(at(2 * kDay + 3600)));
}

TEST(Threats, TheOperatorReadmitsAtOnce) {
  Threats threats{{}};
  threats.report(Alarm::kPhaseSlope, at(0));
  threats.readmit();
  EXPECT_FALSE(threats.excluded());
}

}  // namespace
}  // namespace timeball::refclock
