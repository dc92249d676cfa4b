// NTP's shared memory and chrony's SOCK: layouts, protocol, refusals.
#include <gtest/gtest.h>

#include <sys/ipc.h>
#include <sys/shm.h>

#include <array>
#include <cstring>
#include <limits>

#include "common/time/ntp_timestamp.h"
#include "refclock/linux/external_sample.h"

namespace timeball::refclock {
namespace {

using namespace std::chrono_literals;
using Outcome = ShmReading::Outcome;

NtpShmSegment segment_with_a_sample() {
  NtpShmSegment segment{};
  segment.mode = 1;
  segment.count = 7;
  segment.clock_s = 1'790'000'000;
  segment.receive_s = 1'790'000'000;
  segment.receive_us = 123;
  segment.receive_ns = 123'456;
  segment.precision = -20;
  segment.valid = 1;
  return segment;
}

TEST(NtpShm, ASampleIsTakenOnce) {
  NtpShmSegment segment = segment_with_a_sample();
  const ShmReading reading = read_ntp_shm(segment);
  ASSERT_EQ(reading.outcome, Outcome::kSample);
  EXPECT_EQ(reading.sample.at.ns, 1'790'000'000 * kNsPerSecond + 123'456);
  EXPECT_EQ(reading.sample.offset, -123'456ns);
  EXPECT_EQ(reading.sample.leap, LeapIndicator::kNone);
  EXPECT_EQ(reading.sample.precision, -20);
  EXPECT_FALSE(reading.sample.pulse);
  EXPECT_EQ(segment.valid, 0);
  EXPECT_EQ(read_ntp_shm(segment).outcome, Outcome::kNone);
}

TEST(NtpShm, AWriterWithoutNanosecondsIsReadByMicroseconds) {
  NtpShmSegment segment = segment_with_a_sample();
  segment.receive_ns = 999'000'000;  // left from another writer
  EXPECT_EQ(read_ntp_shm(segment).sample.offset, -123us);
}

TEST(NtpShm, WhatIsNoTimeIsBad) {
  const auto bad = [](auto change) {
    NtpShmSegment segment = segment_with_a_sample();
    change(segment);
    const Outcome outcome = read_ntp_shm(segment).outcome;
    EXPECT_EQ(segment.valid, 0);
    return outcome;
  };
  EXPECT_EQ(bad([](auto& s) { s.mode = 2; }), Outcome::kBad);
  EXPECT_EQ(bad([](auto& s) { s.leap = 4; }), Outcome::kBad);
  EXPECT_EQ(bad([](auto& s) { s.clock_s = -1; }), Outcome::kBad);
  EXPECT_EQ(bad([](auto& s) { s.receive_us = 1'000'000; }), Outcome::kBad);
  EXPECT_EQ(bad([](auto& s) { s.receive_s = std::numeric_limits<std::int64_t>::max(); }),
            Outcome::kBad);
  EXPECT_EQ(bad([](auto& s) { s.mode = 0; }), Outcome::kSample);
}

// A unit of its own that is gone afterwards.
class NtpShmUnit : public testing::Test {
 protected:
  static constexpr unsigned kUnit = 213;
  void SetUp() override { remove(); }  // what a killed run has left
  void TearDown() override { remove(); }
  static void remove() {
    const int id = ::shmget(0x4e545030 + static_cast<int>(kUnit), 0, 0);
    if (id >= 0) ::shmctl(id, IPC_RMID, nullptr);
  }
};

TEST_F(NtpShmUnit, AttachesReadsAndRefusesWhatOthersMayWrite) {
  auto shm = NtpShm::attach(kUnit);
  ASSERT_TRUE(shm) << shm.error().message;
  EXPECT_EQ(shm->read().outcome, Outcome::kNone);
  const int id = ::shmget(0x4e545030 + static_cast<int>(kUnit), 96, 0);
  ASSERT_GE(id, 0);
  void* at = ::shmat(id, nullptr, 0);
  const NtpShmSegment written = segment_with_a_sample();
  std::memcpy(at, &written, sizeof written);
  EXPECT_EQ(shm->read().outcome, Outcome::kSample);
  EXPECT_EQ(shm->read().outcome, Outcome::kNone);
  ::shmdt(at);

  shmid_ds state{};
  ASSERT_EQ(::shmctl(id, IPC_STAT, &state), 0);
  EXPECT_EQ(state.shm_perm.mode & 0777, 0600);
  state.shm_perm.mode = 0666;
  ASSERT_EQ(::shmctl(id, IPC_SET, &state), 0);
  const auto refused = NtpShm::attach(kUnit);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("others may write"), std::string::npos);
  EXPECT_FALSE(NtpShm::attach(256));
}

// As chrony's clients put it together: timeval, double, three ints and the magic number.
struct Datagram {
  std::int64_t s = 1'790'000'000, us = 250'000;
  double offset = -0.001;
  std::int32_t pulse = 0, leap = 1, pad = 0, magic = 0x534f434b;
};
static_assert(sizeof(Datagram) == kSockDatagramLength);

std::optional<ExternalSample> parse(const Datagram& datagram) {
  std::array<std::uint8_t, sizeof(Datagram)> octets{};
  std::memcpy(octets.data(), &datagram, sizeof datagram);
  return parse_sock_datagram(octets);
}

TEST(Sock, ASample) {
  const auto sample = parse({});
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample->at.ns, 1'790'000'000 * kNsPerSecond + 250'000'000);
  EXPECT_EQ(sample->offset, -1ms);
  EXPECT_EQ(sample->leap, LeapIndicator::kInsert);
  EXPECT_FALSE(sample->pulse);
  EXPECT_TRUE(parse({.pulse = 1})->pulse);
}

TEST(Sock, WhatIsNoSample) {
  EXPECT_FALSE(parse({.magic = 0x534f434c}));
  EXPECT_FALSE(parse({.leap = 4}));
  EXPECT_FALSE(parse({.leap = -1}));
  EXPECT_FALSE(parse({.us = 1'000'000}));
  EXPECT_FALSE(parse({.s = -1}));
  EXPECT_FALSE(parse({.offset = std::numeric_limits<double>::quiet_NaN()}));
  EXPECT_FALSE(parse({.offset = std::numeric_limits<double>::infinity()}));
  EXPECT_FALSE(parse({.offset = 1e10}));
  EXPECT_FALSE(parse({.offset = 1.5, .pulse = 1}));
  const std::array<std::uint8_t, 41> longer{};
  EXPECT_FALSE(parse_sock_datagram(longer));
  EXPECT_FALSE(parse_sock_datagram(Bytes(longer).first(39)));
  EXPECT_FALSE(parse_sock_datagram({}));
}

}  // namespace
}  // namespace timeball::refclock
