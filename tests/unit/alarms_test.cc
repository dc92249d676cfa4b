#include "server/alarms.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "common/time/ntp_timestamp.h"
#include "server/readiness.h"

namespace timeball::server {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kNow_s = 1'795'651'200;

const AlarmKind& kind(std::string_view name) {
  const auto found = std::ranges::find(alarm_kinds(), name, &AlarmKind::name);
  if (found == alarm_kinds().end()) throw std::runtime_error("no alarm " + std::string(name));
  return *found;
}

std::set<std::string> raised(const Snapshot& snapshot) {
  std::set<std::string> names;
  for (const AlarmKind& k : alarm_kinds()) {
    if (k.raised(snapshot).value_or(false)) names.emplace(k.name);
  }
  return names;
}

// A daemon in which everything that there is is well.
struct Healthy {
  Healthy() {
    s.process = ProcessSample{"host", 1s, 0, {}};
    s.shards = {&shard};
    s.xdp.emplace_back().taking = true;
    s.nts_ke.emplace();
    s.keys.emplace();
    s.keys->now = MonotonicTime{1000 * kNsPerSecond};
    s.keys->status.generations = 2;
    s.keys->status.next_rotation = s.keys->now + 1h;
    s.keys->status.cluster.emplace().in_contact = true;
    s.certificates = CertificatesStatus{{{"a.pem", kNow_s + 60 * 86'400, false}}, 0, 0};
    s.clock.emplace();
    s.clock->now = KernelTime{kNow_s * kNsPerSecond};
    s.clock->state.as_of = s.clock->now;
    s.clock->state.error_bound = 1us;
    s.clock->state.leap = LeapIndicator::kNone;
    s.clock->state.stratum = 1;
    s.rack.emplace();
    s.rack->clock.state = refclock::State::kLocked;
    s.rack->clock.bound = 1us;
    s.rack->gnss.emplace();
    s.rack->rubidium.emplace();
    s.rack->kernel_steered = true;
  }
  ShardCounters shard;
  Snapshot s;
};

using Names = std::set<std::string>;

TEST(Alarms, TheTableIsWhole) {
  Names names;
  Severity last = Severity::kCritical;
  for (const AlarmKind& k : alarm_kinds()) {
    EXPECT_TRUE(names.emplace(k.name).second) << k.name;
    EXPECT_TRUE(
        std::ranges::all_of(k.name, [](char c) { return (c >= 'a' && c <= 'z') || c == '-'; }));
    EXPECT_TRUE(k.meaning.ends_with('.') && k.action.ends_with('.')) << k.name;
    EXPECT_GE(k.severity, last) << k.name;
    last = k.severity;
    EXPECT_EQ(k.runbook(), "OPERATIONS.md#alarm-" + std::string(k.name));
  }
  for (std::size_t i = 0; i < refclock::kAlarmCount; ++i) {
    EXPECT_TRUE(names.contains(std::string(name_of(static_cast<refclock::Alarm>(i)))));
  }
}

TEST(Alarms, WhereAllIsWellNoneIsRaisedAndAllCanBe) {
  const Healthy h;
  EXPECT_EQ(raised(h.s), Names{});
  for (const AlarmKind& k : alarm_kinds()) EXPECT_TRUE(k.raised(h.s).has_value()) << k.name;
}

TEST(Alarms, WhatIsNotConfiguredCannotBeRaised) {
  for (const AlarmKind& k : alarm_kinds()) EXPECT_FALSE(k.raised(Snapshot{})) << k.name;
  Healthy h;
  h.s.rack->rubidium.reset();
  h.s.rack->gnss.reset();
  h.s.keys->status.cluster.reset();
  for (const char* name : {"rubidium-silent", "jamming", "cluster-cut-off"}) {
    EXPECT_FALSE(kind(name).raised(h.s)) << name;
  }
  EXPECT_TRUE(kind("pulses-missing").raised(h.s).has_value());
}

TEST(Alarms, EachOfTheReferenceClocksIsPassedOn) {
  for (std::size_t i = 0; i < refclock::kAlarmCount; ++i) {
    Healthy h;
    const auto alarm = static_cast<refclock::Alarm>(i);
    h.s.rack->clock.alarms.set(alarm);
    EXPECT_EQ(raised(h.s), Names{std::string(name_of(alarm))});
    EXPECT_TRUE(kind(name_of(alarm)).told);
  }
}

TEST(Alarms, EachOfOursHasItsCause) {
  const auto check = [](const char* name, auto spoil) {
    Healthy h;
    spoil(h.s, h);
    EXPECT_EQ(raised(h.s), Names{name});
  };
  using S = Snapshot&;
  using H = Healthy&;
  check("unsynchronised", [](S s, H) { s.clock->state.stratum = kMaxStratum; });
  check("holdover", [](S s, H) { s.rack->clock.state = refclock::State::kHoldover; });
  check("kernel-not-steered", [](S s, H) { s.rack->kernel_steered = false; });
  check("no-keys", [](S s, H) { s.keys->status.generations = 0; });
  check("keys-not-rotating", [](S s, H) { s.keys->status.next_rotation = s.keys->now - 2min; });
  check("cluster-cut-off", [](S s, H) { s.keys->status.cluster->in_contact = false; });
  check("cluster-keys-refused", [](S s, H) { s.keys->status.cluster->refused = true; });
  check("certificate-refused", [](S s, H) { s.certificates->each[0].refused = true; });
  check("certificate-expires",
        [](S s, H) { s.certificates->each[0].not_after_s = kNow_s + 13 * 86'400; });
  check("nts-ke-overload", [](S s, H) { s.recent.ke_turned_away = 1; });
  check("xdp-fallback", [](S s, H) { s.xdp[0].taking = false; });
  check("replies-refused", [](S s, H) { s.recent.replies_refused = 1; });
  check("secrets-unlocked", [](S s, H) { s.process->unlocked_secrets = 1; });
  Healthy h;
  h.s.certificates->each[0].not_after_s = kNow_s - 1;
  EXPECT_EQ(raised(h.s), (Names{"certificate-expired", "certificate-expires"}));
}

TEST(Alarms, ARotationThatIsALittleLateIsNone) {
  Healthy h;
  h.s.keys->status.next_rotation = h.s.keys->now - 30s;
  EXPECT_EQ(raised(h.s), Names{});
}

TEST(Alarms, DatesCountOnceTheTimeIsKnown) {
  Healthy h;
  h.s.certificates->each[0].not_after_s = kNow_s - 1;
  h.s.clock->state.stratum = kMaxStratum;
  h.s.rack->clock.bound.reset();
  EXPECT_EQ(raised(h.s), Names{"unsynchronised"});
}

TEST(Alarms, WhoServesNoTimeIsNotUnsynchronised) {
  Healthy h;
  h.s.shards.clear();
  h.s.clock->state.stratum = kMaxStratum;
  EXPECT_FALSE(kind("unsynchronised").raised(h.s));
}

TEST(RaisedAlarms, TellsWhatChangesAndSinceWhen) {
  Healthy h;
  RaisedAlarms alarms;
  const auto at = [](std::int64_t s) { return MonotonicTime{s * kNsPerSecond}; };
  EXPECT_TRUE(alarms.update(h.s, at(1)).raised.empty());
  h.s.recent.replies_refused = 1;
  const auto change = alarms.update(h.s, at(2));
  ASSERT_EQ(change.raised.size(), 1U);
  EXPECT_EQ(change.raised[0]->name, "replies-refused");
  h.s.keys->status.cluster->refused = true;
  alarms.update(h.s, at(10));
  ASSERT_EQ(alarms.all().size(), 2U);
  EXPECT_EQ(alarms.all()[0].kind->name, "cluster-keys-refused");  // the more severe
  EXPECT_EQ(alarms.all()[1].since, at(2));
  EXPECT_EQ(alarms.all()[1].since_utc, UtcTime{kNow_s * kNsPerSecond});
  h.s.recent.replies_refused = 0;
  const auto over = alarms.update(h.s, at(11));
  EXPECT_TRUE(over.raised.empty());
  ASSERT_EQ(over.cleared.size(), 1U);
  EXPECT_EQ(over.cleared[0]->name, "replies-refused");
}

TEST(RaisedAlarms, TheHourIsToldOnceItIsKnown) {
  Healthy h;
  RaisedAlarms alarms;
  h.s.recent.replies_refused = 1;
  h.s.clock->state.stratum = kMaxStratum;
  h.s.rack->clock.bound.reset();
  alarms.update(h.s, MonotonicTime{});
  EXPECT_FALSE(alarms.all().back().since_utc);
  h.s.rack->clock.bound = 1us;
  alarms.update(h.s, MonotonicTime{60 * kNsPerSecond});
  EXPECT_EQ(alarms.all().back().since_utc, UtcTime{(kNow_s - 60) * kNsPerSecond});
}

// ---- Readiness.

TEST(Readiness, FitIsWhatClientsDoNotSufferFrom) {
  Healthy h;
  EXPECT_EQ(why_unfit(h.s, 100ms), "");
  h.s.keys->status.cluster->refused = true;  // critical, and every member's at once
  h.s.rack->clock.alarms.set(refclock::Alarm::kSpoofing);
  h.s.rack->clock.state = refclock::State::kHoldover;
  EXPECT_EQ(why_unfit(h.s, 100ms), "");
  h.s.clock->state.error_bound = 101ms;
  EXPECT_EQ(why_unfit(h.s, 100ms),
            "the error bound is 0.101000 s, over admin.ready_bound (0.100000 s)");
  h.s.clock->state.stratum = kMaxStratum;
  EXPECT_TRUE(why_unfit(h.s, 100ms).starts_with("unsynchronised: "));
}

TEST(Readiness, TheFirstTimeAtOnce) {
  Readiness readiness;
  EXPECT_FALSE(readiness.why_not().empty());
  readiness.update("not yet", MonotonicTime{});
  EXPECT_EQ(readiness.why_not(), "not yet");
  readiness.update("", MonotonicTime{kNsPerSecond});
  EXPECT_EQ(readiness.why_not(), "");
}

TEST(Readiness, SlowToGoAndSlowerToComeBack) {
  Readiness readiness;
  std::int64_t now_s = 0;
  const auto unready_after = [&](const char* why, int seconds) {
    int since = 0;
    for (; since <= seconds && readiness.why_not().empty() != (*why == '\0'); ++since) {
      readiness.update(why, MonotonicTime{++now_s * kNsPerSecond});
    }
    return since;
  };
  readiness.update("", MonotonicTime{});
  for (int i = 0; i < 5; ++i) {  // a leap second
    readiness.update("unsynchronised", MonotonicTime{++now_s * kNsPerSecond});
    EXPECT_EQ(readiness.why_not(), "");
  }
  readiness.update("", MonotonicTime{++now_s * kNsPerSecond});
  EXPECT_EQ(unready_after("unsynchronised", 60), 11);
  EXPECT_EQ(readiness.why_not(), "unsynchronised");
  EXPECT_EQ(unready_after("", 10), 11);
  EXPECT_EQ(readiness.why_not(), "it was not fit a moment ago");
  readiness.update("again", MonotonicTime{++now_s * kNsPerSecond});
  EXPECT_EQ(readiness.why_not(), "again");
  EXPECT_EQ(unready_after("", 60), 31);  // from the beginning
}

}  // namespace
}  // namespace timeball::server
