// From a configuration to the reference clocks' options.
#include "server/refclock_options.h"

#include <gtest/gtest.h>

#include <string>

#include "server/settings.h"

namespace timeball::server {
namespace {

using namespace std::chrono_literals;
using refclock::RackOptions;

Config parsed(const std::string& toml) {
  LoadedConfig loaded = parse_config(toml, "t.toml");
  for (const ConfigError& error : loaded.errors) ADD_FAILURE() << error.to_string();
  return loaded.config;
}

std::string section(const std::string& driver, const std::string& rest) {
  return "[[refclock]]\ndriver = \"" + driver + "\"\n" + rest + "\n";
}

const std::string kPps = section("pps", "device = \"/dev/pps0\"");

TEST(RefclockOptions, TheKernelsClockIsNoRack) {
  const Config config = parsed("[[refclock]]\ntrust = true\nstratum = 3\nerror_bound = \"5ms\"\n");
  EXPECT_FALSE(has_rack(config));
  EXPECT_TRUE(system_clock_options(config).trust);
  EXPECT_EQ(system_clock_options(config).stratum, 3U);
  EXPECT_EQ(system_clock_options(config).error_bound, 5ms);
}

TEST(RefclockOptions, AReceiverOnASerialLine) {
  const Config config = parsed(section("gnss",
                                       "device = \"/dev/ttyS0\"\nbaud = 115200\ncable_delay = "
                                       "\"50ns\"\nsettling = \"10s\"") +
                               kPps);
  ASSERT_TRUE(has_rack(config));
  const RackOptions rack = rack_options(config);
  ASSERT_TRUE(rack.gnss);
  EXPECT_EQ(rack.gnss->device, "/dev/ttyS0");
  EXPECT_EQ(rack.gnss->baud, 115200U);
  EXPECT_EQ(rack.gnss->settings.pulse.cable_delay_ns, 50);
  EXPECT_EQ(rack.gnss->settings.position.mode, refclock::gnss::ubx::TimeMode::Mode::kSurveyIn);
  EXPECT_EQ(rack.gnss->receiver.nmea_settling, 10s);
  EXPECT_FALSE(rack.discipline.rubidium);
  EXPECT_FALSE(rack.discipline.bare_pps);
  EXPECT_EQ(rack.discipline.contract.gnss_stamp.latency_ns, 20'000);
  EXPECT_EQ(rack.discipline.locked_bound, 22us);
  EXPECT_EQ(rack.discipline.reference_id, (std::array<char, 4>{'G', 'P', 'S', '\0'}));
}

TEST(RefclockOptions, MessagesAndPulseOnOneLineShareIt) {
  const std::string gnss = section("gnss", "device = \"/dev/ttyS0\"");
  EXPECT_FALSE(rack_options(parsed(gnss + kPps)).gnss->shared);
  const RackOptions rack = rack_options(parsed(gnss + section("pps", "device = \"/dev/ttyS0\"")));
  EXPECT_TRUE(rack.gnss->shared);
}

// The figures are Python's, from the formulas of WGS 84.
TEST(RefclockOptions, APositionIsFixedAndWatched) {
  const RackOptions rack = rack_options(
      parsed(section("gnss", "device = \"/dev/ttyS0\"\nposition = \"48.0 -120.0 1000.0\"") + kPps));
  const auto& position = rack.gnss->settings.position;
  EXPECT_EQ(position.mode, refclock::gnss::ubx::TimeMode::Mode::kFixed);
  EXPECT_EQ(position.ecef_cm,
            (std::array<std::int32_t, 3>{-213'819'347, -370'345'972, 471'761'947}));
  ASSERT_TRUE(rack.gnss->receiver.position);
  EXPECT_EQ(rack.gnss->receiver.position->longitude_deg, -120);
}

TEST(RefclockOptions, HardwareStampsPromiseMore) {
  const RackOptions rack = rack_options(
      parsed(section("gnss", "device = \"/dev/ttyS0\"") +
             section("phc", "device = \"/dev/ptp0\"\nchannel = 1\nedge = \"clear\"") +
             section("rubidium", "device = \"/dev/ttyS1\"\nmodel = \"sa22c\"") +
             section("pps", "device = \"/dev/pps1\"\npulse = \"rubidium\"\nlatency = \"7us\"")));
  EXPECT_EQ(rack.discipline.contract.gnss_stamp.latency_ns, 0);
  EXPECT_EQ(rack.discipline.contract.rubidium_stamp.latency_ns, 7000);
  EXPECT_EQ(rack.discipline.locked_bound, 500ns);
  EXPECT_TRUE(rack.discipline.rubidium);
  ASSERT_EQ(rack.pulses.size(), 2U);
  EXPECT_EQ(rack.pulses[0].kind, refclock::PulseOptions::Kind::kPhc);
  EXPECT_EQ(rack.pulses[0].channel, 1U);
  EXPECT_EQ(rack.pulses[0].pin, std::nullopt);
  EXPECT_EQ(rack.pulses[0].edge, refclock::Edge::kClear);
  EXPECT_EQ(rack.pulses[1].input, refclock::PulseInput::kOscillator);
  ASSERT_TRUE(rack.rubidium);
  EXPECT_EQ(rack.rubidium->oscillator.model, refclock::rubidium::Model::kSa22c);
  EXPECT_EQ(rack.rubidium->oscillator.wiring, refclock::rubidium::Wiring::kPaperClock);
}

TEST(RefclockOptions, GpsdsOwnPulsesWhereWeHaveNone) {
  EXPECT_TRUE(rack_options(parsed(section("gpsd", "gpsd = \"[::1]:2948\""))).gpsd->pulses);
  const RackOptions rack = rack_options(parsed(section("gpsd", "gpsd = \"[::1]:2948\"") + kPps));
  EXPECT_FALSE(rack.gpsd->pulses);
  EXPECT_EQ(rack.gpsd->connection.host, "::1");
  EXPECT_EQ(rack.gpsd->connection.port, "2948");
}

TEST(RefclockOptions, OtherProgramsNameTheSecondsOfABarePulse) {
  const std::string samples =
      section("shm", "unit = 3\nerror_bound = \"1ms\"") +
      section("sock", "device = \"/run/timeball/sock\"\nerror_bound = \"3ms\"");
  RackOptions rack = rack_options(parsed(samples + kPps));
  EXPECT_TRUE(rack.discipline.bare_pps);
  EXPECT_EQ(rack.discipline.locked_bound, 22us);
  ASSERT_EQ(rack.samples.size(), 2U);
  EXPECT_EQ(rack.samples[0].unit, 3U);
  EXPECT_EQ(rack.samples[1].unit, std::nullopt);
  EXPECT_EQ(rack.samples[1].source, 1U);
  EXPECT_EQ(rack.samples[1].error, 3ms);
  rack = rack_options(parsed(samples));
  EXPECT_FALSE(rack.discipline.bare_pps);
  EXPECT_EQ(rack.discipline.locked_bound, 6ms);
}

TEST(RefclockOptions, WhatTheClockSectionSays) {
  const RackOptions rack = rack_options(
      parsed(section("gpsd", "") +
             "[clock]\nlocked_bound = \"3us\"\nholdover_limit = \"40us\"\nreference_id = "
             "\"PPS\"\nleap_file = \"/x\"\n"));
  EXPECT_EQ(rack.discipline.locked_bound, 3us);
  EXPECT_EQ(rack.discipline.holdover_limit, 40us);
  EXPECT_EQ(rack.discipline.reference_id, (std::array<char, 4>{'P', 'P', 'S', '\0'}));
  EXPECT_EQ(rack.leap_file, "/x");
}

TEST(RefclockOptions, TheKernelsClockIsSteeredWhenTold) {
  const std::string rack =
      section("gnss", "device = \"/dev/ttyS0\"") + section("phc", "device = \"/dev/ptp0\"");
  const RackOptions software = rack_options(parsed(rack));
  EXPECT_FALSE(software.steer_kernel);
  EXPECT_EQ(software.discipline.contract.kernel.phase_noise_ns, 2);
  const RackOptions system = rack_options(parsed(rack + "[clock]\nmode = \"system\"\n"));
  EXPECT_TRUE(system.steer_kernel);
  EXPECT_EQ(system.discipline.locked_bound, 800ns);
  EXPECT_EQ(system.discipline.contract.kernel.phase_noise_ns,
            refclock::KernelContract::steered().phase_noise_ns);
  const RackOptions told =
      rack_options(parsed(rack + "[clock]\nmode = \"system\"\nlocked_bound = \"3us\"\n"));
  EXPECT_EQ(told.discipline.locked_bound, 3us);
}

}  // namespace
}  // namespace timeball::server
