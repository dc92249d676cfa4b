// RackClock: what drivers report goes to the discipline, and what an operator sees comes of it.
#include "refclock/rack_clock.h"

#include <gtest/gtest.h>

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
