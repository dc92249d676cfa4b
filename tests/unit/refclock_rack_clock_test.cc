// RackClock: what drivers report goes to the discipline, and what an operator sees comes of it.
#include "refclock/rack_clock.h"

#include <gtest/gtest.h>

#include <cmath>

#include "common/time/ntp_timestamp.h"

namespace timeball::refclock {
namespace {

using namespace std::chrono_literals;

constexpr HostTime kStart{1'000 * kNsPerSecond};
constexpr UtcTime kUtcAtStart{1'790'000'000 * kNsPerSecond};
// The kernel's clock is 3 s behind.
constexpr std::int64_t kBehind_ns = 3 * kNsPerSecond;

DisciplineOptions gnss_alone() {
  DisciplineOptions options;
  options.rubidium = false;
  return options;
}

// Second after second: pulse, label, condition, tick.
class Rack {
 public:
  explicit Rack(const DisciplineOptions& options = gnss_alone()) : clock(options) {}

  RackClock::Beat second(bool sky = true) {
    const HostTime edge = kStart + std::chrono::seconds(n_);
    const UtcTime utc = kUtcAtStart + std::chrono::seconds(n_++);
    if (sky) {
      clock.observe(Pulse{PulseInput::kGnss, edge, 50ns, static_cast<std::uint32_t>(n_)});
      clock.observe(SecondLabel{edge + 100ms, utc, SecondLabel::Names::kLastPulse, true, false});
    }
    GnssCondition condition;
    condition.at = edge + 120ms;
    condition.usable = sky;
    condition.satellites_used = sky ? 12 : 0;
    clock.observe(condition);
    const HostTime now = edge + 500ms;
    return clock.tick({now, KernelTime{utc.ns + 500'000'000 - kBehind_ns}, 30ns});
  }

  RackClock clock;

 private:
  int n_ = 0;
};

TEST(RackClock, ServesUtcOnceSecondsHaveNumbers) {
  Rack rack;
  RackClock::Beat beat = rack.second();
  EXPECT_FALSE(beat.clock.synchronised());
  EXPECT_EQ(rack.clock.status().state, State::kNumbering);
  EXPECT_EQ(rack.clock.status().bound, std::nullopt);
  for (int i = 0; i < 30; ++i) beat = rack.second();
  EXPECT_EQ(rack.clock.status().state, State::kLocked);
  EXPECT_TRUE(beat.clock.synchronised());
  EXPECT_NEAR(static_cast<double>(beat.clock.offset.count()), kBehind_ns, 200);
  ASSERT_TRUE(rack.clock.status().bound);
  EXPECT_EQ(rack.clock.status().gnss->satellites_used, 12U);
}

TEST(RackClock, StatesAndAlarmsAreTimedAndCounted) {
  Rack rack;
  for (int i = 0; i < 30; ++i) rack.second();
  const HostTime locked = rack.clock.status().state_since;
  EXPECT_GT(locked, kStart);
  EXPECT_LT(locked, rack.clock.status().at);
  for (int i = 0; i < 12; ++i) rack.second(false);
  const auto missing = static_cast<std::size_t>(Alarm::kPulsesMissing);
  EXPECT_TRUE(rack.clock.status().alarms.has(Alarm::kPulsesMissing));
  EXPECT_EQ(rack.clock.status().raised[missing], 1U);
  EXPECT_GT(rack.clock.status().state_since, locked);
  for (int i = 0; i < 5; ++i) rack.second();
  EXPECT_FALSE(rack.clock.status().alarms.has(Alarm::kPulsesMissing));
  for (int i = 0; i < 12; ++i) rack.second(false);
  EXPECT_EQ(rack.clock.status().raised[missing], 2U);
}

TEST(RackClock, AHoldoverTellsHowLongItMayLast) {
  Rack rack;
  for (int i = 0; i < 300; ++i) rack.second();
  ASSERT_EQ(rack.clock.status().state, State::kLocked);
  EXPECT_EQ(rack.clock.status().holdover, std::nullopt);
  while (rack.clock.status().state == State::kLocked) rack.second(false);
  ASSERT_EQ(rack.clock.status().state, State::kHoldover);
  EXPECT_EQ(rack.clock.status().holdover, Duration(0));
  EXPECT_EQ(rack.clock.status().holdover_remaining, std::nullopt);
  for (int i = 0; i < 30; ++i) rack.second(false);
  EXPECT_EQ(rack.clock.status().holdover, 30s);
  const std::optional<Duration> said = rack.clock.status().holdover_remaining;
  ASSERT_TRUE(said);
  int lasted = 0;
  for (; rack.clock.status().state == State::kHoldover; ++lasted) rack.second(false);
  EXPECT_LE(*said, std::chrono::seconds(lasted * 3 / 2));
  EXPECT_GE(*said, std::chrono::seconds(lasted * 2 / 3));
  EXPECT_EQ(rack.clock.status().holdover, std::nullopt);
}

TEST(HoldoverForecast, FindsSpeedAndDrift) {
  const auto bound = [](double t) {  // 0.5 ns/s, and 1e-4 ns/s^2
    return Duration(300 + std::llround(0.5 * t + 1e-4 * t * t));
  };
  HoldoverForecast forecast(bound(0));
  std::optional<Duration> left;
  for (int t = 0; t <= 2'000; ++t) {
    left = forecast.remaining(std::chrono::seconds(t), bound(t), 100us);
    ASSERT_EQ(left.has_value(), t > 192) << t;  // after 100 ns, and one moment more
  }
  // 0.5 T + 1e-4 T^2 = 99,700 at T = 29,174 s.
  EXPECT_NEAR(std::chrono::duration<double>(*left).count(), 29'174 - 2'000, 300);
}

TEST(HoldoverForecast, IsAYearAtMostAndNeverNegative) {
  HoldoverForecast forecast(0ns);
  EXPECT_EQ(forecast.remaining(1'000'000s, 100ns, 1s), std::nullopt);
  EXPECT_EQ(forecast.remaining(1'000'001s, 100ns, 1s), std::chrono::hours(366 * 24));
  EXPECT_EQ(forecast.remaining(1'000'002s, 2s, 1s), 0s);
}

TEST(RackClock, ALeapTableSpeaksOnceTheDateIsKnown) {
  Rack rack;
  LeapTable table;
  table.expires = kUtcAtStart + std::chrono::hours(24 * 100);
  table.entries = {{UtcTime{1'483'228'800 * kNsPerSecond}, 37}};
  rack.clock.set_leap_table(table);
  rack.second();
  EXPECT_TRUE(rack.clock.status().leap_unknown);
  for (int i = 0; i < 10; ++i) rack.second();
  EXPECT_FALSE(rack.clock.status().leap_unknown);
  EXPECT_EQ(rack.clock.status().leap->tai_minus_utc_s, 37);
  EXPECT_EQ(rack.clock.status().leap_file_expires, table.expires);
}

TEST(RackClock, AnExpiredTableIsNotTrusted) {
  Rack rack;
  LeapTable table;
  table.expires = kUtcAtStart - std::chrono::hours(1);
  table.entries = {{UtcTime{1'483'228'800 * kNsPerSecond}, 37}};
  rack.clock.set_leap_table(table);
  for (int i = 0; i < 10; ++i) rack.second();
  EXPECT_TRUE(rack.clock.status().leap_unknown);
  EXPECT_TRUE(rack.clock.status().alarms.has(Alarm::kLeapUnknown));
  EXPECT_EQ(rack.clock.status().leap->tai_minus_utc_s, 37);  // in force, all the same
}

}  // namespace
}  // namespace timeball::refclock
