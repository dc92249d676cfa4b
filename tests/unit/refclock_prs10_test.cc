// The poller against a PRS10 in virtual time, and the PRS10's words and loop by themselves.
#include <gtest/gtest.h>

#include <cmath>

#include "refclock/rubidium/prs10.h"
#include "refclock/sim/prs10_model.h"
#include "tests/unit/rubidium_support.h"

namespace timeball::refclock {
namespace {

using namespace std::chrono_literals;
using rubidium::Event;
using rubidium::Model;
using rubidium::Wiring;
using sim::Prs10Model;
using sim::SimTime;

rubidium::Poller prs10_poller(Wiring wiring) {
  return *rubidium::make_poller({Model::kPrs10, wiring, 0});
}

// A PRS10 that is warm when the poller comes.
using Prs10Rack = DeviceRack<Prs10Model, Model::kPrs10>;

TEST(Prs10Words, StatusOfAColdUnitAndOfALockedOne) {
  const auto cold = rubidium::prs10::parse_status("16,3,21,1,2,129");
  ASSERT_TRUE(cold);
  EXPECT_FALSE(cold->locked());
  EXPECT_FALSE(cold->pll_active());
  const auto locked = rubidium::prs10::parse_status("0,0,0,0,4,0");
  ASSERT_TRUE(locked);
  EXPECT_TRUE(locked->locked());
  EXPECT_TRUE(locked->pll_active());
  EXPECT_TRUE(rubidium::prs10::faults(*locked).empty());
  // Bit 2, active, and bit 7, no pulse: not "restarted and disabled".
  const auto no_pulse = rubidium::prs10::parse_status("0,0,0,0,132,0");
  ASSERT_TRUE(no_pulse);
  EXPECT_TRUE(no_pulse->pll_active());
  EXPECT_FALSE(rubidium::prs10::parse_status("0,0,0,0,5,0")->pll_active());
}

TEST(Prs10Words, EachReasonForNoLock) {
  for (const char* text : {"16,0,0,0,4,0", "32,0,0,0,4,0", "0,1,0,0,4,0", "0,0,0,1,4,0"}) {
    EXPECT_FALSE(rubidium::prs10::parse_status(text)->locked()) << text;
  }
  EXPECT_TRUE(rubidium::prs10::parse_status("1,2,4,4,4,32")->locked());
}

TEST(Prs10Words, WhatIsNoStatus) {
  for (const char* text : {"", "1,2,3,4,5", "1,2,3,4,5,6,7", "1,2,3,4,5,256", "1,2,3,4,5,-1",
                           "1,2,3,4,5,x", "PRS_10", "1,,3,4,5,6"}) {
    EXPECT_FALSE(rubidium::prs10::parse_status(text)) << text;
  }
}

TEST(Prs10Words, TimeTags) {
  using rubidium::prs10::parse_time_tag;
  EXPECT_EQ(parse_time_tag("0")->in_after_out, 0ns);
  EXPECT_EQ(parse_time_tag("499999999")->in_after_out, 499999999ns);
  EXPECT_EQ(parse_time_tag("999999990")->in_after_out, -10ns);
  EXPECT_EQ(parse_time_tag("500000000")->in_after_out, -500000000ns);
  ASSERT_TRUE(parse_time_tag("-1"));
  EXPECT_FALSE(parse_time_tag("-1")->in_after_out);
  for (const char* text : {"", "-2", "1000000000", "12,3", "+1", "0x10", "1.0"}) {
    EXPECT_FALSE(parse_time_tag(text)) << text;
  }
}

TEST(Prs10Words, SteeringIsClippedAndRounded) {
  using rubidium::prs10::steering_word;
  EXPECT_EQ(steering_word(0), 0);
  EXPECT_EQ(steering_word(1.4e-12), 1);
  EXPECT_EQ(steering_word(-245e-12), -245);
  EXPECT_EQ(steering_word(1), 2000);
  EXPECT_EQ(steering_word(-2001e-12), -2000);
}

TEST(Prs10Words, FaultsByName) {
  using rubidium::prs10::faults;
  EXPECT_EQ(faults({{0x40, 0, 0x80, 0, 0xff, 0x20}}),
            (std::vector<std::string_view>{"lamp gate voltage low", "case too hot",
                                           "bad command syntax"}));
  EXPECT_TRUE(faults({{0, 0, 0, 0, 0, 0x81}}).empty());  // restarts are no faults
}

// The manual's table, as printed: PT, integrator h, integral SF bits per h per ns, proportional SF
// bits per ns, natural time constant h; zeta 1.
struct GainRow {
  unsigned pt;
  const char* integrator;
  const char* integral;
  const char* proportional;
  const char* natural;
};
constexpr GainRow kGainTable[] = {
    {0, "0.07", "-14.063", "-3.95", "0.14"},   {1, "0.14", "-7.031", "-2.80", "0.20"},
    {2, "0.28", "-3.516", "-1.98", "0.28"},    {3, "0.57", "-1.758", "-1.40", "0.40"},
    {4, "1.14", "-0.879", "-0.99", "0.56"},    {5, "2.28", "-0.439", "-0.70", "0.80"},
    {6, "4.55", "-0.220", "-0.49", "1.12"},    {7, "9.10", "-0.110", "-0.35", "1.59"},
    {8, "18.20", "-0.055", "-0.25", "2.25"},   {9, "36.41", "-0.027", "-0.17", "3.18"},
    {10, "72.82", "-0.014", "-0.12", "4.50"},  {11, "145.64", "-0.007", "-0.09", "6.36"},
    {12, "291.27", "-0.003", "-0.06", "8.99"}, {13, "582.5", "-0.002", "-0.04", "12.72"},
    {14, "1165", "-0.001", "-0.03", "17.99"},
};

// Within half a unit of the last printed digit.
void expect_prints_as(const char* printed, double value) {
  const std::string text(printed);
  const auto point = text.find('.');
  const auto decimals = point == std::string::npos ? 0 : static_cast<int>(text.size() - point - 1);
  EXPECT_LE(std::fabs(value - std::stod(text)), 0.5000001 * std::pow(10, -decimals)) << text;
}

TEST(Prs10Loop, GainsAreTheManualsToItsPrintedDigits) {
  for (const GainRow& row : kGainTable) {
    const sim::Prs10Gains gains = sim::prs10_gains(row.pt, 2);
    expect_prints_as(row.integrator, gains.integrator_s / 3600);
    expect_prints_as(row.integral, gains.integral_per_s_per_ns * 3600);
    expect_prints_as(row.proportional, gains.proportional_per_ns);
    expect_prints_as(row.natural, gains.natural_s / 3600);
  }
  EXPECT_DOUBLE_EQ(sim::prs10_gains(8, 3).proportional_per_ns,
                   2 * sim::prs10_gains(8, 2).proportional_per_ns);
}

TEST(Prs10Poller, WarmUpIsNotedAndEndsInLock) {
  Prs10Rack world;
  EXPECT_FALSE(world.rack.run(329s, [&] { return world.rack.last.locked; }));
  EXPECT_TRUE(world.rack.run(15s, [&] { return world.rack.last.locked; }));
  EXPECT_TRUE(world.rack.has(Event::Kind::kIdentified, "PRS10_3.24_SN_12345"));
  EXPECT_TRUE(world.rack.has(Event::Kind::kAlarm, "lamp light low"));
  EXPECT_NEAR(*world.rack.last.temperature_c, 40, 0.2);
  EXPECT_EQ(world.rack.poller.counts().timeouts, 0U);
}

TEST(Prs10Poller, PaperClockTurnsTheLoopOffAndTellsThePhase) {
  Prs10Rack world;
  world.rack.free_phase = [](SimTime t) { return 250e-9 + 1e-11 * seconds(t); };
  world.rack.run(1h);
  EXPECT_FALSE(world.model.loop_active());
  EXPECT_FALSE(world.rack.last.disciplined);
  EXPECT_TRUE(world.rack.has(Event::Kind::kReconfigured, "PL0"));
  EXPECT_EQ(world.rack.count(Event::Kind::kReconfigured), 1U);
  ASSERT_TRUE(world.rack.phase);
  EXPECT_NEAR(nanoseconds(*world.rack.phase), world.model.phase_s() * 1e9, 2);
  world.rack.forget();
  world.rack.run(1h);
  const auto phases = std::count_if(world.rack.conditions.begin(), world.rack.conditions.end(),
                                    [](const auto& c) { return c.phase.has_value(); });
  EXPECT_GT(phases, 3590);
  EXPECT_TRUE(std::all_of(world.rack.conditions.begin(), world.rack.conditions.end(),
                          [](const auto& c) { return c.locked && !c.restarted && !c.jumped; }));
}

TEST(Prs10Poller, ADayOfPollingNeverTimesOutNorWritesTheEeprom) {
  for (const Wiring wiring :
       {Wiring::kPaperClock, Wiring::kHostSteered, Wiring::kSelfDisciplined}) {
    Prs10Rack world(wiring);
    world.rack.run(wiring == Wiring::kPaperClock ? 24h : 3h);
    EXPECT_EQ(world.rack.poller.counts().timeouts, 0U);
    EXPECT_LE(world.rack.poller.counts().unexpected, 1U);  // the fence before the banner
    EXPECT_EQ(world.model.stores(), 0U);
    EXPECT_EQ(world.rack.written.find('!'), std::string::npos);
  }
}

TEST(Prs10Poller, TheLoopsStartMovesThePulseAndIsTold) {
  Prs10Rack world(Wiring::kSelfDisciplined);
  world.rack.free_phase = [](SimTime) { return 0.3; };
  ASSERT_TRUE(world.rack.run(1h, [&] { return world.rack.last.jumped && world.rack.last.locked; }));
  EXPECT_TRUE(world.rack.last.disciplined);
  EXPECT_NEAR(world.model.phase_s(), 0, 1e-8);
  EXPECT_EQ(world.rack.count(Event::Kind::kReconfigured), 0U);
  world.rack.forget();
  world.rack.run(2h);
  EXPECT_EQ(world.rack.count(Event::Kind::kPulseMoved), 0U);
}

TEST(Prs10Loop, PullsAFrequencyErrorToZeroPhase) {
  Prs10Rack world(Wiring::kSelfDisciplined);
  world.rack.free_phase = [](SimTime t) { return 1e-10 * seconds(t); };
  world.rack.run(24h);
  EXPECT_TRUE(world.model.loop_active());
  EXPECT_NEAR(world.model.phase_s() * 1e9, 0, 10);
  EXPECT_NEAR(*world.rack.steering, -100e-12, 3e-12);
}

TEST(Prs10Loop, RejectsPulsesBeyond1024NsAndStartsAnewAfter256) {
  Prs10Rack world(Wiring::kSelfDisciplined);
  world.rack.run(20min);
  ASSERT_TRUE(world.model.loop_active());
  world.rack.forget();
  world.rack.free_phase = [](SimTime) { return 1100e-9; };  // all pulses are 1.1 us off
  world.rack.run(250s);
  EXPECT_TRUE(world.model.loop_active());
  EXPECT_NEAR(world.model.phase_s(), 1100e-9, 2e-9);  // and it does not follow
  ASSERT_TRUE(world.rack.run(300s, [&] { return world.rack.last.jumped; }));
  world.rack.run(5s);
  EXPECT_NEAR(world.model.phase_s(), 0, 5e-9);  // 257 bad, 256 good: a jump
}

TEST(Prs10Loop, FollowsASpoofedWalkOfLessThan1024NsPerPulse) {
  Prs10Rack world(Wiring::kSelfDisciplined, {.pt = 0});
  world.rack.run(20min);
  const double begin = seconds(world.rack.now);
  world.rack.free_phase = [=](SimTime t) { return 1e-9 * (seconds(t) - begin); };
  world.rack.run(1h);
  EXPECT_TRUE(world.model.loop_active());
  EXPECT_EQ(world.rack.count(Event::Kind::kPulseMoved), 1U);
  EXPECT_LT(std::fabs(world.model.phase_s()), 600e-9);  // 3.6 us of walk were steered away
}

TEST(Prs10Poller, HostSteeringIsInForceWhenReadBack) {
  Prs10Rack world(Wiring::kHostSteered);
  world.rack.run(10min);
  EXPECT_EQ(world.rack.steering, 0.0);
  EXPECT_DOUBLE_EQ(*world.rack.poller.steer(-123.4e-12), -123e-12);
  world.rack.forget();
  ASSERT_TRUE(world.rack.run(15s, [&] { return world.rack.steering == -123e-12; }));
  EXPECT_DOUBLE_EQ(world.model.added_frequency(), -123e-12);
  EXPECT_EQ(world.rack.count(Event::Kind::kReconfigured), 0U);
  EXPECT_DOUBLE_EQ(*world.rack.poller.steer(1e-6), 2000e-12);
}

TEST(Prs10Poller, SteeringThatWasLostIsSentAgain) {
  Prs10Rack world(Wiring::kHostSteered);
  world.rack.run(10min);
  world.rack.poller.steer(50e-12);
  world.rack.run(20s);
  world.model.power_cycle(0);
  ASSERT_TRUE(world.rack.run(
      30s, [&] { return world.rack.has(Event::Kind::kReconfigured, "frequency word"); }));
  world.rack.run(20s);
  EXPECT_EQ(world.rack.steering, 50e-12);
}

TEST(Prs10Poller, NoSteeringInTheOtherWirings) {
  for (const Wiring wiring : {Wiring::kPaperClock, Wiring::kSelfDisciplined}) {
    Prs10Rack world(wiring);
    EXPECT_FALSE(world.rack.poller.steer(1e-12));
    world.rack.run(1min);
    EXPECT_EQ(world.rack.written.find("SF0"), std::string::npos);
    EXPECT_EQ(world.rack.written.find("SF1"), std::string::npos);
  }
  Prs10Rack world(Wiring::kHostSteered);
  EXPECT_FALSE(world.rack.poller.steer(std::nan("")));
}

TEST(Prs10Poller, ARestartIsToldOnceAtOnceWithBannerAndWithout) {
  Prs10Rack world;
  world.rack.run(10min);
  ASSERT_TRUE(world.rack.last.locked);
  world.rack.forget();
  world.model.power_cycle(0.2);
  ASSERT_TRUE(world.rack.run(1s, [&] { return world.rack.last.restarted; }));
  EXPECT_FALSE(world.rack.last.locked);
  world.rack.run(1min);
  EXPECT_EQ(world.rack.count(Event::Kind::kRestarted), 1U);
  EXPECT_TRUE(world.rack.has(Event::Kind::kReconfigured, "PL0"));

  world.rack.forget();
  world.rack.plugged = false;  // nobody hears the banner
  world.model.power_cycle(0.1);
  world.rack.run(2s);
  world.rack.plugged = true;
  ASSERT_TRUE(world.rack.run(20s, [&] { return world.rack.last.restarted; }));
  world.rack.run(1min);
  EXPECT_EQ(world.rack.count(Event::Kind::kRestarted), 1U);
}

TEST(Prs10Poller, LossOfLockShowsAndWhatHappenedBetweenPollsIsAnAlarm) {
  Prs10Rack world;
  world.rack.run(10min);
  world.rack.forget();
  world.model.unlock(1s);  // shorter than the poll: only the latch knows
  world.rack.run(10s);
  EXPECT_TRUE(world.rack.last.locked);
  EXPECT_TRUE(world.rack.has(Event::Kind::kAlarm, "frequency lock loop off"));
  world.model.unlock(60s);
  EXPECT_TRUE(world.rack.run(10s, [&] { return !world.rack.last.locked; }));
  world.rack.run(70s);
  EXPECT_TRUE(world.rack.last.locked);
}

TEST(Prs10Poller, NoPulseInGivesConditionsWithoutPhase) {
  Prs10Rack world;
  world.rack.pulse_in = false;
  world.rack.run(10min);
  EXPECT_TRUE(world.rack.last.locked);
  EXPECT_TRUE(std::none_of(world.rack.conditions.begin(), world.rack.conditions.end(),
                           [](const auto& c) { return c.phase.has_value(); }));
  EXPECT_EQ(static_cast<int>(*world.rack.reading("st5")) & 0x80, 0x80);
}

TEST(Prs10Poller, AfterAStallNoReplyIsTakenForAnotherQuestions) {
  Prs10Rack world;
  world.rack.run(10min);
  const double true_ns = world.model.phase_s() * 1e9;
  for (int i = 0; i < 50; ++i) {
    world.rack.forget();
    world.rack.run((i + 1) * 131071003ns);  // wherever the schedule is
    world.model.stall(5s);
    world.rack.run(20s);
    EXPECT_EQ(world.rack.count(Event::Kind::kLost), 1U);
    EXPECT_EQ(world.rack.steering, 0.0);
    for (const auto& condition : world.rack.conditions) {
      EXPECT_TRUE(condition.locked && !condition.restarted);
      if (!condition.phase) continue;
      EXPECT_NEAR(nanoseconds(*condition.phase), true_ns, 2);
    }
    EXPECT_GT(world.rack.conditions.size(), 10U);
  }
}

TEST(Prs10Poller, NothingIsToldOfAnOscillatorThatDoesNotAnswer) {
  Prs10Rack world;
  world.rack.run(10min);
  world.rack.plugged = false;
  world.rack.run(3s);
  world.rack.forget();
  world.rack.run(1h);
  EXPECT_TRUE(world.rack.conditions.empty());
  EXPECT_TRUE(world.rack.events.empty());  // one event was enough
  EXPECT_GT(world.rack.poller.counts().timeouts, 3000U);
  world.rack.plugged = true;
  EXPECT_TRUE(world.rack.run(10s, [&] { return world.rack.last.phase.has_value(); }));
}

TEST(Prs10Poller, CommandsThatWereLostAreAskedAgain) {
  Prs10Rack world;
  world.rack.run(10min);
  world.model.deafen(3s);
  world.rack.run(1min);
  EXPECT_EQ(world.rack.count(Event::Kind::kLost), 1U);
  EXPECT_LT(world.rack.now - SimTime{world.rack.poller.last_answer()->ns}, 2s);
}

TEST(Prs10Poller, NoiseIsCountedAndGotOver) {
  Prs10Rack world;
  world.rack.run(10min);
  world.rack.forget();
  std::vector<std::uint8_t> noise;
  for (int i = 0; i < 3000; ++i) noise.push_back(static_cast<std::uint8_t>(i * 37 % 251 | 0x80));
  world.model.noise(noise);
  world.rack.run(20s);
  EXPECT_GT(world.rack.poller.counts().garbage_octets, 2900U);
  EXPECT_LE(world.rack.count(Event::Kind::kGarbage), 2U);
  EXPECT_LT(world.rack.now - SimTime{world.rack.poller.last_answer()->ns}, 2s);
  EXPECT_TRUE(world.rack.last.locked);
}

TEST(Prs10Poller, HalfALineIsDroppedBeforeTheNextAnswer) {
  Prs10Rack world;
  world.rack.run(10min);
  world.rack.forget();
  const auto true_ns = static_cast<std::int64_t>(world.model.phase_s() * 1e9);
  world.rack.run(5s, [&] { return world.rack.last.phase.has_value(); });
  world.model.noise(bytes_of("12"));  // would make 121650 of 1650
  const auto timeouts = world.rack.poller.counts().timeouts;
  world.rack.run(5s);
  for (const auto& condition : world.rack.conditions) {
    EXPECT_LE(std::abs(condition.phase.value_or(Duration(true_ns)).count() - true_ns), 1);
  }
  EXPECT_LE(world.rack.poller.counts().timeouts, timeouts + 1);
}

TEST(Prs10Poller, ALineThatDoesNotEndIsDropped) {
  Prs10Rack world;
  world.rack.run(10min);
  world.model.noise(bytes_of(std::string(5000, '7')));
  world.rack.run(20s);
  EXPECT_GT(world.rack.poller.counts().garbage_octets, 4900U);
  EXPECT_TRUE(world.rack.last.phase || world.rack.last.locked);
  EXPECT_LT(world.rack.now - SimTime{world.rack.last.at.ns}, 3s);
}

TEST(Prs10Poller, AtTheWrongRateThereAreOneLossAndOneGarbage) {
  auto poller = prs10_poller(Wiring::kPaperClock);
  HostTime now;
  std::size_t events = 0;
  for (int i = 0; i < 1000; ++i) {
    now = now + 100ms;
    const std::uint8_t octets[] = {0xf8, static_cast<std::uint8_t>(i), 0x00, 0xe0, '\r'};
    const auto report = poller.step(now, octets);
    EXPECT_TRUE(report.conditions.empty());
    events += report.events.size();
  }
  EXPECT_EQ(events, 2U);
}

TEST(Prs10Poller, CallsWithoutOctetsChangeNothing) {
  auto poller = prs10_poller(Wiring::kPaperClock);
  std::size_t written = 0;
  for (int i = 0; i < 10'000; ++i) {  // read() that gives EAGAIN again and again
    written += poller.step(HostTime{} + i * 50us, {}).write.empty() ? 0 : 1;
  }
  EXPECT_EQ(written, 1U);
}

TEST(Prs10Poller, ARestartWhileItsLoopFollows) {
  Prs10Rack world(Wiring::kSelfDisciplined);
  world.rack.run(20min);
  ASSERT_TRUE(world.rack.last.disciplined);
  world.rack.forget();
  world.model.power_cycle(0.4);
  ASSERT_TRUE(world.rack.run(1s, [&] { return world.rack.last.restarted; }));
  EXPECT_FALSE(world.rack.last.disciplined);
  world.rack.forget();
  ASSERT_TRUE(world.rack.run(15min, [&] { return world.rack.last.disciplined; }));
  EXPECT_TRUE(world.rack.last.jumped);
  EXPECT_EQ(world.rack.count(Event::Kind::kRestarted), 0U);
}

TEST(Prs10Poller, XoffIsObeyed) {
  Prs10Rack world;
  world.rack.run(10min);
  world.model.hold_off(4s);
  world.rack.run(50ms);
  world.rack.forget();
  world.rack.run(3900ms);
  EXPECT_TRUE(world.rack.written.empty()) << world.rack.written;
  world.rack.run(5s);
  EXPECT_FALSE(world.rack.written.empty());
  EXPECT_TRUE(world.rack.has(Event::Kind::kAlarm, "") == false);
}

TEST(Prs10Poller, AnXonThatWasLostDoesNotStopItForEver) {
  Prs10Rack world;
  world.rack.run(10min);
  world.model.noise(bytes_of("\x13"));
  world.rack.run(1s);
  world.rack.forget();
  EXPECT_TRUE(
      world.rack.run(15s, [&] { return world.rack.last.at.ns > world.rack.now.ns - 1000; }));
}

TEST(Prs10Poller, ConnectsToAUnitInVerboseModeWithHalfACommandTyped) {
  Prs10Model model({});
  model.advance({0}, 0);
  model.write(bytes_of("VB1\rSF"));
  Rack rack(prs10_poller(Wiring::kPaperClock), model);
  rack.run(1min);
  EXPECT_FALSE(rack.conditions.empty());
  EXPECT_LE(rack.count(Event::Kind::kLost), 1U);
}

std::string said(Prs10Model& model, SimTime& now, std::string_view command) {
  model.write(bytes_of(command));
  now = now + 1s;
  model.advance(now, 0);
  return text_of(model.read());
}

TEST(Prs10Model, SpeaksAsTheManualSays) {
  Prs10Model model({});
  SimTime now{0};
  model.advance(now, 0);
  EXPECT_EQ(said(model, now, ""), "PRS_10\r");
  EXPECT_EQ(said(model, now, "ST?\r"), "16,3,21,1,2,129\r");
  EXPECT_EQ(said(model, now, "s t ?\r"), "16,3,21,1,2,0\r");  // latches are read; the rest is so
  EXPECT_EQ(said(model, now, "tt?\r"), "-1\r");
  EXPECT_EQ(said(model, now, "ID?\r"), "PRS10_3.24_SN_12345\r");
  EXPECT_EQ(said(model, now, "XY?\r"), "");
  EXPECT_EQ(said(model, now, "PT99\r"), "");
  EXPECT_EQ(said(model, now, "ST?\r"), "16,3,21,1,130,96\r");  // both kinds of bad command
  EXPECT_EQ(said(model, now, "VB1\r"), "OK\r");
  EXPECT_EQ(said(model, now, "SF-7\rSF?\r"), "OK\r-7\r");
  EXPECT_EQ(said(model, now, "RS1\r"), "PRS_10\r");
  EXPECT_EQ(said(model, now, "SF?\r"), "0\r");
}

TEST(Prs10Model, AReplyTakesItsTimeOnTheLine) {
  Prs10Model model({});
  SimTime now{0};
  model.advance(now, 0);
  said(model, now, "");
  model.write(bytes_of("SN?\r"));
  model.advance(now + 5ms, 0);
  EXPECT_EQ(text_of(model.read()), "1234");  // 960 characters a second
  model.advance(now + 7ms, 0);
  EXPECT_EQ(text_of(model.read()), "5\r");
}

TEST(Prs10Model, TimeTagIsReadOnceAndPpMovesThePulse) {
  Prs10Model model({.loop = false});
  SimTime now{0};
  model.advance(now, 0);
  const auto tag = [&] {
    now = now + 1s;
    model.advance(now, 0);
    model.read();
    model.pulse_in();
    model.write(bytes_of("TT?\rTT?\r"));
    now = now + 1s;
    model.advance(now, 0);
    return text_of(model.read());
  };
  model.power_cycle(100e-9);  // the pulse comes 100 ns early, and 5 ns/s earlier until it locks
  EXPECT_EQ(tag(), "105\r-1\r");
  model.write(bytes_of("PP1000\r"));
  EXPECT_EQ(tag(), "1115\r-1\r");
}

}  // namespace
}  // namespace timeball::refclock
