// The kernel's clock under the real RackClock, in virtual time: who reads what is published, at any
// moment and as late as readers may be, gets the time within its bound.
#include "refclock/steering.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cmath>
#include <vector>

#include "refclock/kernel_steering.h"

namespace timeball::refclock {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kStart = 1'803'859'200;  // 2027-03-01 00:00:00 UTC
constexpr std::int64_t kDay_ns = 86400 * kNsPerSecond;

// CLOCK_REALTIME and clock_adjtime(2), over a host time that the test moves.
class FakeKernel {
 public:
  explicit FakeKernel(KernelTime start) : segments_{{{0}, start, 0}} {}

  KernelTime at(HostTime t) const {
    auto s = segments_.end() - 1;
    while (s != segments_.begin() && t < s->from) --s;
    const Duration since = t - s->from;
    return s->reads + since + Duration(std::llround(static_cast<double>(since.count()) * s->rate));
  }
  double rate_ppm() const { return drift_ppm + static_cast<double>(word) / kScaledPpm; }

  void drift(double ppm) {
    drift_ppm = ppm;
    change(0ns);
  }
  void step(Duration by) { change(by); }
  void advance(HostTime t) {
    leap(t);
    now = t;
  }

  int adjust(timex* t) {
    const int modes = static_cast<int>(t->modes);
    if (modes != 0 && !permitted) {
      errno = EPERM;
      return -1;
    }
    before_change();
    if (modes == ADJ_OFFSET_SINGLESHOT) {
      adjtime_left = t->offset;
    } else {
      obey(*t);
    }
    now = now + stall;
    t->freq = word;
    before_change();
    return TIME_OK;
  }

  HostTime now;
  double drift_ppm = 0;
  long word = 0;
  int status = STA_PLL;
  long maxerror = 16'000'000, esterror = 16'000'000, tai = 0;
  long loop_offset = 5000, adjtime_left = 3000, tick = 10'001;
  bool permitted = true;
  int leapt = 0;
  Duration stall{};  // the call returns so late
  std::vector<Duration> steps;
  int frequencies = 0;
  std::function<void()> before_change = [] {};

 private:
  struct Segment {
    HostTime from;
    KernelTime reads;
    double rate = 0;
  };

  void change(Duration by) { segments_.push_back({now, at(now) + by, rate_ppm() * 1e-6}); }

  void obey(const timex& t) {
    if ((t.modes & ADJ_STATUS) != 0) status = t.status;
    if ((t.modes & ADJ_OFFSET) != 0 && (status & STA_PLL) != 0) loop_offset = t.offset;
    if ((t.modes & ADJ_TICK) != 0) tick = t.tick;
    if ((t.modes & ADJ_MAXERROR) != 0) maxerror = t.maxerror;
    if ((t.modes & ADJ_ESTERROR) != 0) esterror = t.esterror;
    if ((t.modes & ADJ_TAI) != 0) tai = t.constant;
    if ((t.modes & ADJ_FREQUENCY) != 0) {
      EXPECT_LE(std::abs(t.freq), 500 * kScaledPpm);
      word = t.freq;
      ++frequencies;
      change(0ns);
    }
    if ((t.modes & ADJ_SETOFFSET) != 0) {
      EXPECT_NE(t.modes & ADJ_NANO, 0U);
      EXPECT_GE(t.time.tv_usec, 0);
      EXPECT_LT(t.time.tv_usec, kNsPerSecond);
      steps.emplace_back(t.time.tv_sec * kNsPerSecond + t.time.tv_usec);
      status |= STA_UNSYNC;
      change(steps.back());
    }
  }

  // At the first timer tick, 2 ms late.
  void leap(HostTime until) {
    const bool insert = (status & STA_INS) != 0;
    if (!insert && (status & STA_DEL) == 0) {
      leapt_ = false;
      return;
    }
    const KernelTime midnight{at(now).ns / kDay_ns * kDay_ns + kDay_ns};
    const Duration left = midnight - at(now) - (insert ? 0s : 1s) + 2ms;
    if (leapt_ || now + left > until) return;
    now = now + left;
    change(insert ? -1s : 1s);
    leapt_ = true;
    ++leapt;
  }

  std::vector<Segment> segments_;
  bool leapt_ = false;
};

class SteeringTest : public testing::Test {
 protected:
  struct Published {
    ClockState state;
    HostTime at;
    bool known = false;  // the time was, and the kernel's clock
  };

  explicit SteeringTest(DisciplineOptions options = steered(), Duration reading = 50ns)
      : rack(options), reading_error(reading) {
    tell_leaps(0);
  }

