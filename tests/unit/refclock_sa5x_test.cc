// The poller against a MAC SA5x in virtual time, and the SA5x's words by themselves.
#include <gtest/gtest.h>

#include <cmath>

#include "refclock/rubidium/sa5x.h"
#include "refclock/sim/sa5x_model.h"
#include "tests/unit/rubidium_support.h"

namespace timeball::refclock {
namespace {

using namespace std::chrono_literals;
using rubidium::Event;
using rubidium::Model;
using rubidium::Wiring;
using sim::Sa5xModel;
using sim::SimTime;
namespace sa5x = rubidium::sa5x;

using Sa5xRack = DeviceRack<Sa5xModel, Model::kSa5x>;

std::size_t phases(const Rack& rack) {
  return static_cast<std::size_t>(std::count_if(rack.conditions.begin(), rack.conditions.end(),
                                                [](const auto& c) { return c.phase.has_value(); }));
}

TEST(Sa5xWords, ChecksumsOfTheManual) {
  EXPECT_EQ(sa5x::command("device?"), "{device?|27}");
  const auto reply = sa5x::parse_reply("[=sa5x|62]");
  ASSERT_TRUE(reply);
  EXPECT_TRUE(reply->checked);
  EXPECT_EQ(reply->text, "sa5x");
  EXPECT_FALSE(sa5x::parse_reply("[=sa5x|63]"));
  EXPECT_FALSE(sa5x::parse_reply("[=sa4x|62]"));
}

TEST(Sa5xWords, KindsOfReplies) {
  EXPECT_EQ(sa5x::parse_reply("[!100]")->kind, sa5x::Kind::kError);
  EXPECT_EQ(sa5x::parse_reply("[>Microchip SA5X]")->kind, sa5x::Kind::kNotice);
  EXPECT_EQ(sa5x::parse_reply("[=]")->text, "");
  EXPECT_FALSE(sa5x::parse_reply("[=1]")->checked);
  for (const char* text : {"", "[]", "[1]", "=1", "[=1", "[|00]", "[=1|]", "[=1|0C|]"}) {
    EXPECT_FALSE(sa5x::parse_reply(text)) << text;
  }
}

TEST(Sa5xWords, SteeringIsClippedAndRounded) {
  EXPECT_EQ(sa5x::tuning_word(1.4e-15), 1);
  EXPECT_EQ(sa5x::tuning_word(-1), -20'000'000);
  EXPECT_EQ(sa5x::tuning_word(3e-8), 20'000'000);
}

std::string said(Sa5xModel& model, SimTime& now, std::string_view command) {
  model.write(bytes_of(command));
  now = now + 1s;
  model.advance(now, 0);
  return text_of(model.read());
}

TEST(Sa5xModel, SpeaksAsTheManualSays) {
  Sa5xModel model({});
  SimTime now;
  model.advance(now, 0);
  EXPECT_EQ(said(model, now, ""), "[>Loading...]\r\n[>Microchip SA5X]\r\n");
  EXPECT_EQ(said(model, now, "{device?|27}"), "[=sa5x|62]\r\n");
  EXPECT_EQ(said(model, now, "{device?}"), "[=sa5x]\r\n");
  EXPECT_EQ(said(model, now, "{get,Locked}"), "[=0]\r\n");
  EXPECT_EQ(said(model, now, "{get,LockProgress}"), "[=1]\r\n");
  EXPECT_EQ(said(model, now, "{bogus}"), "[!1]\r\n");
  EXPECT_EQ(said(model, now, "{set,Disciplining}"), "[!2]\r\n");
  EXPECT_EQ(said(model, now, "{device?|28}").substr(0, 3), "[!3");
  EXPECT_EQ(said(model, now, "{get,locked}"), "[!100]\r\n");  // case matters
  EXPECT_EQ(said(model, now, "{set,TauPps0,9}"), "[!101]\r\n");
  EXPECT_EQ(said(model, now, "{set,Locked,1}"), "[!102]\r\n");
  EXPECT_EQ(said(model, now, "{get,Tem\\{get,Temperature}"), "[=40000]\r\n");  // flushed
  EXPECT_EQ(said(model, now, "{set,DigitalTuning,-20000000}"), "[=-20000000]\r\n");
  EXPECT_EQ(said(model, now, "{set,DigitalTuning,20000001}"), "[!101]\r\n");
  EXPECT_DOUBLE_EQ(model.added_frequency(), -2e-8 + 5e-9);  // not locked yet
  EXPECT_EQ(model.stores(), 0U);
  EXPECT_EQ(said(model, now, "{store}"), "[=1]\r\n");
  EXPECT_EQ(model.stores(), 1U);
}

TEST(Sa5xModel, JamSyncOnEnablingAndBeyondThePhaseLimit) {
  Sa5xModel model({.warm_up = 0s});
  SimTime now;
  model.advance(now, 0.25);
  const auto pulse = [&](double free) {
    now = now + 1s;
    model.advance(now, free);
    model.pulse_in();
    model.read();
  };
  pulse(0.25);
  EXPECT_NEAR(model.phase_s(), 0.25, 1e-9);
  EXPECT_EQ(said(model, now, "{set,Disciplining,1}{get,JamSyncing}"), "[=1]\r\n[=1]\r\n");
  EXPECT_NEAR(std::fabs(model.phase_s()), 0.25, 1e-9);  // as the free phase went to 0 meanwhile
  pulse(0.25);
  EXPECT_NEAR(model.phase_s(), 0, 1e-9);
  for (int i = 0; i < 5; ++i) pulse(0.25);
  pulse(0.25 + 99e-6);
  EXPECT_GT(model.phase_s(), 98e-6);  // within PhaseLimit it is steered away
  pulse(0.25 + 101e-6);
  EXPECT_NEAR(model.phase_s(), 0, 1e-9);
}

TEST(Sa5xPoller, WarmsUpAndTellsThePhase) {
  Sa5xRack world;
  world.rack.free_phase = [](SimTime) { return -300e-9; };
  EXPECT_FALSE(world.rack.run(299s, [&] { return world.rack.last.locked; }));
  EXPECT_TRUE(world.rack.run(5s, [&] { return world.rack.last.locked; }));
  world.rack.forget();
  world.rack.run(1h);
  EXPECT_GT(phases(world.rack), 3590U);
  EXPECT_NEAR(nanoseconds(*world.rack.phase), world.model.phase_s() * 1e9, 1);
  EXPECT_FALSE(world.rack.last.disciplined);
  EXPECT_NEAR(*world.rack.last.temperature_c, 40, 0.01);
  for (const auto& event : world.rack.events) ADD_FAILURE() << event.detail;
  EXPECT_EQ(world.rack.poller.counts().timeouts, 0U);
}

TEST(Sa5xPoller, HoursOfPollingStoresNothing) {
  for (const Wiring wiring :
       {Wiring::kPaperClock, Wiring::kHostSteered, Wiring::kSelfDisciplined}) {
    Sa5xRack world(wiring);
    world.rack.run(3h);
    EXPECT_EQ(world.model.stores(), 0U);
    EXPECT_EQ(world.rack.poller.counts().timeouts, 0U);
    EXPECT_EQ(world.rack.poller.counts().refused, 0U);
    EXPECT_EQ(world.rack.written.find("store"), std::string::npos);
    EXPECT_EQ(world.model.disciplining(), wiring == Wiring::kSelfDisciplined);
  }
}

TEST(Sa5xPoller, SelfDisciplinedFollowsAndTellsItsTuning) {
  Sa5xRack world(Wiring::kSelfDisciplined);
  world.rack.free_phase = [](SimTime t) { return 0.1 + 2e-10 * seconds(t); };
  world.rack.run(3h);
  EXPECT_TRUE(world.rack.last.disciplined);
  EXPECT_NEAR(world.model.phase_s() * 1e9, 0, 5);
  EXPECT_NEAR(*world.rack.steering, -2e-10, 5e-12);
  EXPECT_EQ(world.rack.reading("discipline_locked"), 1.0);
  EXPECT_GE(world.rack.count(Event::Kind::kPulseMoved), 1U);
  world.rack.forget();
  world.rack.pulse_in = false;
  world.rack.run(1min);
  EXPECT_FALSE(world.rack.last.disciplined);
  EXPECT_TRUE(world.rack.has(Event::Kind::kAlarm, "no pulse in"));
  EXPECT_FALSE(world.rack.last.phase);
}

TEST(Sa5xPoller, AJamSyncInTheMiddleIsTold) {
  Sa5xRack world(Wiring::kSelfDisciplined);
  world.rack.run(1h);
  world.rack.forget();
  world.rack.free_phase = [](SimTime) { return 150e-6; };  // beyond PhaseLimit
  EXPECT_TRUE(world.rack.run(10s, [&] { return world.rack.last.jumped; }));
  world.rack.run(1min);
  EXPECT_LE(world.rack.count(Event::Kind::kPulseMoved), 2U);
}

TEST(Sa5xPoller, AStepOfTheReceiversPulseIsNoJumpOfAPaperClock) {
  Sa5xRack world;
  world.rack.run(10min);
  world.rack.forget();
  world.rack.free_phase = [](SimTime) { return 150e-6; };
  world.rack.run(1min);
  EXPECT_EQ(world.rack.count(Event::Kind::kPulseMoved), 0U);
}

TEST(Sa5xPoller, HostSteeringIsInForceWhenReadBackAndSurvivesARestart) {
  Sa5xRack world(Wiring::kHostSteered);
  world.rack.run(10min);
  EXPECT_DOUBLE_EQ(*world.rack.poller.steer(1.234567e-10), 123457e-15);
  ASSERT_TRUE(world.rack.run(15s, [&] { return world.rack.steering == 123457e-15; }));
  EXPECT_DOUBLE_EQ(world.model.added_frequency(), 123457e-15);
  world.rack.forget();
  world.model.power_cycle(0);
  ASSERT_TRUE(world.rack.run(2s, [&] { return world.rack.last.restarted; }));
  world.rack.run(30s);
  EXPECT_EQ(world.rack.steering, 123457e-15);
  EXPECT_TRUE(world.rack.has(Event::Kind::kReconfigured, "frequency word"));
  EXPECT_FALSE(Sa5xRack().rack.poller.steer(0));
}

TEST(Sa5xPoller, ARestartThatNobodyHeardShowsInTheRuntime) {
  Sa5xRack world;
  world.rack.run(10min);
  world.rack.plugged = false;
  world.model.power_cycle(0.1);
  world.rack.run(1s);
  world.rack.forget();
  world.rack.plugged = true;
  world.rack.run(30s);
  EXPECT_FALSE(world.rack.last.locked);
  EXPECT_EQ(world.rack.count(Event::Kind::kRestarted), 1U);
}

TEST(Sa5xPoller, StallsNoiseAndLostCommands) {
  Sa5xRack world;
  world.rack.run(10min);
  const double true_ns = world.model.phase_s() * 1e9;
  for (int i = 0; i < 50; ++i) {
    world.rack.forget();
    world.rack.run((i + 1) * 131071003ns);
    if (i % 3 == 0) world.model.stall(5s);
    if (i % 3 == 1) world.model.deafen(3s);
    if (i % 3 == 2) world.model.noise(bytes_of("[=7\xff[=9|00]\r\n\xaa]=]["));
    world.rack.run(20s);
    EXPECT_LE(world.rack.count(Event::Kind::kLost), 1U);
    for (const auto& condition : world.rack.conditions) {
      EXPECT_TRUE(condition.locked && !condition.restarted && !condition.jumped);
      if (!condition.phase) continue;
      EXPECT_NEAR(nanoseconds(*condition.phase), true_ns, 1);
    }
    EXPECT_LT(world.rack.now - SimTime{world.rack.last.at.ns}, 3s);
  }
}

TEST(Sa5xPoller, AnAnswerWithoutChecksumIsNotTakenFromAUnitThatSendsThem) {
  auto poller = *rubidium::make_poller({Model::kSa5x, Wiring::kPaperClock, 0});
  poller.step({0}, {});
  poller.step({1'000'000}, bytes_of("[=sa5x|62]\r\n"));
  const auto report = poller.step({2'000'000}, bytes_of("[=1]\r\n"));
  EXPECT_TRUE(report.readings.empty());
  EXPECT_EQ(poller.counts().unexpected, 1U);
}

TEST(Sa5xPoller, ARefusalIsNamedAndPollingGoesOn) {
  auto poller = *rubidium::make_poller({Model::kSa5x, Wiring::kPaperClock, 0});
  poller.step({0}, {});
  poller.step({1'000'000}, bytes_of("[=sa5x]\r\n"));
  const auto report = poller.step({2'000'000}, bytes_of("[!100]\r\n"));
  ASSERT_EQ(report.events.size(), 1U);
  EXPECT_EQ(report.events[0].kind, Event::Kind::kRefused);
  EXPECT_EQ(report.events[0].detail, "[!100]");
  EXPECT_FALSE(report.write.empty());
}

}  // namespace
}  // namespace timeball::refclock
