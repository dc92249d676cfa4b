#include "server/status.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <set>
#include <string>

#include "common/time/ntp_timestamp.h"
#include "server/history.h"
#include "server/settings.h"

namespace timeball::server {
namespace {

using namespace std::chrono_literals;
namespace json = boost::json;
using refclock::HostTime;

const Config& defaults() {
  static const Config kConfig = parse_config("", "test").config;
  return kConfig;
}

std::set<std::string> keys_of(const json::value& object) {
  std::set<std::string> keys;
  for (const auto& member : object.as_object()) keys.insert(member.key());
  return keys;
}

// 2026-11-26 00:00:00, the kernel's clock 1 ms behind.
ClockSample synchronised() {
  ClockSample sample;
  sample.now = {1'795'651'200 * kNsPerSecond};
  sample.state.as_of = sample.now;
  sample.state.offset = 1ms;
  sample.state.error_bound = 2us;
  sample.state.growth_ppb = 10;
  sample.state.root_delay = 1us;
  sample.state.reference_time = sample.now - 3s;
  sample.state.reference_id = 0x47505300;  // GPS
  sample.state.leap = LeapIndicator::kNone;
  sample.state.stratum = 1;
  return sample;
}

refclock::RackStatus rack(refclock::State state) {
  refclock::RackStatus rack;
  rack.clock.state = state;
  rack.clock.at = HostTime{100'000'000'000};
  rack.clock.state_since = HostTime{70'000'000'000};
  rack.clock.suspect = true;
  rack.clock.leap_unknown = false;
  rack.clock.bound = 3us;
  return rack;
}

json::object of(const Snapshot& snapshot) {
  RaisedAlarms alarms;
  alarms.update(snapshot, MonotonicTime{1});
  // Through text: what a client reads.
  return json::parse(json::serialize(status_json(snapshot, alarms, defaults()))).as_object();
}

const std::set<std::string> kTop{"version", "host",         "now",      "uptime_s", "time",
                                 "ntp",     "nts_ke",       "keys",     "receiver", "pulses",
                                 "samples", "certificates", "rubidium", "alarms"};

TEST(Status, KeysNeverVanish) {
  Snapshot full;
  full.process = ProcessSample{"rack7", 5s, 0, {}};
  full.clock = synchronised();
  full.rack = rack(refclock::State::kLocked);
  full.nts_ke.emplace();
  full.keys.emplace();
  const json::object nothing = of({}), all = of(full);
  EXPECT_EQ(keys_of(nothing), kTop);
  EXPECT_EQ(keys_of(all), kTop);
  EXPECT_EQ(keys_of(nothing.at("time")), keys_of(all.at("time")));
  EXPECT_EQ(keys_of(nothing.at("ntp")), keys_of(all.at("ntp")));
  EXPECT_EQ(nothing.at("now"), nullptr);
  EXPECT_EQ(nothing.at("keys"), nullptr);
  EXPECT_EQ(nothing.at("time").at("synchronised"), false);
  EXPECT_EQ(nothing.at("time").at("leap"), 3);
}

TEST(Status, TheTimeServedIsTold) {
  Snapshot snapshot;
  snapshot.clock = synchronised();
  const json::object status = of(snapshot);
  EXPECT_EQ(status.at("now"), "2026-11-26T00:00:00.001000000Z");
  const json::object& time = status.at("time").as_object();
  EXPECT_EQ(time.at("synchronised"), true);
  EXPECT_EQ(time.at("stratum"), 1);
  EXPECT_EQ(time.at("reference_id"), "GPS");
  EXPECT_DOUBLE_EQ(time.at("error_bound_s").as_double(), 2.5e-6);
  EXPECT_DOUBLE_EQ(time.at("root_dispersion_s").as_double(), 2e-6);
  EXPECT_DOUBLE_EQ(time.at("offset_s").as_double(), 1e-3);
  EXPECT_DOUBLE_EQ(time.at("reference_age_s").to_number<double>(), 3);
  EXPECT_EQ(time.at("state"), nullptr);
}

TEST(Status, AnAddressAsReferenceIsHexadecimal) {
  Snapshot snapshot;
  snapshot.clock = synchronised();
  snapshot.clock->state.reference_id = 0x7F7F0101;
  EXPECT_EQ(of(snapshot).at("time").at("reference_id"), "7f7f0101");
}

TEST(Status, AStateThatIsVoidIsNoTime) {
  Snapshot snapshot;
  snapshot.clock = synchronised();
  snapshot.rack = rack(refclock::State::kLocked);  // as of its last tick
  snapshot.clock->state.void_after = snapshot.clock->now - 1s;
  snapshot.clock->state = snapshot.clock->state.at(snapshot.clock->now);
  const json::object status = of(snapshot);
  EXPECT_EQ(status.at("now"), nullptr);
  EXPECT_EQ(status.at("time").at("synchronised"), false);
  EXPECT_EQ(status.at("time").at("error_bound_s"), nullptr);
}

TEST(Status, HoldoverTellsHowLongItHasBeenAndHowLongItLasts) {
  Snapshot snapshot;
  snapshot.clock = synchronised();
  snapshot.rack = rack(refclock::State::kHoldover);
  snapshot.rack->clock.holdover = 30s;
  snapshot.rack->clock.holdover_remaining = 9750s;
  const json::object time = of(snapshot).at("time").as_object();
  EXPECT_EQ(time.at("state"), "HOLDOVER");
  EXPECT_DOUBLE_EQ(time.at("holdover_s").to_number<double>(), 30);
  EXPECT_DOUBLE_EQ(time.at("holdover_remaining_s").to_number<double>(), 9750);
  EXPECT_EQ(time.at("flags"), json::array({"suspect"}));
}

TEST(Status, BeyondTheLimitTheBoundIsKnownAllTheSame) {
  Snapshot snapshot;
  snapshot.clock = synchronised();
  snapshot.clock->state.stratum = kMaxStratum;
  snapshot.rack = rack(refclock::State::kFreerun);
  const json::object status = of(snapshot);
  EXPECT_EQ(status.at("time").at("synchronised"), false);
  EXPECT_DOUBLE_EQ(status.at("time").at("error_bound_s").as_double(), 3e-6);
  EXPECT_EQ(status.at("time").at("holdover_s"), nullptr);
  EXPECT_EQ(status.at("time").at("reference_id"), nullptr);
  EXPECT_NE(status.at("now"), nullptr);
}

TEST(Status, KeysAreIdentifiersAndAges) {
  Snapshot snapshot;
  snapshot.keys.emplace();
  snapshot.keys->ids = {3, 2, 1};
  snapshot.keys->now = {1000 * kNsPerSecond};
  snapshot.keys->status.current_since = {400 * kNsPerSecond};
  snapshot.keys->status.next_rotation = {1500 * kNsPerSecond};
  snapshot.keys->status.cluster.emplace().sequence = 7;
  const json::object keys = of(snapshot).at("keys").as_object();
  EXPECT_EQ(keys.at("provider"), "etcd");
  EXPECT_EQ(keys.at("age_s"), 600);
  EXPECT_EQ(keys.at("next_rotation_s"), 500);
  EXPECT_EQ(keys.at("generations").as_array().size(), 3U);
  EXPECT_EQ(keys.at("generations").at(2).at("role"), "old");
  EXPECT_EQ(keys.at("generations").at(0).at("id"), "00000003");
  EXPECT_EQ(keys.at("cluster").at("sequence"), 7);
}

TEST(Status, CertificatesCountTheirDaysOnceTheTimeIsKnown) {
  Snapshot snapshot;
  snapshot.certificates = CertificatesStatus{{{"a.pem", 1'795'651'200 + 86'400 * 20, false}}, 0, 0};
  EXPECT_EQ(of(snapshot).at("certificates").at(0).at("days_left"), nullptr);
  snapshot.clock = synchronised();
  const json::object one = of(snapshot).at("certificates").at(0).as_object();
  EXPECT_EQ(one.at("not_after"), "2026-12-16T00:00:00Z");
  EXPECT_NEAR(one.at("days_left").as_double(), 20, 1e-3);
}

TEST(Status, DevicesAreTold) {
  Snapshot snapshot;
  snapshot.rack = rack(refclock::State::kLocked);
  snapshot.rack->gnss.emplace().model = "ZED-F9T";
  snapshot.rack->gnss->sky.satellites = {
      {refclock::Constellation::kGalileo, 12, 45, std::nullopt, 41, true}};
  snapshot.rack->clock.gnss.emplace().satellites_used = 11;
  snapshot.rack->clock.gnss->antenna = refclock::Antenna::kOk;
  snapshot.rack->clock.gnss->jamming = refclock::Threat::kCritical;
  snapshot.rack->pulses.resize(1);
  snapshot.rack->pulses[0].device = "/dev/pps0";
  snapshot.rack->rubidium.emplace().readings["lamp_volts"] = 6.25;
  snapshot.rack->clock.oscillator.emplace().locked = true;
  const json::object status = of(snapshot);
  EXPECT_EQ(status.at("receiver").at("model"), "ZED-F9T");
  EXPECT_EQ(status.at("receiver").at("satellites_used"), 11);
  EXPECT_EQ(status.at("receiver").at("time_accuracy_s"), nullptr);
  EXPECT_EQ(status.at("receiver").at("antenna"), "good");
  const json::object satellite{{"system", "Galileo"},    {"number", 12},   {"elevation_deg", 45},
                               {"azimuth_deg", nullptr}, {"cno_dbhz", 41}, {"used", true}};
  EXPECT_EQ(status.at("receiver").at("satellites"), json::array{satellite});
  EXPECT_EQ(status.at("receiver").at("jamming"), "critical");
  EXPECT_EQ(status.at("pulses").at(0).at("device"), "/dev/pps0");
  EXPECT_EQ(status.at("pulses").at(0).at("width_s"), nullptr);
  EXPECT_EQ(status.at("rubidium").at("locked"), true);
  EXPECT_EQ(status.at("rubidium").at("phase_s"), nullptr);
  EXPECT_EQ(status.at("rubidium").at("readings").at("lamp_volts"), 6.25);
}

TEST(Status, AlarmsSayWhatToDo) {
  Snapshot snapshot;
  snapshot.process = ProcessSample{"rack7", 5s, 2, {}};
  RaisedAlarms alarms;
  alarms.update(snapshot, MonotonicTime{10 * kNsPerSecond});
  alarms.update(snapshot, MonotonicTime{14 * kNsPerSecond});
  const json::array all = alarms_json(alarms);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].at("name"), "secrets-unlocked");
  EXPECT_EQ(all[0].at("severity"), "minor");
  EXPECT_EQ(all[0].at("since"), nullptr);
  EXPECT_EQ(all[0].at("for_s"), 4.0);
  EXPECT_EQ(all[0].at("runbook"), "OPERATIONS.md#alarm-secrets-unlocked");
}

TEST(Status, EverySettingIsTold) {
  Config config = defaults();
  config.ntp.require_nts = true;
  const json::array all = config_json(config);
  std::size_t changed = 0;
  for (const json::value& one : all) {
    EXPECT_EQ(keys_of(one), (std::set<std::string>{"section", "index", "key", "value", "is_default",
                                                   "reloadable", "help"}));
    if (one.at("is_default").as_bool()) continue;
    ++changed;
    EXPECT_EQ(one.at("section"), "ntp");
    EXPECT_EQ(one.at("key"), "require_nts");
    EXPECT_EQ(one.at("value"), "true");
  }
  EXPECT_EQ(changed, 1U);
  EXPECT_GT(all.size(), 40U);
}

// ---- History.

Snapshot with(const ShardCounters& shard) {
  Snapshot snapshot;
  snapshot.shards = {&shard};
  snapshot.clock = synchronised();
  return snapshot;
}

Counter& verdict(ShardCounters& shard, Verdict v) {
  return shard.verdicts[static_cast<std::size_t>(v)];
}

TEST(History, RatesAreOfTheLastFiveSeconds) {
  ShardCounters shard;
  History history(MonotonicTime{});
  for (int second = 1; second <= 20; ++second) {
    verdict(shard, Verdict::kAnsweredNts).add(second <= 10 ? 1000 : 20);
    verdict(shard, Verdict::kDroppedRate).add(second <= 10 ? 0 : 30);
    history.add(with(shard), MonotonicTime{second * kNsPerSecond});
  }
  EXPECT_DOUBLE_EQ(history.recent().requests_per_s, 50);
  EXPECT_DOUBLE_EQ(history.recent().nts_per_s, 20);
}

TEST(History, AtTheStartRatesAreSinceThen) {
  ShardCounters shard;
  History history(MonotonicTime{});
  EXPECT_EQ(history.recent().requests_per_s, 0);
  verdict(shard, Verdict::kAnsweredPlain).add(6);
  history.add(with(shard), MonotonicTime{2 * kNsPerSecond});
  EXPECT_DOUBLE_EQ(history.recent().requests_per_s, 3);
}

TEST(History, WhatWasRefusedIsForgottenAfterFiveMinutes) {
  ShardCounters shard;
  Snapshot snapshot = with(shard);
  snapshot.nts_ke.emplace();
  snapshot.nts_ke->outcomes[static_cast<std::size_t>(KeOutcome::kEvicted)] = 4;
  snapshot.nts_ke->outcomes[static_cast<std::size_t>(KeOutcome::kRefusedAddress)] = 100;
  shard.sends_refused.add(3);
  History history(MonotonicTime{});
  history.add(snapshot, MonotonicTime{kNsPerSecond});
  EXPECT_EQ(history.recent().ke_turned_away, 4U);
  EXPECT_EQ(history.recent().replies_refused, 3U);
  for (int second = 2; second <= 302; ++second) {
    history.add(snapshot, MonotonicTime{second * kNsPerSecond});
  }
  EXPECT_EQ(history.recent().ke_turned_away, 0U);
  EXPECT_EQ(history.recent().replies_refused, 0U);
}

TEST(History, QuantilesLieInTheirBuckets) {
  ShardCounters shard;
  for (int i = 0; i < 98; ++i) shard.t3_to_wire.add(500ns);
  shard.t3_to_wire.add(-20us);
  shard.t3_to_wire.add(10ms);
  History history(MonotonicTime{});
  EXPECT_FALSE(history.recent().t3_to_wire);
  history.add(with(shard), MonotonicTime{kNsPerSecond});
  const auto quantiles = history.recent().t3_to_wire;
  ASSERT_TRUE(quantiles);
  EXPECT_GT(quantiles->p50_s, 0);
  EXPECT_LT(quantiles->p50_s, 1e-6);
  EXPECT_LE(quantiles->p99_s, 1e-6);
  EXPECT_FALSE(history.recent().handshake);
}

TEST(History, PointsComeEveryTenSecondsAndTheOldestGo) {
  ShardCounters shard;
  const Snapshot snapshot = with(shard);
  History history(MonotonicTime{});
  const int hours_s = 7 * 3600;
  for (int second = 1; second <= hours_s; ++second) {
    verdict(shard, Verdict::kAnsweredPlain).add(5);
    history.add(snapshot, MonotonicTime{second * kNsPerSecond});
  }
  EXPECT_EQ(history.points().size(), History::kPoints);
  EXPECT_EQ(history.points().back().t_s, 1'795'651'200);
  EXPECT_DOUBLE_EQ(history.points().back().requests_per_s, 5);
  EXPECT_EQ(history.points().back().error_bound, 2500ns);
  const json::object told = history_json(history);
  EXPECT_EQ(told.at("step_s"), 10.0);
  EXPECT_EQ(told.at("points").as_array().size(), History::kPoints);
}

TEST(History, ALateTickMakesNoBurstOfPoints) {
  ShardCounters shard;
  History history(MonotonicTime{});
  history.add(with(shard), MonotonicTime{kNsPerSecond});
  for (int second = 100; second < 120; ++second) {
    history.add(with(shard), MonotonicTime{second * kNsPerSecond});
  }
  EXPECT_LE(history.points().size(), 5U);
}

}  // namespace
}  // namespace timeball::server