  static DisciplineOptions steered() {
    DisciplineOptions o;
    o.contract.kernel = KernelContract::steered();
    o.locked_bound = 800ns;
    return o;
  }
  // The host's clock is 20 ppm fast, its second 0 is kStart; leap seconds counted.
  static HostTime host(double s) { return {1'000'000'000 + std::llround(s * 1.00002e9)}; }
  std::int64_t continuous_ns(HostTime t) const {
    return kStart * kNsPerSecond +
           std::llround(static_cast<double>(t.ns - 1'000'000'000) / 1.00002);
  }
  std::int64_t utc_ns(HostTime t) const {
    const std::int64_t ns = continuous_ns(t);
    const std::int64_t after = (kStart + leap_at + std::min(leap, 0)) * kNsPerSecond;
    return leap != 0 && ns >= after + (leap > 0 ? kNsPerSecond : 0) ? ns - leap * kNsPerSecond : ns;
  }
  std::int64_t posix(int n) const { return utc_ns(host(n + 1e-4)) / kNsPerSecond; }
  Duration kernel_offset() const { return Duration(kernel.at(kernel.now).ns - utc_ns(kernel.now)); }

  void start(Duration offset, double drift_ppm = 0) {
    kernel.advance(host(second_ - 1));
    kernel.step(offset - kernel_offset());
    kernel.drift(drift_ppm);
    steering.emplace(KernelClockControl([this](timex* t) { return kernel.adjust(t); }), [this] {
      kernel.advance(kernel.now + 1us);
      return ClockPair{kernel.now, kernel.at(kernel.now), reading_error};
    });
    kernel.before_change = [this] { check(); };
  }
  void tell_leaps(int change) {
    leap = change;
    LeapTable table;
    table.expires = UtcTime{(kStart + 86400 * 365) * kNsPerSecond};
    table.entries.push_back({UtcTime{}, 37});
    const UtcTime event{(kStart + leap_at) * kNsPerSecond};
    if (change != 0) table.entries.push_back({event, 37 + change});
    rack.set_leap_table(table);
    LeapNotice notice;
    notice.source = LeapNotice::Source::kReceiver;
    notice.trusted = true;
    notice.tai_minus_utc_s = 37;
    if (change != 0) notice.change = change > 0 ? LeapIndicator::kInsert : LeapIndicator::kDelete;
    notice.event = event;
    rack.observe(notice);
  }

  void observe(int n) {
    if (gnss) {
      rack.observe(Pulse{PulseInput::kGnss, host(n), reading_error, 0});
      rack.observe(QuantisationError{UtcTime{posix(n) * kNsPerSecond}, 0, true});
      SecondLabel label;
      label.arrival = host(n + 0.1);
      label.second = UtcTime{posix(n) * kNsPerSecond};
      label.trusted = true;
      label.leap_second = leap > 0 && n == leap_at;
      rack.observe(label);
      GnssCondition condition;
      condition.at = host(n + 0.2);
      condition.usable = true;
      rack.observe(condition);
    }
    rack.observe(Pulse{PulseInput::kOscillator, host(n + 0.3), reading_error, 0});
    OscillatorCondition oscillator;
    oscillator.at = host(n + 0.4);
    oscillator.locked = rubidium;
    rack.observe(oscillator);
  }
  void publish(const ClockState& state) {
    check();
    before = std::exchange(newest, {state, kernel.now, !blind && rack.status().bound});
    check();
  }
  void second() {
    const int n = second_++;
    observe(n);
    kernel.advance(host(n + 0.5));
    const ClockPair pair{kernel.now, kernel.at(kernel.now), reading_error};
    const RackClock::Beat beat = rack.tick(pair);
    raised = raised | beat.action.raised;
    left_locked = left_locked || (n > 10 && was == State::kLocked && beat.action.state != was);
    was = beat.action.state;
    publish(steering->prepare(rack.status(), beat.clock, pair.kernel));
    kernel.advance(kernel.now + kReadersLag);
    check();
    if (const auto fresh = steering->apply(rack)) publish(*fresh);
    for (const double later : {0.001, 0.009, 0.3, 0.7, 0.95}) {
      kernel.advance(host(n + 0.52 + later));
      check();
    }
    served += synchronised();
  }
  void seconds(int count) {
    while (count-- > 0) second();
  }

  // Until a tick has seen it, what is served is wrong by that, and no one can know.
  template <class Deed>
  void foreign(Deed deed) {
    deed();
    newest = before = {};
    blind = true;
    second();
    blind = false;
  }

  // Who has the newest state, or the one before it a little longer, asks about now, or a moment
  // ago.
  void check() const {
    check(newest, kernel.now);
    if (kernel.now - newest.at > kReadersLag) return;
    check(before, kernel.now);
    check(newest, kernel.now - kReadersLag);
  }
  void check(const Published& published, HostTime t) const {
    const auto& [state, at, known] = published;
    const KernelTime k = kernel.at(t);
    if (!known || k > state.void_after || (leap != 0 && !state.synchronised())) return;
    EXPECT_LE(std::abs(state.utc(k).ns - utc_ns(t)), state.root_dispersion(k).count())
        << second_ << ": " << (t - at).count() << " ns after publication, kernel "
        << kernel_offset().count() << " off";
  }
  bool synchronised() const { return newest.state.at(kernel.at(kernel.now)).synchronised(); }

  FakeKernel kernel{KernelTime{kStart * kNsPerSecond}};
  RackClock rack;
  Duration reading_error;
  std::optional<KernelSteering> steering;
  Published newest, before;
  bool gnss = true, rubidium = true;
  int leap = 0, leap_at = 86400;
  int second_ = 0;
  int served = 0;
  State was = State::kCold;
  bool left_locked = false;
  bool blind = false;
  AlarmSet raised;
};

TEST_F(SteeringTest, FiftyMillisecondsAreSlewedAway) {
  start(50ms);
  seconds(120);
  EXPECT_LT(kernel_offset(), 30ms);
  EXPECT_GT(kernel_offset(), 1ms);
  seconds(480);
  EXPECT_LT(std::abs(kernel_offset().count()), 1000);
  EXPECT_TRUE(kernel.steps.empty());
  EXPECT_FALSE(left_locked);
  EXPECT_FALSE(raised.has(Alarm::kForeignSteering));
  EXPECT_GT(served, 580);
}

TEST_F(SteeringTest, TwoHundredAreSteppedOnceAndNothingIsServedMeanwhile) {
  start(-200ms);
  while (kernel.steps.empty() && second_ < 60) second();
  ASSERT_EQ(kernel.steps.size(), 1U);
  EXPECT_FALSE(synchronised());
  EXPECT_LT(std::abs(kernel_offset().count()), 30'000);  // 20 ppm
  second();
  EXPECT_TRUE(synchronised());
  seconds(300);
  EXPECT_LT(std::abs(kernel_offset().count()), 1000);
  EXPECT_EQ(kernel.steps.size(), 1U);
  EXPECT_FALSE(left_locked);
  EXPECT_FALSE(raised.has(Alarm::kForeignSteering));
}

TEST_F(SteeringTest, AClockThatWasNeverSetIsSteppedExactly) {
  start(-57 * 365 * 24h);
  seconds(400);
  EXPECT_EQ(kernel.steps.size(), 1U);
  EXPECT_LT(std::abs(kernel_offset().count()), 1000);
  EXPECT_FALSE(raised.has(Alarm::kForeignSteering));
}

TEST_F(SteeringTest, AFrequencyOf37PpmIsTakenOut) {
  start(0ns, 37);
  seconds(400);
  EXPECT_LT(std::abs(kernel_offset().count()), 1000);
  EXPECT_NEAR(kernel.rate_ppm(), -20, 0.01);  // which the host's is fast
  EXPECT_FALSE(left_locked);
  EXPECT_FALSE(raised.has(Alarm::kForeignSteering));
}

TEST_F(SteeringTest, WhenSettledTheBoundIsThatOfLocked) {
  start(0ns, 37);
  seconds(600);
  EXPECT_LT(newest.state.error_bound, 600ns);
  EXPECT_LT(newest.state.growth_ppb, 100);
  EXPECT_LE(*rack.status().bound, 700ns);
}

TEST_F(SteeringTest, AForeignStepIsAnAlarmAndSlewedAway) {
  start(0ns);
  seconds(60);
  foreign([this] { kernel.step(300ms); });
  seconds(30);
  EXPECT_TRUE(raised.has(Alarm::kForeignSteering));
  EXPECT_GT(kernel_offset(), 290ms);
  seconds(1200);
  EXPECT_TRUE(kernel.steps.empty());
  EXPECT_LT(std::abs(kernel_offset().count()), 1000);
}

TEST_F(SteeringTest, AForeignFrequencyIsAnAlarmAndSlewedAway) {
  start(0ns);
  seconds(60);
  foreign([this] { kernel.drift(5); });
  seconds(400);
  EXPECT_TRUE(raised.has(Alarm::kForeignSteering));
  EXPECT_LT(std::abs(kernel_offset().count()), 1000);
}

TEST_F(SteeringTest, InHoldoverItIsSteeredButNeverStepped) {
  start(50ms);
  seconds(60);
  gnss = false;
  seconds(600);
  EXPECT_EQ(was, State::kHoldover);
  EXPECT_LT(std::abs(kernel_offset().count()), 5000);
  EXPECT_TRUE(kernel.steps.empty());
}

TEST_F(SteeringTest, InFreerunItIsLeftAsItIs) {
  start(0ns, 37);
  seconds(300);
  gnss = rubidium = false;
  while (was != State::kFreerun && second_ < 1000) second();
  ASSERT_EQ(was, State::kFreerun);
  const int frequencies = kernel.frequencies;
  const long word = kernel.word;
  seconds(100);
  EXPECT_EQ(kernel.frequencies, frequencies);
  EXPECT_EQ(kernel.word, word);
}

TEST_F(SteeringTest, BeforeItIsLockedItIsLeftAsItIs) {
  gnss = false;
  start(1h, 37);
  seconds(60);
  EXPECT_EQ(kernel.frequencies, 0);
  EXPECT_TRUE(kernel.steps.empty());
  EXPECT_EQ(kernel.status, STA_UNSYNC);
}

TEST_F(SteeringTest, WhenItIsNotKnownWhenTheFrequencyChangedThePromiseHoldsAllTheSame) {
  start(50ms);
  seconds(30);
  kernel.stall = 200ms;
  second();
  kernel.stall = 0ns;
  seconds(570);
  EXPECT_FALSE(raised.has(Alarm::kForeignSteering));
  EXPECT_LT(std::abs(kernel_offset().count()), 1000);
}

TEST_F(SteeringTest, AnAbsentPrivilegeIsNamedAtOnce) {
  kernel.permitted = false;
  try {
    start(0ns);
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(),
                 "clock.mode = \"system\" needs CAP_SYS_TIME: name clock.helper, grant it, or set "
                 "mode to \"software\"");
  }
}

TEST_F(SteeringTest, APrivilegeThatIsLostIsNoticedAndItsReturn) {
  start(50ms);
  seconds(30);
  EXPECT_FALSE(steering->refused());
  kernel.permitted = false;
  seconds(30);
  EXPECT_TRUE(steering->refused());
  kernel.permitted = true;
  seconds(2);
  EXPECT_FALSE(steering->refused());
}

TEST_F(SteeringTest, WhoeverElseSlewedItEnds) {
  start(0ns);
  EXPECT_EQ(kernel.loop_offset, 0);
  EXPECT_EQ(kernel.adjtime_left, 0);
  EXPECT_EQ(kernel.tick, 10'000);
  EXPECT_EQ(kernel.status, STA_UNSYNC);
}

TEST_F(SteeringTest, TheKernelTellsOthersHowGoodItIs) {
  start(50ms);
  seconds(60);
  EXPECT_EQ(kernel.status, 0);
  EXPECT_EQ(kernel.tai, 37);
  EXPECT_GT(kernel.maxerror, std::abs(kernel_offset().count()) / 1000);
  EXPECT_NEAR(static_cast<double>(kernel.esterror),
              static_cast<double>(std::abs(kernel_offset().count())) * 1e-3, 500);
  seconds(600);
  EXPECT_LE(kernel.maxerror, 2);
  EXPECT_LE(kernel.esterror, 1);
}

// Where nothing else is uncertain the bound is a few nanoseconds, and each that our steering costs
// shows.
class ExactClocks : public SteeringTest {
 protected:
  ExactClocks() : SteeringTest(exact(), 1ns) {}
  static DisciplineOptions exact() {
    DisciplineOptions o;
    o.contract.gnss.fixed_ns = 0;
    o.contract.gnss.variable_ns = 1;
    o.contract.host.phase_noise_ns = 1;
    o.contract.host.wander = 1e-10;
    o.contract.host.drift_per_s = 1e-11;
    o.contract.gnss_stamp = o.contract.rubidium_stamp = {0, 1};
    return o;
  }
};

TEST_F(ExactClocks, ReadersAreToldTheTruthWhileItIsSlewed) {
  start(50ms, 37);
  seconds(600);
  EXPECT_LT(newest.state.error_bound, 30ns);
  EXPECT_LT(std::abs(kernel_offset().count()), 100);
  EXPECT_FALSE(raised.has(Alarm::kForeignSteering));
}

TEST_F(ExactClocks, ReadersAreToldTheTruthAroundAStep) {
  start(-3h, -37);
  seconds(300);
  EXPECT_EQ(kernel.steps.size(), 1U);
  EXPECT_FALSE(raised.has(Alarm::kForeignSteering));
}

TEST_F(ExactClocks, AThreadThatStandsStillBeforeItSteersKeepsThePromise) {
  start(-50ms);
  seconds(20);
  kernel.stall = 300ms;  // and cannot say when
  second();
  kernel.stall = 20us;
  seconds(300);
  EXPECT_FALSE(raised.has(Alarm::kForeignSteering));
}

class KernelLeap : public SteeringTest, public testing::WithParamInterface<int> {};

TEST_P(KernelLeap, IsTheKernelsOwnAndNotForeign) {
  second_ = leap_at - 200;
  tell_leaps(GetParam());
  start(0ns);
  seconds(150);
  EXPECT_EQ(kernel.status, GetParam() > 0 ? STA_INS : STA_DEL);
  seconds(100);
  EXPECT_EQ(kernel.status, 0);
  EXPECT_EQ(kernel.leapt, 1);
  EXPECT_EQ(kernel.tai, 37 + GetParam());
  EXPECT_TRUE(synchronised());
  EXPECT_LT(std::abs(kernel_offset().count()), 1000);
  EXPECT_TRUE(kernel.steps.empty());
  EXPECT_FALSE(raised.has(Alarm::kForeignSteering));
}

INSTANTIATE_TEST_SUITE_P(InsertedOrDeleted, KernelLeap, testing::Values(1, -1));

constexpr KernelTime kNoon{kStart * kNsPerSecond + kDay_ns / 2};

ClockState served_at(KernelTime now, Duration offset) {
  ClockState state;
  state.as_of = now;
  state.offset = offset;
  state.error_bound = 400ns;
  state.leap = LeapIndicator::kInsert;
  state.stratum = 1;
  return state;
}

TEST(Steering, OnlyLockedAndForTheFirstTimeItSteps) {
  Steering steering;
  Correction c = steering.tick(State::kHoldover, served_at(kNoon, 1s), kNoon, 0);
  EXPECT_EQ(c.step, 0ns);
  EXPECT_EQ(c.frequency, 16 * kScaledPpm);
  c = steering.tick(State::kLocked, served_at(kNoon, 1s), kNoon, 0);
  EXPECT_EQ(c.step, 1s);
  EXPECT_EQ(c.change, 0);
  c = steering.tick(State::kLocked, served_at(kNoon, -1s), kNoon, 0);
  EXPECT_EQ(c.step, 0ns);
  EXPECT_EQ(c.frequency, -16 * kScaledPpm);
}

TEST(Steering, NothingIsDoneWhileNotSynchronised) {
  Steering steering;
  ClockState state = served_at(kNoon, 1s);
  state.stratum = kMaxStratum;
  EXPECT_TRUE(steering.tick(State::kFreerun, state, kNoon, 7).nothing());
  state = served_at(kNoon, 1s);
  state.void_after = kNoon - 1ns;
  EXPECT_TRUE(steering.tick(State::kLocked, state, kNoon, 7).nothing());
}

TEST(Steering, TheFrequencyStaysWithinTheKernelsRange) {
  Steering steering;
  ClockState state = served_at(kNoon, 100ms);
  state.rate = std::llround(std::ldexp(300e-6, ClockState::kRateBits));
  std::int64_t frequency = 0;
  for (int i = 0; i < 100; ++i) {
    const Correction c = steering.tick(State::kLocked, state, kNoon, frequency);
    EXPECT_LE(c.change, 16 * kScaledPpm);
    frequency = c.frequency;
  }
  EXPECT_EQ(frequency, 500 * kScaledPpm);
}

TEST(Steering, TheKernelIsToldOfALeapOnItsDayOnly) {
  Steering steering;
  const auto told = [&](KernelTime now, Duration offset) {
    return steering.tick(State::kHoldover, served_at(now, offset), now, 0).status->leap;
  };
  EXPECT_EQ(told(kNoon, 1ms), LeapIndicator::kInsert);
  EXPECT_EQ(told(kNoon, -2s), LeapIndicator::kNone);
  // UTC's day has begun; the kernel's has not.
  const KernelTime midnight{kStart * kNsPerSecond};
  EXPECT_EQ(told(midnight - 1ms, 2ms), LeapIndicator::kNone);
  EXPECT_EQ(told(midnight + 1ms, 2ms), LeapIndicator::kInsert);
}

}  // namespace
}  // namespace timeball::refclock
