// The simulated receiver against what a real one said, and against the rules of its configuration.
#include "refclock/sim/ublox_model.h"

#include <gtest/gtest.h>

#include <string>

#include "common/time/ntp_timestamp.h"

namespace timeball::refclock::sim {
namespace {

using Octets = UbloxModel::Octets;

// 2021-02-23 18:04:29 UTC, an epoch of a real M8T's log.
constexpr UtcTime kSecond{1'614'103'469 * kNsPerSecond};

std::string as_text(const Octets& octets) {
  return {octets.begin(), octets.end()};
}

// Octet by octet: g++ 12 sees an overrun in vector::insert() where there is none.
void append(Octets& out, const Octets& more) {
  for (const std::uint8_t octet : more) out.push_back(octet);
}

Octets frame(std::uint8_t message_class, std::uint8_t id, const Octets& payload) {
  Octets out = {0xb5, 0x62, message_class, id, static_cast<std::uint8_t>(payload.size()), 0};
  append(out, payload);
  std::uint8_t a = 0, b = 0;
  for (std::size_t i = 2; i < out.size(); ++i) {
    a = static_cast<std::uint8_t>(a + out[i]);
    b = static_cast<std::uint8_t>(b + a);
  }
  append(out, {a, b});
  return out;
}

Octets valset(const Octets& key_and_value) {
  Octets payload = {0, 1, 0, 0};
  append(payload, key_and_value);
  return frame(0x06, 0x8a, payload);
}

const Octets kAck = frame(0x05, 0x01, {0x06, 0x8a});
const Octets kNak = frame(0x05, 0x00, {0x06, 0x8a});

TEST(UbloxModelTest, SaysNmeaOnlyWhenItComesFromTheFactory) {
  UbloxModel model(UbloxGeneration::k9);
  const std::string said = as_text(model.epoch(kSecond, 0, {}));
  EXPECT_EQ(said.find("$GNRMC,180429.00,A,"), 0U);
  EXPECT_EQ(said.find("\xb5"), std::string::npos);
}

TEST(UbloxModelTest, NmeaChecksumIsThatOfARealSentence) {
  EXPECT_EQ(nmea_sentence("GNZDA,193334.00,31,07,2025,00,00"),
            "$GNZDA,193334.00,31,07,2025,00,00*77\r\n");
}

TEST(UbloxModelTest, TimTpIsOfTheNextPulseInUtc) {
  UbloxModel model(UbloxGeneration::k9);
  EXPECT_EQ(model.receive(valset({0x7e, 0x01, 0x91, 0x20, 1})), kAck);
  const Octets said = model.epoch(kSecond, -4331, {});
  // The real one's, but for refInfo (its last octet) and so its checksum.
  const Octets real = {0xb5, 0x62, 0x0d, 0x01, 0x10, 0x00, 0xb0, 0x9b, 0x2d, 0x0e, 0x00,
                       0x00, 0x00, 0x00, 0x15, 0xef, 0xff, 0xff, 0x62, 0x08, 0x0b};
  EXPECT_NE(as_text(said).find(as_text(real)), std::string::npos);
}

TEST(UbloxModelTest, NavigationTimeOfWeekIsGps) {
  UbloxModel model(UbloxGeneration::k9);
  EXPECT_EQ(model.receive(valset({0x60, 0x01, 0x91, 0x20, 1})), kAck);
  // 18:04:47 GPS: 237887000 ms.
  EXPECT_NE(
      as_text(model.epoch(kSecond, 0, {})).find(as_text({0x61, 4, 0, 0x18, 0xde, 0x2d, 0x0e})),
      std::string::npos);
}

TEST(UbloxModelTest, RefusesKeysThatItDoesNotHaveAndTakesNothingThen) {
  UbloxModel model(UbloxGeneration::k9);
  Octets both = {0x7e, 0x01, 0x91, 0x20, 1};
  append(both, {0x01, 0x00, 0xff, 0x20, 1});
  EXPECT_EQ(model.receive(valset(both)), kNak);
  EXPECT_FALSE(model.sends(0x0d, 0x01));
}

TEST(UbloxModelTest, GivesBackWhatItWasTold) {
  UbloxModel model(UbloxGeneration::k9);
  model.receive(valset({0x01, 0x00, 0x05, 0x30, 0x32, 0x00}));  // cable delay 50 ns
  EXPECT_EQ(model.configured(0x30050001), 50U);
  Octets expected = frame(0x06, 0x8b, {1, 0, 0, 0, 0x01, 0x00, 0x05, 0x30, 0x32, 0x00});
  const Octets ack = frame(0x05, 0x01, {0x06, 0x8b});
  append(expected, ack);
  EXPECT_EQ(model.receive(frame(0x06, 0x8b, {0, 0, 0, 0, 0x01, 0x00, 0x05, 0x30})), expected);
  model.restart();
  EXPECT_FALSE(model.configured(0x30050001));
}

TEST(UbloxModelTest, FindsFramesAmongNoiseAndInPieces) {
  UbloxModel model(UbloxGeneration::k9);
  Octets octets = {0xb5, 0x62, 0xff, 0xff, 0xff, 0xff, 0x00};
  const Octets wanted = valset({0x7e, 0x01, 0x91, 0x20, 1});
  append(octets, wanted);
  Octets said;
  for (const std::uint8_t octet : octets) {
    const Octets answer = model.receive({&octet, 1});
    append(said, answer);
  }
  EXPECT_EQ(said, kAck);
}

TEST(UbloxModelTest, GenerationEightKnowsNoKeys) {
  UbloxModel model(UbloxGeneration::k8);
  EXPECT_EQ(model.receive(valset({0x7e, 0x01, 0x91, 0x20, 1})), kNak);
  EXPECT_EQ(model.receive(frame(0x06, 0x01, {0x0d, 0x01, 1})), frame(0x05, 0x01, {0x06, 0x01}));
  EXPECT_TRUE(model.sends(0x0d, 0x01));
  EXPECT_EQ(model.receive(frame(0x06, 0x3d, {1, 2, 3})), frame(0x05, 0x01, {0x06, 0x3d}));
}

}  // namespace
}  // namespace timeball::refclock::sim
