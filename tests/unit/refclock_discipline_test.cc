#include <gtest/gtest.h>

#include <cmath>

#include "refclock/discipline.h"

namespace timeball::refclock {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kStart = 1'803'859'200;  // 2027-03-01 00:00:00 UTC
constexpr std::int64_t kKernelOff = 250'000'000;

LeapNotice leap_notice_of(LeapNotice::Source source, LeapIndicator change, int event_after_s) {
  LeapNotice n;
  n.source = source;
  n.trusted = true;
  n.tai_minus_utc_s = 37;
  n.change = change;
  n.event = UtcTime{(kStart + event_after_s) * kNsPerSecond};
  return n;
}

// A rack of ideal clocks; the test breaks one thing at a time. Host time runs 20 ppm fast, the
// kernel's clock with it. Everything in whole seconds since kStart, leap seconds counted.
class DisciplineTest : public testing::Test {
 protected:
  explicit DisciplineTest(DisciplineOptions options = {}) : discipline(options) {
    discipline.step(leap_notice_of(LeapNotice::Source::kFile, LeapIndicator::kNone, 0));
  }

  static HostTime host(double s) { return {1'000'000'000 + std::llround(s * 1.00002e9)}; }
  static KernelTime kernel(double s) { return {host(s).ns + kStart * kNsPerSecond + kKernelOff}; }
  // Posix, as a receiver labels second n.
  std::int64_t posix(int n) const {
    return kStart + n - (leap != 0 && n > leap_at - (leap < 0 ? 2 : 0) ? leap : 0);
  }

  Action second() {
    const int n = now++;
    if (gnss) {
      discipline.step(Pulse{PulseInput::kGnss, host(n + spoof_ns * 1e-9), 50ns, 0});
      discipline.step(QuantisationError{UtcTime{posix(n) * kNsPerSecond}, 0, true});
      SecondLabel label;
      label.arrival = host(n + 0.1);
      label.second = UtcTime{(posix(n) + label_off) * kNsPerSecond};
      label.trusted = trusted;
      label.leap_second = leap > 0 && n == leap_at;
      discipline.step(label);
      condition.at = host(n + 0.2);
      discipline.step(condition);
    }
    if (rubidium) {
      discipline.step(Pulse{PulseInput::kOscillator, host(n + 0.3), 50ns, 0});
      if (n % 5 == 0) {
        oscillator.at = host(n + 0.4);
        discipline.step(oscillator);
      }
    }
    const Action action = discipline.tick(host(n + 0.5));
    raised = raised | action.raised;
    served = discipline.publish({host(n + 0.5), kernel(n + 0.5), 50ns});
    return action;
  }
  void seconds(int count) {
    while (count-- > 0) second();
  }
  void until(State state, int at_most) {
    while (discipline.state() != state && at_most-- > 0) second();
    ASSERT_EQ(discipline.state(), state) << name_of(discipline.state()) << " at " << now;
  }
  // What is served now, less the truth.
  std::int64_t error_ns() const {
    return served.utc(kernel(now - 0.5)).ns - (posix(now - 1) * kNsPerSecond + 500'000'000);
  }
  void expect_true_time() const {
    EXPECT_LE(std::abs(error_ns()), served.root_dispersion(kernel(now - 0.5)).count()) << now;
  }

  GnssCondition condition = [] {
    GnssCondition c;
    c.usable = true;
    return c;
  }();
  OscillatorCondition oscillator = [] {
    OscillatorCondition c;
    c.locked = true;
    return c;
  }();
  bool gnss = true;
  bool trusted = true;
  bool rubidium = true;
  std::int64_t label_off = 0;
  double spoof_ns = 0;
  int leap = 0;
  int leap_at = 0;
  int now = 0;
  AlarmSet raised;
  ClockState served;
  Discipline discipline;
};

TEST_F(DisciplineTest, GoesThroughItsStatesInOrder) {
  EXPECT_EQ(discipline.tick(host(-1)).state, State::kCold);
  oscillator.locked = false;
  trusted = false;
  seconds(3);
  EXPECT_EQ(discipline.state(), State::kWarmup);
  oscillator.locked = true;
  seconds(5);
  EXPECT_EQ(discipline.state(), State::kNumbering);
  EXPECT_FALSE(served.synchronised());
  trusted = true;
  seconds(4);
  EXPECT_EQ(discipline.state(), State::kNumbering);
  EXPECT_FALSE(served.synchronised());
  until(State::kLocked, 30);
  EXPECT_TRUE(served.synchronised());
  gnss = false;
  until(State::kHoldover, 6);
  EXPECT_TRUE(served.synchronised());
  gnss = true;
  until(State::kLocked, 6);
}

TEST_F(DisciplineTest, LockedItIsStratumOneWithItsNameAndAnHonestBound) {
  until(State::kLocked, 60);
  seconds(30);
  EXPECT_EQ(served.stratum, 1);
  EXPECT_EQ(served.reference_id, 0x47505300U);  // "GPS", zero padded (RFC 5905, figure 12)
  EXPECT_EQ(served.leap, LeapIndicator::kNone);
  EXPECT_LE(served.error_bound, 500ns);
  EXPECT_EQ(served.precision, -24);  // 60 ns
  EXPECT_LT(served.as_of - served.reference_time, 1s);
  expect_true_time();
}

TEST_F(DisciplineTest, UnsynchronisedItHasNoStratumNorName) {
  trusted = false;
  seconds(20);
  EXPECT_EQ(served.stratum, kMaxStratum);
  EXPECT_EQ(served.leap, LeapIndicator::kUnknown);
  EXPECT_EQ(served.reference_id, 0U);
  EXPECT_EQ(served.root_dispersion(served.as_of), 1s);
}

TEST_F(DisciplineTest, HoldoverKeepsNameAndTimeOfTheLastCorrection) {
  until(State::kLocked, 60);
  seconds(60);
  gnss = false;
  seconds(600);
  EXPECT_EQ(discipline.state(), State::kHoldover);
  EXPECT_EQ(served.stratum, 1);
  EXPECT_EQ(served.reference_id, 0x47505300U);
  EXPECT_NEAR(static_cast<double>((served.as_of - served.reference_time).count()) * 1e-9, 600, 5);
  EXPECT_TRUE(raised.has(Alarm::kPulsesMissing));
  expect_true_time();
}

TEST_F(DisciplineTest, LosingTheRubidiumInHoldoverEndsInFreerun) {
  until(State::kLocked, 60);
  seconds(60);
  gnss = false;
  seconds(60);
  oscillator.locked = false;
  until(State::kFreerun, 600);
  EXPECT_FALSE(served.synchronised());
  EXPECT_GT(*discipline.bound(), 100us);
  EXPECT_TRUE(raised.has(Alarm::kRubidiumUnlocked));
  EXPECT_TRUE(raised.has(Alarm::kBoundExceeded));
  expect_true_time();
  gnss = true;
  until(State::kLocked, 60);
  EXPECT_TRUE(discipline.degraded());
}

TEST_F(DisciplineTest, ASilentRubidiumIsNotTrusted) {
  until(State::kLocked, 60);
  rubidium = false;
  seconds(20);
  EXPECT_TRUE(raised.has(Alarm::kRubidiumSilent));
  EXPECT_TRUE(discipline.degraded());
  EXPECT_EQ(discipline.state(), State::kLocked);
}

TEST_F(DisciplineTest, ARubidiumThatFollowsAPulseItselfIsNoWitness) {
  oscillator.disciplined = true;
  seconds(60);
  EXPECT_TRUE(discipline.degraded());
}

// Its own loop kept it at UTC's frequency, which nobody has measured: 2e-9 at most.
class SelfDisciplined : public DisciplineTest {
 protected:
  static DisciplineOptions options() {
    DisciplineOptions options;
    options.rubidium_follows = true;
    return options;
  }
  SelfDisciplined() : DisciplineTest(options()) {}
};

TEST_F(SelfDisciplined, ItsLoopIsAsItShouldBeAndItHoldsOverOnItsOwn) {
  oscillator.disciplined = true;
  until(State::kLocked, 60);
  seconds(60);
  EXPECT_FALSE(discipline.degraded());
  EXPECT_FALSE(discipline.alarms().has(Alarm::kRubidiumUnlocked));
  gnss = false;
  seconds(3);
  oscillator.disciplined = false;
  seconds(3600);
  EXPECT_EQ(discipline.state(), State::kHoldover);
  EXPECT_FALSE(discipline.degraded());
  EXPECT_LT(*discipline.bound(), 20us);
  expect_true_time();
  gnss = true;
  seconds(10);
  EXPECT_EQ(discipline.state(), State::kLocked);
  expect_true_time();
  oscillator.locked = false;
  seconds(10);
  EXPECT_TRUE(discipline.degraded());
}

TEST_F(DisciplineTest, ATemperatureBeyondTheContractEndsItsUse) {
  oscillator.temperature_c = 40;
  until(State::kLocked, 60);
  seconds(10);
  EXPECT_FALSE(discipline.degraded());
  oscillator.temperature_c = 45.5;
  seconds(10);
  EXPECT_TRUE(discipline.degraded());
  EXPECT_TRUE(raised.has(Alarm::kRubidiumTemperature));
}

TEST_F(DisciplineTest, PulsesOfAReceiverThatSaysItIsNotUsableAreNotUsed) {
  until(State::kLocked, 60);
  seconds(30);
  condition.usable = false;
  spoof_ns = 1e8;
  seconds(60);
  EXPECT_EQ(discipline.state(), State::kHoldover);
  EXPECT_FALSE(discipline.suspect());
  expect_true_time();
  condition.usable = true;
  spoof_ns = 0;
  until(State::kLocked, 6);
}

TEST_F(DisciplineTest, JammingExcludesGnssForAnHour) {
  until(State::kLocked, 60);
  condition.jamming = Threat::kCritical;
  second();
  EXPECT_TRUE(discipline.suspect());
  condition.jamming = Threat::kNone;
  seconds(3590);
  EXPECT_TRUE(discipline.suspect());
  EXPECT_EQ(discipline.state(), State::kHoldover);
  expect_true_time();
  until(State::kLocked, 30);
  EXPECT_FALSE(discipline.suspect());
}

TEST_F(DisciplineTest, AStepOfTheReceiverIsNotFollowed) {
  until(State::kLocked, 60);
  seconds(30);
  spoof_ns = 3000;
  seconds(10);
  EXPECT_TRUE(discipline.suspect());
  EXPECT_TRUE(raised.has(Alarm::kPhaseStep));
  EXPECT_EQ(discipline.state(), State::kHoldover);
  expect_true_time();
  seconds(4000);
  EXPECT_TRUE(discipline.suspect());  // not one of those seconds was clean
  expect_true_time();
}

TEST_F(DisciplineTest, TheOperatorsCommandBelievesGnss) {
  until(State::kLocked, 60);
  spoof_ns = 3000;
  seconds(10);
  discipline.readmit(host(now));
  EXPECT_FALSE(discipline.suspect());
  until(State::kLocked, 60);
  EXPECT_NEAR(static_cast<double>(error_ns()), -3000, 100);
}

TEST_F(DisciplineTest, ADisagreeingLabelNeverRenumbersAndExcludesWhenItGoesOn) {
  until(State::kLocked, 60);
  label_off = 1;
  seconds(4);
  EXPECT_TRUE(raised.has(Alarm::kLabelDisagrees));
  EXPECT_FALSE(discipline.suspect());
  seconds(1);
  EXPECT_TRUE(discipline.suspect());
  seconds(100);
  expect_true_time();
}

TEST_F(DisciplineTest, AWeekRolloverIsAnAlarmAndNothingElse) {
  until(State::kLocked, 60);
  label_off = -std::int64_t{1024} * 7 * 86400;
  seconds(100);
  EXPECT_TRUE(raised.has(Alarm::kWeekRollover));
  EXPECT_FALSE(discipline.suspect());
  EXPECT_EQ(discipline.state(), State::kLocked);
  expect_true_time();
}

TEST_F(DisciplineTest, SoIsOneThatTheDriverPutRightForAsLongAsItLasts) {
  until(State::kLocked, 60);
  condition.rollover_weeks = 1024;
  seconds(2);
  EXPECT_TRUE(discipline.alarms().has(Alarm::kWeekRollover));
  EXPECT_FALSE(discipline.suspect());
  condition.rollover_weeks = 0;
  seconds(2);
  EXPECT_FALSE(discipline.alarms().has(Alarm::kWeekRollover));
}

TEST_F(DisciplineTest, AnInsertedLeapSecondIsAnnouncedAppliedAndNeverServed) {
  leap = 1;
  leap_at = 100;
  for (const auto source : {LeapNotice::Source::kFile, LeapNotice::Source::kReceiver}) {
    discipline.step(leap_notice_of(source, LeapIndicator::kInsert, leap_at));
  }
  until(State::kLocked, 60);
  while (now < leap_at + 20) {
    second();
    const int n = now - 1;
    const bool near = n >= leap_at - 4 && n <= leap_at;
    EXPECT_EQ(served.synchronised(), !near) << n - leap_at;
    if (near) continue;
    EXPECT_EQ(served.leap, n < leap_at ? LeapIndicator::kInsert : LeapIndicator::kNone) << n;
    expect_true_time();
  }
  EXPECT_FALSE(discipline.suspect());
  EXPECT_FALSE(raised.has(Alarm::kLabelDisagrees));
}

TEST_F(DisciplineTest, ADeletedOneToo) {
  leap = -1;
  leap_at = 100;
  for (const auto source : {LeapNotice::Source::kFile, LeapNotice::Source::kReceiver}) {
    discipline.step(leap_notice_of(source, LeapIndicator::kDelete, leap_at));
  }
  until(State::kLocked, 60);
  while (now < leap_at + 20) {
    second();
    const int n = now - 1;
    if (n < leap_at - 4) {
      EXPECT_EQ(served.leap, LeapIndicator::kDelete);
    }
    if (n >= leap_at) {
      EXPECT_TRUE(served.synchronised()) << n;
    }
    if (served.synchronised()) expect_true_time();
  }
  EXPECT_FALSE(raised.has(Alarm::kLabelDisagrees));
}

class ClaimedLeap : public DisciplineTest, public testing::WithParamInterface<int> {};

TEST_P(ClaimedLeap, IsNotAnnouncedAndTheLabelsDecide) {
  leap = GetParam();
  leap_at = 100;
  const auto claimed = leap < 0 ? LeapIndicator::kDelete : LeapIndicator::kInsert;
  discipline.step(leap_notice_of(LeapNotice::Source::kReceiver, claimed, leap_at));
  until(State::kLocked, 60);
  while (now < leap_at + 30) {
    second();
    const int n = now - 1;
    if (n >= leap_at - 2 && n <= leap_at + 4) {
      EXPECT_FALSE(served.synchronised()) << n;
    }
    if (!served.synchronised()) continue;
    EXPECT_EQ(served.leap, LeapIndicator::kNone);
    expect_true_time();
  }
  EXPECT_TRUE(served.synchronised());
  EXPECT_TRUE(raised.has(Alarm::kLeapDisagreement));
  EXPECT_FALSE(raised.has(Alarm::kLabelDisagrees));
}

INSTANTIATE_TEST_SUITE_P(HappensOrNot, ClaimedLeap, testing::Values(-1, 0, 1));

// Neither a file that is current nor a receiver that knows: the ends of June and December may be
// it.
class UnknownLeap : public DisciplineTest, public testing::WithParamInterface<int> {};

TEST_P(UnknownLeap, AtMidYearTheLabelsDecide) {
  LeapNotice expired = leap_notice_of(LeapNotice::Source::kFile, LeapIndicator::kNone, 0);
  expired.trusted = false;
  discipline.step(expired);
  constexpr int kToJuly = (31 + 30 + 31 + 30) * 86400;  // from March 1
  leap = GetParam();
  now = kToJuly - 100;
  leap_at = kToJuly;
  until(State::kLocked, 60);
  EXPECT_TRUE(discipline.leap_unknown());
  EXPECT_TRUE(raised.has(Alarm::kLeapUnknown));
  while (now < leap_at + 30) {
    second();
    const int n = now - 1;
    if (n >= leap_at - 2 && n <= leap_at + 4) {
      EXPECT_FALSE(served.synchronised()) << n;
    }
    if (!served.synchronised()) continue;
    EXPECT_EQ(served.leap, LeapIndicator::kNone);
    expect_true_time();
  }
  EXPECT_TRUE(served.synchronised());
}

INSTANTIATE_TEST_SUITE_P(HappensOrNot, UnknownLeap, testing::Values(-1, 0, 1));

TEST_F(DisciplineTest, ALeapThatPassesInHoldoverUnconfirmedIsNotServedThrough) {
  discipline.step(leap_notice_of(LeapNotice::Source::kReceiver, LeapIndicator::kInsert, 200));
  until(State::kLocked, 60);
  gnss = false;
  while (now < 400) second();
  EXPECT_FALSE(served.synchronised());
  leap = 1;
  leap_at = 200;
  gnss = true;
  seconds(20);
  EXPECT_TRUE(served.synchronised());
  expect_true_time();
}

TEST_F(DisciplineTest, ForeignSteeringOfTheKernelsClockIsAnAlarm) {
  until(State::kLocked, 60);
  discipline.publish({host(now), kernel(now) + 5ms, 50ns});
  second();
  EXPECT_TRUE(raised.has(Alarm::kForeignSteering));
}

TEST_F(DisciplineTest, APublicationIsVoidWhenNoneFollows) {
  until(State::kLocked, 60);
  EXPECT_GT(served.root_dispersion(kernel(now + 5)), std::chrono::hours(1000));
}

// Three servers on the network, good to 2 ms.
class WithSources : public DisciplineTest {
 protected:
  explicit WithSources(DisciplineOptions options = {}) : DisciplineTest(options) {}

  void second_with_sources(int count) {
    while (count-- > 0) {
      for (std::uint8_t i = 0; i < 3; ++i) {
        const std::int64_t utc = posix(now) * kNsPerSecond + wrong_ns[i];
        discipline.step(TimeSample{i, host(now), UtcTime{utc}, 2ms});
      }
      second();
    }
  }
  std::array<std::int64_t, 3> wrong_ns{500'000, -700'000, 3'600'000'000'000};
};

TEST_F(WithSources, ANumberingThatTheyContradictIsNotServedForLong) {
  label_off = 1;  // from the start: five labels in a row agree
  seconds(20);
  EXPECT_TRUE(served.synchronised());
  second_with_sources(3);
  EXPECT_TRUE(raised.has(Alarm::kSourcesDisagree));
  EXPECT_TRUE(discipline.suspect());
}

TEST_F(WithSources, AnHonestReceiverIsNotDisturbed) {
  second_with_sources(60);
  EXPECT_EQ(discipline.state(), State::kLocked);
  EXPECT_FALSE(discipline.suspect());
  EXPECT_FALSE(raised.has(Alarm::kSourcesDisagree));
  expect_true_time();
}

class SourcesAlone : public WithSources {
 protected:
  SourcesAlone()
      : WithSources([] {
          DisciplineOptions o;
          o.rubidium = false;
          o.bare_pps = true;
          o.locked_bound = 5ms;
          o.holdover_limit = 50ms;
          return o;
        }()) {
    rubidium = gnss = false;
  }
};

TEST_F(SourcesAlone, TheirMajorityIsServed) {
  second_with_sources(30);
  EXPECT_EQ(discipline.state(), State::kLocked);
  expect_true_time();
  EXPECT_LT(served.error_bound, 3ms);
  seconds(200);  // they are silent
  EXPECT_EQ(discipline.state(), State::kHoldover);
  expect_true_time();
}

TEST_F(SourcesAlone, WithoutAMajorityNothingIs) {
  wrong_ns = {0, 1'000'000'000, 2'000'000'000};
  second_with_sources(30);
  EXPECT_FALSE(served.synchronised());
  EXPECT_TRUE(raised.has(Alarm::kSourcesDisagree));
}

TEST_F(SourcesAlone, TheyNameTheSecondsOfABarePps) {
  for (int n = 0; n < 30; ++n) {
    discipline.step(Pulse{PulseInput::kGnss, host(now), 50ns, 0});
    second_with_sources(1);
  }
  EXPECT_EQ(discipline.state(), State::kLocked);
  EXPECT_LT(served.error_bound, 1us);
  expect_true_time();
}

class WithoutRubidium : public DisciplineTest {
 protected:
  WithoutRubidium()
      : DisciplineTest([] {
          DisciplineOptions o;
          o.rubidium = false;
          o.reference_id = {'P', 'P', 'S', '\0'};
          return o;
        }()) {
    rubidium = false;
  }
};

TEST_F(WithoutRubidium, AcquiresUntilTheBoundIsSmallEnough) {
  until(State::kAcquire, 6);
  EXPECT_GT(*discipline.bound(), 500ns);
  EXPECT_FALSE(served.synchronised());
  until(State::kLocked, 30);
  EXPECT_LE(*discipline.bound(), 500ns);
}

TEST_F(WithoutRubidium, GnssAloneLocksAndHoldsForAMoment) {
  until(State::kLocked, 60);
  EXPECT_FALSE(discipline.degraded());
  EXPECT_EQ(served.reference_id, 0x50505300U);
  expect_true_time();
  gnss = false;
  seconds(60);
  EXPECT_EQ(discipline.state(), State::kHoldover);
  expect_true_time();
  until(State::kFreerun, 600);
  expect_true_time();
}

}  // namespace
}  // namespace timeball::refclock
