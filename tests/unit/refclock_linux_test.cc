// The PPS and PHC drivers against a fake kernel: every stamp is compared with the true one.
#include <gtest/gtest.h>

#include "refclock/linux/phc_device.h"
#include "refclock/linux/pps_device.h"
#include "tests/unit/fake_kernel.h"

namespace timeball::refclock {
namespace {

using namespace std::chrono_literals;
using Outcome = PulseReading::Outcome;

PpsDevice::Options pps0() {
  PpsDevice::Options options;
  options.path = "/dev/pps0";
  return options;
}

// The stamp's distance from the whole raw second at which the fake's pulses are, plus its latency.
Duration off(const Pulse& pulse, std::int64_t latency_ns) {
  const std::int64_t ns = (pulse.edge.ns - latency_ns) % kNsPerSecond;
  return Duration(ns >= kNsPerSecond / 2 ? ns - kNsPerSecond : ns);
}

void expect_within_its_error(const Pulse& pulse, std::int64_t latency_ns) {
  EXPECT_LE(off(pulse, latency_ns), pulse.reading_error);
  EXPECT_GE(off(pulse, latency_ns), -pulse.reading_error);
}

TEST(PpsDevice, StampsPulsesInHostTimeWithinTheirError) {
  FakeKernel kernel;
  kernel.add_pulses(100, 3000);
  auto device = PpsDevice::open(kernel.calls(), pps0());
  ASSERT_TRUE(device) << device.error().message;
  EXPECT_EQ(kernel.pps_mode & PPS_CAPTUREBOTH, PPS_CAPTUREBOTH);
  for (std::uint32_t i = 1; i <= 100; ++i) {
    const PulseReading reading = device->fetch(3s);
    ASSERT_EQ(reading.outcome, Outcome::kPulse);
    EXPECT_EQ(reading.pulse.sequence, i);
    expect_within_its_error(reading.pulse, 3000);
    EXPECT_LT(reading.pulse.reading_error, 1us);
  }
  EXPECT_EQ(device->counts().pulses, 100U);
  EXPECT_EQ(device->counts().missed, 0U);
  EXPECT_EQ(device->width(), 100ms);
}

TEST(PpsDevice, ASlewOfTheClockIsWithinTheError) {
  FakeKernel kernel;
  kernel.add_pulses(3, 0);
  kernel.wake_ns = 10'000'000;
  auto device = PpsDevice::open(kernel.calls(), pps0());
  ASSERT_TRUE(device);
  ASSERT_EQ(device->fetch(3s).outcome, Outcome::kPulse);
  // As much as 500 ppm may do in the 10 ms until we wake.
  kernel.steps[kernel.raw_ns - kernel.raw_ns % kNsPerSecond + kNsPerSecond + 1] = 5'000;
  const PulseReading reading = device->fetch(3s);
  ASSERT_EQ(reading.outcome, Outcome::kPulse);
  EXPECT_NE(off(reading.pulse, 0), 0ns);
  expect_within_its_error(reading.pulse, 0);
}

TEST(PpsDevice, AStepOfTheClockRefusesThatPulseOnly) {
  for (const std::int64_t by : {2'000'000L, -2'000'000L, 37'000'000'000L}) {
    FakeKernel kernel;
    kernel.add_pulses(4, 0);
    auto device = PpsDevice::open(kernel.calls(), pps0());
    ASSERT_TRUE(device);
    ASSERT_EQ(device->fetch(3s).outcome, Outcome::kPulse);
    kernel.steps[kernel.raw_ns + 500'000'000] = by;
    EXPECT_EQ(device->fetch(3s).outcome, Outcome::kClockStepped);
    const PulseReading reading = device->fetch(3s);
    ASSERT_EQ(reading.outcome, Outcome::kPulse);
    expect_within_its_error(reading.pulse, 0);
    EXPECT_EQ(device->counts().clock_steps, 1U);
  }
}

TEST(PpsDevice, AStepAfterALongSilenceOrBeforeTheFirstPulseIsSeen) {
  for (const int silent : {0, 3600}) {
    FakeKernel kernel;
    auto device = PpsDevice::open(kernel.calls(), pps0());
    ASSERT_TRUE(device);
    for (int i = 0; i < silent; ++i) EXPECT_EQ(device->fetch(1s).outcome, Outcome::kNone);
    kernel.add_pulses(2, 0);
    kernel.steps[kernel.edges.front().raw_ns + 1] = 2'000'000;  // between the stamp and its reading
    EXPECT_EQ(device->fetch(3s).outcome, Outcome::kClockStepped);
    EXPECT_EQ(device->fetch(3s).outcome, Outcome::kPulse);
  }
}

TEST(PpsDevice, ThePulseFromBeforeItWasOpenedIsNotOurs) {
  FakeKernel kernel;
  kernel.pps_mode |= PPS_CAPTUREASSERT;
  kernel.info.assert_sequence = 4711;
  kernel.info.assert_tu = {1, 0, 0};
  auto device = PpsDevice::open(kernel.calls(), pps0());
  ASSERT_TRUE(device);
  EXPECT_EQ(device->fetch(2s).outcome, Outcome::kNone);
  kernel.add_pulses(1, 0);
  const PulseReading reading = device->fetch(2s);
  ASSERT_EQ(reading.outcome, Outcome::kPulse);
  EXPECT_EQ(reading.pulse.sequence, 4712U);
  EXPECT_EQ(device->counts().missed, 0U);
}

TEST(PpsDevice, APulseThatWasReadTooLateIsStale) {
  FakeKernel kernel;
  kernel.add_pulses(1, 0);
  auto device = PpsDevice::open(kernel.calls(), pps0());
  ASSERT_TRUE(device);
  kernel.wake_ns = 2 * kNsPerSecond;  // the process did not run
  EXPECT_EQ(device->fetch(3s).outcome, Outcome::kStale);
  EXPECT_EQ(device->counts().stale, 1U);
}

TEST(PpsDevice, MissedPulsesAreCountedAlsoWhereTheSequenceWraps) {
  FakeKernel kernel;
  kernel.info.assert_sequence = 0xffff'fffe;
  auto device = PpsDevice::open(kernel.calls(), pps0());
  ASSERT_TRUE(device);
  kernel.add_pulses(5, 0);
  ASSERT_EQ(device->fetch(3s).outcome, Outcome::kPulse);
  kernel.raw_ns += 3 * kNsPerSecond;  // nobody looked
  const PulseReading reading = device->fetch(3s);
  ASSERT_EQ(reading.outcome, Outcome::kPulse);
  EXPECT_EQ(reading.pulse.sequence, 2U);
  EXPECT_EQ(device->counts().missed, 2U);
  expect_within_its_error(reading.pulse, 0);
}

TEST(PpsDevice, ACountThatBeginsAnewIsNotAGap) {
  FakeKernel kernel;
  kernel.info.assert_sequence = 1000;
  auto device = PpsDevice::open(kernel.calls(), pps0());
  ASSERT_TRUE(device);
  kernel.info.assert_sequence = 0;
  kernel.add_pulses(1, 0);
  EXPECT_EQ(device->fetch(3s).outcome, Outcome::kPulse);
  EXPECT_EQ(device->counts().missed, 0U);
}

TEST(PpsDevice, TheTrailingEdgeIsRefused) {
  FakeKernel kernel;
  kernel.add_pulses(5, 0, 100'000'000);
  PpsDevice::Options options = pps0();
  options.edge = Edge::kClear;  // of a pulse whose assert leads
  auto device = PpsDevice::open(kernel.calls(), options);
  ASSERT_TRUE(device);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(device->fetch(3s).outcome, Outcome::kWrongEdge);
  EXPECT_EQ(device->counts().wrong_edge, 5U);
  EXPECT_EQ(device->counts().pulses, 0U);
  EXPECT_EQ(device->width(), 100ms);

  FakeKernel inverted;  // 900 ms: assert is the trailing edge of the 100 ms between
  inverted.add_pulses(5, 0, 900'000'000);
  auto asserts = PpsDevice::open(inverted.calls(), pps0());
  ASSERT_TRUE(asserts);
  EXPECT_EQ(asserts->fetch(3s).outcome, Outcome::kPulse);  // nothing to see yet
  for (int i = 0; i < 4; ++i) EXPECT_EQ(asserts->fetch(3s).outcome, Outcome::kWrongEdge);
}

TEST(PpsDevice, ADeviceThatNeverFillsTheOtherEdgeIsTaken) {
  FakeKernel kernel;
  kernel.pps_capabilities = PPS_CAPTUREASSERT | PPS_CANWAIT | PPS_TSFMT_TSPEC;
  kernel.add_pulses(3, 0);
  auto device = PpsDevice::open(kernel.calls(), pps0());
  ASSERT_TRUE(device);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(device->fetch(3s).outcome, Outcome::kPulse);
  EXPECT_FALSE(device->width());
  PpsDevice::Options options = pps0();
  options.edge = Edge::kClear;
  const auto refused = PpsDevice::open(kernel.calls(), options);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("configure the other one"), std::string::npos);
}

TEST(PpsDevice, TimeoutsAndSignalsAreNormal) {
  FakeKernel kernel;
  auto device = PpsDevice::open(kernel.calls(), pps0());
  ASSERT_TRUE(device);
  const std::int64_t begin = kernel.raw_ns;
  EXPECT_EQ(device->fetch(2s).outcome, Outcome::kNone);
  EXPECT_NEAR(static_cast<double>(kernel.raw_ns - begin), 2e9, 1e5);
  kernel.add_pulses(1, 0);
  kernel.fail_fetch = {EINTR, EINTR};
  EXPECT_EQ(device->fetch(2s).outcome, Outcome::kInterrupted);
  EXPECT_EQ(device->fetch(2s).outcome, Outcome::kInterrupted);
  EXPECT_EQ(device->fetch(2s).outcome, Outcome::kPulse);
  EXPECT_EQ(device->counts().timeouts, 1U);
}

TEST(PpsDevice, AnUnpluggedDeviceIsGone) {
  FakeKernel kernel;
  auto device = PpsDevice::open(kernel.calls(), pps0());
  ASSERT_TRUE(device);
  for (const int error : {EIO, ENXIO, ENODEV}) {
    kernel.fail_fetch = {error};
    const PulseReading reading = device->fetch(2s);
    EXPECT_EQ(reading.outcome, Outcome::kGone);
    EXPECT_EQ(reading.error, error);
  }
  kernel.pps = false;
  EXPECT_EQ(device->fetch(2s).outcome, Outcome::kGone);
}

TEST(PpsDevice, ADeviceThatCannotWaitIsPolled) {
  FakeKernel kernel;
  kernel.pps_capabilities &= ~PPS_CANWAIT;
  kernel.add_pulses(3, 0);
  auto device = PpsDevice::open(kernel.calls(), pps0());
  ASSERT_TRUE(device);
  for (int i = 0; i < 3; ++i) {
    const PulseReading reading = device->fetch(3s);
    ASSERT_EQ(reading.outcome, Outcome::kPulse);
    expect_within_its_error(reading.pulse, 0);
  }
  EXPECT_GT(kernel.slept, 0);
  EXPECT_EQ(device->fetch(1s).outcome, Outcome::kNone);
}

TEST(PpsDevice, LateInterruptsAreNotHidden) {
  FakeKernel kernel;
  kernel.add_pulses(1, 180'000);
  auto device = PpsDevice::open(kernel.calls(), pps0());
  ASSERT_TRUE(device);
  const PulseReading reading = device->fetch(3s);
  ASSERT_EQ(reading.outcome, Outcome::kPulse);
  expect_within_its_error(reading.pulse, 180'000);  // the stamp is what the kernel made of it
}

TEST(PpsDevice, KtimerIsRefusedBehindALinkToo) {
  FakeKernel kernel;
  kernel.text["/sys/class/pps/pps0/name"] = "ktimer\n";
  kernel.links["/dev/gps-pps"] = "/dev/pps0";
  PpsDevice::Options options = pps0();
  options.path = "/dev/gps-pps";
  const auto refused = PpsDevice::open(kernel.calls(), options);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("ktimer"), std::string::npos);
  EXPECT_EQ(kernel.open_files, 0);
  options.simulated = true;
  EXPECT_TRUE(PpsDevice::open(kernel.calls(), options));
  kernel.text["/sys/class/pps/pps0/name"] = "serial0\n";
  EXPECT_TRUE(PpsDevice::open(kernel.calls(), pps0()));
}

TEST(PpsDevice, WhatCannotBeOpenedSaysWhy) {
  FakeKernel kernel;
  kernel.fail_open = EACCES;
  EXPECT_EQ(PpsDevice::open(kernel.calls(), pps0()).error().message,
            "/dev/pps0: cannot open: Permission denied");
  kernel.fail_open = 0;
  kernel.may_set_params = false;
  EXPECT_NE(PpsDevice::open(kernel.calls(), pps0()).error().message.find("CAP_SYS_TIME"),
            std::string::npos);
  kernel.pps_mode = PPS_CAPTUREBOTH | PPS_TSFMT_TSPEC;  // somebody has set it already
  EXPECT_TRUE(PpsDevice::open(kernel.calls(), pps0()));
  PpsDevice::Options tty = pps0();
  tty.path = "/dev/ttyS0";
  EXPECT_NE(PpsDevice::open(kernel.calls(), tty).error().message.find("not a PPS device"),
            std::string::npos);
  EXPECT_EQ(kernel.open_files, 0);
}

TEST(PpsLineDiscipline, FindsTheDeviceThatAppeared) {
  FakeKernel kernel;
  kernel.links["/dev/ttyGPS"] = "/dev/ttyS3";
  kernel.text["/sys/class/pps/pps0/path"] = "/dev/ttyS1\n";
  kernel.text["/sys/class/pps/pps2/path"] = "/dev/ttyS3\n";
  {
    const auto attached = attach_pps_line_discipline(kernel.calls(), "/dev/ttyGPS");
    ASSERT_TRUE(attached) << attached.error().message;
    EXPECT_EQ(attached->pps_path, "/dev/pps2");
    EXPECT_EQ(kernel.discipline, 18);
    EXPECT_EQ(kernel.open_files, 1);  // the tty stays open
  }
  EXPECT_EQ(kernel.open_files, 0);
  kernel.text.erase("/sys/class/pps/pps2/path");
  EXPECT_FALSE(attach_pps_line_discipline(kernel.calls(), "/dev/ttyGPS"));
  EXPECT_FALSE(attach_pps_line_discipline(kernel.calls(), "/dev/ptp0"));
}

PhcDevice::Options ptp0() {
  PhcDevice::Options options;
  options.path = "/dev/ptp0";
  options.pin = 1;
  return options;
}

// The first event cannot be told from a trailing edge.
void skip_first(PhcDevice& device) {
  ASSERT_EQ(device.fetch(3s).outcome, Outcome::kStale);
}

TEST(PhcDevice, StampsPulsesByEachMethodWithinTheirError) {
  for (const auto method : {PhcDevice::Method::kPrecise, PhcDevice::Method::kExtendedRaw,
                            PhcDevice::Method::kExtendedRealtime}) {
    FakeKernel kernel;
    kernel.cross_timestamping = method == PhcDevice::Method::kPrecise;
    kernel.raw_samples = method != PhcDevice::Method::kExtendedRealtime;
    kernel.add_pulses(10, 40);
    auto device = PhcDevice::open(kernel.calls(), ptp0());
    ASSERT_TRUE(device) << device.error().message;
    EXPECT_EQ(device->method(), method);
    skip_first(*device);
    for (std::uint32_t i = 0; i < 9; ++i) {
      const PulseReading reading = device->fetch(3s);
      ASSERT_EQ(reading.outcome, Outcome::kPulse);
      EXPECT_EQ(reading.pulse.sequence, i);
      expect_within_its_error(reading.pulse, 40);
      EXPECT_LT(reading.pulse.reading_error, 1us);
      const bool half_window = method != PhcDevice::Method::kPrecise;
      EXPECT_GE(reading.pulse.reading_error, half_window ? 450ns : 1ns);
    }
  }
}

TEST(PhcDevice, ArmsAsItShould) {
  FakeKernel kernel;
  kernel.events = {{kernel.raw_ns - 1, 0}, {kernel.raw_ns - 2, 1}};  // of somebody before
  PhcDevice::Options options = ptp0();
  options.channel = 1;
  options.edge = Edge::kClear;
  ASSERT_TRUE(PhcDevice::open(kernel.calls(), options));
  // Pin 1 is input (1) of channel 1; off; enabled (1), falling (4), strict (8).
  EXPECT_EQ(kernel.requests, (std::vector<std::string>{"pin 1 1 1", "extts 1 0", "extts 1 13"}));
  EXPECT_TRUE(kernel.events.empty());
}

TEST(PhcDevice, WithoutStrictBothEdgesMayComeAndTheTrailingOnesAreRefused) {
  FakeKernel kernel;
  kernel.strict = false;
  const std::int64_t first = kernel.raw_ns / kNsPerSecond + 1;
  for (std::int64_t i = 0; i < 10; ++i) {
    kernel.events.push_back({(first + i) * kNsPerSecond, 0});
    kernel.events.push_back({(first + i) * kNsPerSecond + 100'000'000, 0});
  }
  auto device = PhcDevice::open(kernel.calls(), ptp0());
  ASSERT_TRUE(device);
  EXPECT_EQ(kernel.requests.back(), "extts 0 3");
  skip_first(*device);
  for (int i = 0; i < 9; ++i) {
    EXPECT_EQ(device->fetch(3s).outcome, Outcome::kWrongEdge);
    const PulseReading reading = device->fetch(3s);
    ASSERT_EQ(reading.outcome, Outcome::kPulse);
    expect_within_its_error(reading.pulse, 0);
  }
}

TEST(PhcDevice, EventsOfOtherChannelsAreNotOurs) {
  FakeKernel kernel;
  kernel.add_pulses(4, 0);
  for (std::size_t i = 0; i < 4; ++i) {
    const auto at = static_cast<std::ptrdiff_t>(2 * i + 1);
    kernel.events.insert(kernel.events.begin() + at,
                         {kernel.events[2 * i].raw_ns + 300'000'000, 1});
  }
  auto device = PhcDevice::open(kernel.calls(), ptp0());
  ASSERT_TRUE(device);
  skip_first(*device);
  for (int i = 0; i < 3; ++i) {
    const PulseReading reading = device->fetch(3s);
    ASSERT_EQ(reading.outcome, Outcome::kPulse);
    expect_within_its_error(reading.pulse, 0);
  }
}

TEST(PhcDevice, MissedPulsesAndALateReader) {
  FakeKernel kernel;
  kernel.add_pulses(8, 0);
  kernel.events.erase(kernel.events.begin() + 3, kernel.events.begin() + 5);
  auto device = PhcDevice::open(kernel.calls(), ptp0());
  ASSERT_TRUE(device);
  skip_first(*device);
  EXPECT_EQ(device->fetch(3s).pulse.sequence, 0U);
  EXPECT_EQ(device->fetch(3s).pulse.sequence, 1U);
  EXPECT_EQ(device->fetch(4s).pulse.sequence, 4U);
  EXPECT_EQ(device->counts().missed, 2U);
  kernel.raw_ns += 3 * kNsPerSecond;  // nobody looked
  EXPECT_EQ(device->fetch(3s).outcome, Outcome::kStale);
  EXPECT_EQ(device->fetch(3s).outcome, Outcome::kPulse);
}

TEST(PhcDevice, ACrossTimestampThatFailsNowAndThenIsTakenTheOtherWay) {
  FakeKernel kernel;
  kernel.add_pulses(4, 0);
  auto device = PhcDevice::open(kernel.calls(), ptp0());
  ASSERT_TRUE(device);
  skip_first(*device);
  kernel.precise_fails = true;
  const PulseReading reading = device->fetch(3s);
  ASSERT_EQ(reading.outcome, Outcome::kPulse);
  expect_within_its_error(reading.pulse, 0);
  EXPECT_GE(reading.pulse.reading_error, 450ns);
}

TEST(PhcDevice, TimeoutsSignalsAndUnplugging) {
  FakeKernel kernel;
  auto device = PhcDevice::open(kernel.calls(), ptp0());
  ASSERT_TRUE(device);
  EXPECT_EQ(device->fetch(2s).outcome, Outcome::kNone);
  kernel.fail_fetch = {EINTR};
  EXPECT_EQ(device->fetch(2s).outcome, Outcome::kInterrupted);
  kernel.fail_fetch = {ENODEV};
  EXPECT_EQ(device->fetch(2s).outcome, Outcome::kGone);
  kernel.add_pulses(2, 0);
  skip_first(*device);
  kernel.phc = false;
  EXPECT_EQ(device->fetch(2s).outcome, Outcome::kGone);
}

TEST(PhcDevice, WhatCannotBeOpenedSaysWhy) {
  FakeKernel kernel;
  PhcDevice::Options options = ptp0();
  options.channel = 2;
  EXPECT_NE(PhcDevice::open(kernel.calls(), options).error().message.find("no channel 2"),
            std::string::npos);
  options = ptp0();
  options.pin = 9;
  EXPECT_NE(PhcDevice::open(kernel.calls(), options).error().message.find("pin 9"),
            std::string::npos);
  options.path = "/dev/ptp1";
  EXPECT_NE(PhcDevice::open(kernel.calls(), options).error().message.find("No such file"),
            std::string::npos);
  EXPECT_EQ(kernel.open_files, 0);
}

TEST(SystemCalls, TheRealOnes) {
  const SystemCalls calls = kernel_calls();
  EXPECT_FALSE(PpsDevice::open(calls, {.path = "/dev/null"}));
  EXPECT_FALSE(PpsDevice::open(calls, {.path = "/nonexistent"}));
  EXPECT_FALSE(read_line(calls, "/nonexistent"));
  EXPECT_TRUE(read_line(calls, "/proc/self/comm"));
  // Both clocks as they are: a conversion of now gives now.
  HostClock clock(calls);
  timespec t{};
  calls.clock_gettime(CLOCK_REALTIME, &t);
  const HostTime before = clock.now();
  const auto instant = clock.convert({t.tv_sec * kNsPerSecond + t.tv_nsec});
  ASSERT_TRUE(instant);
  EXPECT_LT(instant->at - before, 1s);
  EXPECT_LT(before - instant->at, 1s);
  EXPECT_GT(instant->error, 0ns);
}

}  // namespace
}  // namespace timeball::refclock
