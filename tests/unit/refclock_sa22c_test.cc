// The poller against an SA.22c and an X99 in virtual time, and their words by themselves.
#include <gtest/gtest.h>

#include <cmath>

#include "refclock/rubidium/sa22c.h"
#include "refclock/sim/sa22c_model.h"
#include "tests/unit/rubidium_support.h"

namespace timeball::refclock {
namespace {

using namespace std::chrono_literals;
using rubidium::Event;
using rubidium::Model;
using rubidium::Wiring;
using sim::Sa22cModel;
using sim::SimTime;
namespace sa22c = rubidium::sa22c;

using Sa22cRack = DeviceRack<Sa22cModel, Model::kSa22c>;

constexpr double kTickNs = 1e9 / 60e6;

TEST(Sa22cWords, CrystalInEitherBase) {
  const auto hex = sa22c::parse_crystal("x\r\ncrystal: 3938700hz\r\n");
  ASSERT_TRUE(hex);
  EXPECT_EQ(hex->hz, 60'000'000);
  EXPECT_EQ(hex->base, 16);
  const auto decimal = sa22c::parse_crystal("crystal: 60000000hz, ACMOS: 1");
  ASSERT_TRUE(decimal);
  EXPECT_EQ(decimal->hz, 60'000'000);
  EXPECT_EQ(decimal->base, 10);
  for (const char* text : {"", "crystal:", "crystal: hz", "crystal: 12hz", "crystal: 3938700"}) {
    EXPECT_FALSE(sa22c::parse_crystal(text)) << text;
  }
}

TEST(Sa22cWords, DeltaRegisterWrapsAtTheCrystal) {
  const sa22c::Crystal crystal{60'000'000, 16};
  const auto delta = sa22c::parse_delta("j\r\nDelta Reg: 39386F5 1ppsState:6", crystal);
  ASSERT_TRUE(delta);
  EXPECT_EQ(delta->in_after_out, -183ns);  // 11 counts
  EXPECT_EQ(delta->state, 6U);
  EXPECT_EQ(sa22c::parse_delta("Delta Reg: B 1ppsState:0", crystal)->in_after_out, 183ns);
  for (const char* text :
       {"", "Delta Reg: 39386F5", "Delta Reg: 4000000 1ppsState:6", "Delta Reg: 1 1ppsState:10",
        "Delta Reg: -1 1ppsState:6", "Delta Reg: G 1ppsState:6"}) {
    EXPECT_FALSE(sa22c::parse_delta(text, crystal)) << text;
  }
}

TEST(Sa22cWords, FloatsAndHealth) {
  EXPECT_EQ(sa22c::parse_float("42C80000."), 100.0);
  for (const char* text : {"", "42C80000", "42C8000.", "7F800000.", "42C8000G."}) {
    EXPECT_FALSE(sa22c::parse_float(text)) << text;
  }
  const std::string_view health = "w\r\nSCont: 4\r\ndMP17: 41893333.\r\nPwrHrs: 3E8\r\n";
  EXPECT_EQ(sa22c::health_value(health, "PwrHrs"), 1000.0);
  EXPECT_NEAR(*sa22c::health_value(health, "dMP17"), 17.15, 1e-3);
  EXPECT_FALSE(sa22c::health_value(health, "dMP1"));
  EXPECT_FALSE(sa22c::health_value(health, "dMP5"));
}

TEST(Sa22cWords, SteeringIsClippedAndRoundedToTwoParts) {
  EXPECT_EQ(sa22c::frequency_argument(124e-12).text, "12.4");
  EXPECT_EQ(sa22c::frequency_argument(-124.9e-12).text, "-12.4");
  EXPECT_DOUBLE_EQ(sa22c::frequency_argument(-125.1e-12).applied, -126e-12);
  EXPECT_EQ(sa22c::frequency_argument(1).text, "4000.0");
  EXPECT_DOUBLE_EQ(sa22c::frequency_argument(-1).applied, -4e-8);
}

std::string said(Sa22cModel& model, SimTime& now, std::string_view command) {
  model.write(bytes_of(command));
  now = now + 1s;
  model.advance(now, 0);
  return text_of(model.read());
}

TEST(Sa22cModel, EchoesAndPrompts) {
  Sa22cModel model({});
  SimTime now;
  model.advance(now, 0);
  EXPECT_EQ(said(model, now, ""), "\r\nr>");
  EXPECT_EQ(said(model, now, "j"), "j\r\nDelta Reg: 0 1ppsState:0\r\nr>");
  EXPECT_EQ(said(model, now, "f-12.4\r"), "f-12.4\r\r\nr>");
  EXPECT_DOUBLE_EQ(model.added_frequency(), -124e-12 + 5e-9);
  EXPECT_EQ(said(model, now, "p"), "p\r\nControl Reg: 0207\r\nr>");
  EXPECT_NE(said(model, now, "i").find("crystal: 3938700hz"), std::string::npos);
}

TEST(Sa22cModel, DeltaRegisterOfALatePulse) {
  Sa22cModel model({.warm_up = 0s});
  SimTime now;
  model.advance(now, 0);
  now = now + 1s - 183ns;  // the pulse in comes before the pulse out
  model.advance(now, 0);
  model.pulse_in();
  model.read();
  EXPECT_EQ(said(model, now, "j"), "j\r\nDelta Reg: 39386F5 1ppsState:0\r\nr>");
}

TEST(Sa22cPoller, WarmsUpAndTellsThePhaseInEitherBase) {
  for (const bool decimal : {false, true}) {
    Sa22cRack world(Wiring::kPaperClock, {.baud = decimal ? 9600U : 57600U, .decimal = decimal});
    world.rack.free_phase = [](SimTime) { return -400e-9; };
    EXPECT_FALSE(world.rack.run(299s, [&] { return world.rack.last.locked; }));
    EXPECT_TRUE(world.rack.run(10s, [&] { return world.rack.last.locked; }));
    world.rack.forget();
    world.rack.run(1h);
    ASSERT_TRUE(world.rack.phase);
    for (const auto& condition : world.rack.conditions) {
      if (!condition.phase) continue;
      EXPECT_NEAR(nanoseconds(*condition.phase), world.model.phase_s() * 1e9, kTickNs);
    }
    EXPECT_EQ(world.rack.count(Event::Kind::kReconfigured), 0U);
    EXPECT_EQ(world.rack.poller.counts().timeouts, 0U);
    EXPECT_NEAR(*world.rack.last.temperature_c, 40, 0.01);
  }
}

TEST(Sa22cPoller, HoursOfPollingSavesNothing) {
  for (const Wiring wiring :
       {Wiring::kPaperClock, Wiring::kHostSteered, Wiring::kSelfDisciplined}) {
    Sa22cRack world(wiring);
    world.rack.run(6h);
    EXPECT_EQ(world.model.stores(), 0U);
    EXPECT_EQ(world.rack.poller.counts().timeouts, 0U);
    EXPECT_EQ(world.rack.written.find_first_of("txz"), std::string::npos);
  }
}

TEST(Sa22cPoller, SelfDisciplinedJamsAndFollows) {
  Sa22cRack world(Wiring::kSelfDisciplined);
  world.rack.free_phase = [](SimTime t) { return 0.1 + 2e-10 * seconds(t); };
  world.rack.run(3h);
  EXPECT_TRUE(world.rack.last.disciplined);
  EXPECT_EQ(world.rack.count(Event::Kind::kPulseMoved), 1U);
  EXPECT_NEAR(world.model.phase_s() * 1e9, 0, 50);
  EXPECT_NEAR(world.model.added_frequency(), -2e-10, 3e-11);
  EXPECT_TRUE(world.model.lock_pin());
}

TEST(Sa22cPoller, HoldoverBeyond330NsAndTheWayBack) {
  Sa22cRack world(Wiring::kSelfDisciplined);
  world.rack.run(1h);
  ASSERT_EQ(world.model.state(), 6U);
  world.rack.forget();
  world.rack.free_phase = [](SimTime) { return 400e-9; };
  world.rack.run(10s);
  EXPECT_EQ(world.model.state(), 3U);
  EXPECT_FALSE(world.rack.last.disciplined);
  EXPECT_NEAR(world.model.phase_s(), 400e-9, 20e-9);
  world.rack.free_phase = [](SimTime) { return 0; };
  world.rack.run(10s);
  EXPECT_EQ(world.model.state(), 6U);
  EXPECT_EQ(world.rack.count(Event::Kind::kPulseMoved), 1U);  // it cannot be excluded
}

TEST(Sa22cPoller, LossOfPulsesIsHoldover) {
  Sa22cRack world(Wiring::kSelfDisciplined);
  world.rack.run(1h);
  world.rack.pulse_in = false;
  world.rack.run(10s);
  EXPECT_EQ(world.model.state(), 3U);
  EXPECT_FALSE(world.rack.last.disciplined);
  EXPECT_TRUE(world.rack.last.locked);
  EXPECT_FALSE(world.rack.last.phase);
}

TEST(Sa22cPoller, ALoopThatRunsIsTurnedOffForAPaperClock) {
  Sa22cRack world;
  world.rack.run(10min);
  world.model.write(bytes_of("g1\r"));  // somebody else
  world.rack.run(1min);
  EXPECT_TRUE(world.rack.has(Event::Kind::kReconfigured, "g0"));
  EXPECT_EQ(world.model.state(), 0U);
}

TEST(Sa22cPoller, HostSteeringIsGivenAgainAfterARestart) {
  Sa22cRack world(Wiring::kHostSteered);
  world.rack.run(10min);
  EXPECT_DOUBLE_EQ(*world.rack.poller.steer(-125.1e-12), -126e-12);
  ASSERT_TRUE(world.rack.run(2s, [&] { return world.rack.steering.has_value(); }));
  EXPECT_DOUBLE_EQ(world.model.added_frequency(), -126e-12);
  world.rack.forget();
  world.model.power_cycle(0);
  world.rack.run(20s);
  EXPECT_EQ(world.rack.count(Event::Kind::kRestarted), 1U);
  EXPECT_DOUBLE_EQ(world.model.added_frequency(), -126e-12 + 5e-9);
  EXPECT_FALSE(world.rack.last.locked);
}

TEST(Sa22cPoller, AnotherCommandsEchoIsNoAnswer) {
  auto poller = *rubidium::make_poller({Model::kSa22c, Wiring::kHostSteered, 0});
  HostTime now;
  const auto hear = [&](std::string_view octets) {
    now = now + 10ms;
    return poller.step(now, bytes_of(octets));
  };
  hear("");
  EXPECT_EQ(text_of(hear("i\r\ncrystal: 3938700hz\r\nr>").write), "g0\r");
  poller.steer(20e-12);
  EXPECT_EQ(text_of(hear("g0\r\r\nr>").write), "f2.0\r");
  const auto damaged = hear("f1.0\r\r\nr>");  // an octet was changed on the way
  EXPECT_FALSE(damaged.steering);
  EXPECT_TRUE(damaged.write.empty());
  now = now + 3s;
  EXPECT_EQ(text_of(hear("").write), "i");  // the fence, after which both are given again
  EXPECT_EQ(text_of(hear("i\r\ncrystal: 3938700hz\r\nr>").write), "g0\r");
  EXPECT_EQ(text_of(hear("g0\r\r\nr>").write), "f2.0\r");
  EXPECT_EQ(hear("f2.0\r\r\nr>").steering, 20e-12);
}

TEST(Sa22cPoller, StallsNoiseAndLostCommands) {
  Sa22cRack world(Wiring::kHostSteered);
  world.rack.run(10min);
  world.rack.poller.steer(10e-12);
  world.rack.run(2s);
  for (int i = 0; i < 50; ++i) {
    world.rack.forget();
    world.rack.run((i + 1) * 131071003ns);
    if (i % 3 == 0) world.model.stall(5s);
    if (i % 3 == 1) world.model.deafen(3s);
    if (i % 3 == 2) world.model.noise(bytes_of("j\r\nDelta R\xff\xfe r>\r\nr>"));
    world.rack.run(30s);
    EXPECT_LE(world.rack.count(Event::Kind::kLost), 1U);
    for (const auto& condition : world.rack.conditions) {
      EXPECT_TRUE(condition.locked && !condition.restarted && !condition.jumped);
      if (condition.phase) {
        EXPECT_NEAR(nanoseconds(*condition.phase), world.model.phase_s() * 1e9, 50 + kTickNs);
      }
    }
    EXPECT_LT(world.rack.now - SimTime{world.rack.last.at.ns}, 3s);
    EXPECT_DOUBLE_EQ(world.model.added_frequency(), 10e-12);
  }
}

}  // namespace
}  // namespace timeball::refclock
