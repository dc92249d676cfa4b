// What a receiver sees: NAV-SAT, NAV-DOP and their kin, GSV and GSA; octets that a ZED-F9T sent.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/hex.h"
#include "common/time/ntp_timestamp.h"
#include "refclock/drivers/pulse_jitter.h"
#include "refclock/gnss/sky_view.h"

using namespace timeball;
using namespace timeball::refclock;
using namespace timeball::refclock::gnss;

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr HostTime kStart{1'000 * kNsPerSecond};

// Without its frame. 35 satellites of GPS, SBAS, Galileo and BeiDou.
constexpr std::string_view kNavSat =
    "d02ccc180123000000021d183601ecff1f190000000829251a0102001f190000000a22490b00e9ff1f190000001221"
    "13800048001f19000000171f2444006e001f19000000181a163c0040001c190000001b2b29ec0001009f190000001c"
    "1e01a5005300171900000020303eba0005009f19000001832927ae000000171a000001852627bf000000171a000001"
    "872a27b9000000171a00000202080101010000131900000204162e39003a001c19000002051013cb00b4001c190000"
    "02061a425d004d001c19000002092141a1001f001f190000020a1518790097ff14190000020b1b34740001001f1900"
    "00020c07027b00000013190000021e0005300100001112000002220014330100001112000002241948420151001c19"
    "0000030b2d440f0100001f190000030c202aa6003a001f1900000315224a28000e001f19000003161a15360067001f"
    "19000003222d3fcb00feff1f190000032a2d32f20008001f190000032b2a2c2d01fcff1f190000032c1a129e00fbff"
    "1f190000032d00006400000011120000033114133c0100001312000003322c4eff000000271a0000033e0000070100"
    "0011120000";

// The same receiver's sentences of one second: GPS on L1 and L5, Galileo, BeiDou.
constexpr std::string_view kSentences[] = {
    "$GNGSA,A,3,08,24,02,18,27,23,32,10,,,,,1.12,0.62,0.94,1*0B",
    "$GNGSA,A,3,06,09,11,05,10,04,36,,,,,,1.12,0.62,0.94,3*02",
    "$GNGSA,A,3,12,22,43,42,21,44,11,34,,,,,1.12,0.62,0.94,4*09",
    "$GPGSV,3,1,12,02,24,310,29,08,37,282,42,10,73,011,34,18,19,128,34,1*65",
    "$GPGSV,3,2,12,23,36,068,32,24,22,060,26,27,41,236,43,28,01,165,30,1*63",
    "$GPGSV,3,3,12,32,62,186,48,44,39,174,41,46,39,191,38,48,39,185,41,1*69",
    "$GPGSV,2,1,08,08,37,282,20,10,73,011,21,18,19,128,21,23,36,068,37,8*61",
    "$GPGSV,2,2,08,24,22,060,25,27,41,236,42,28,01,165,32,32,62,186,38,8*6A",
    "$GAGSV,1,1,02,30,05,304,,34,20,307,,0*76",
    "$GBGSV,3,1,10,11,68,271,45,12,42,166,32,21,74,040,36,22,21,054,21,1*7B"};

class Watcher {
 public:
  void hear(const ubx::Message& message) { view.take(message, at); }
  void octets(std::uint8_t message_class, std::uint8_t id, std::string_view hex) {
    std::vector<std::uint8_t> payload(hex.size() / 2);
    ASSERT_TRUE(parse_hex(hex, payload));
    const auto message = ubx::decode({message_class, id, payload});
    ASSERT_TRUE(message);
    hear(*message);
  }
  void say(std::string_view sentence) {
    view.take(nmea::decode(
                  Bytes(reinterpret_cast<const std::uint8_t*>(sentence.data()), sentence.size())),
              at);
    at = at + milliseconds(5);
  }
  void epoch() {
    for (const std::string_view sentence : kSentences) say(sentence);
    at = at + seconds(1) - milliseconds(5) * std::size(kSentences);
  }
  Sky sky() const { return view.sky(at); }
  std::optional<Satellite> find(Constellation system, unsigned number) const {
    for (const Satellite& s : sky().satellites) {
      if (s.system == system && s.number == number) return s;
    }
    return std::nullopt;
  }

  SkyView view;
  HostTime at = kStart;
};

TEST(SkyView, NavSat) {
  Watcher watcher;
  watcher.octets(0x01, 0x35, kNavSat);
  const auto satellites = watcher.sky().satellites;
  ASSERT_EQ(satellites.size(), 35U);
  EXPECT_EQ(satellites[0], (Satellite{Constellation::kGps, 2, 24, 310, 29, true}));
  EXPECT_EQ(satellites[9], (Satellite{Constellation::kSbas, 131, 39, 174, 41, false}));
  EXPECT_EQ(satellites[34], (Satellite{Constellation::kBeidou, 62, 0, 263, std::nullopt, false}));
  EXPECT_EQ(std::ranges::count_if(satellites, &Satellite::used), 22);
}

TEST(SkyView, ANewNavSatReplacesTheOldOne) {
  Watcher watcher;
  watcher.octets(0x01, 0x35, kNavSat);
  ubx::NavSat none{};
  watcher.hear(none);
  EXPECT_TRUE(watcher.sky().satellites.empty());
}

TEST(SkyView, GsvAndGsa) {
  Watcher watcher;
  watcher.epoch();
  watcher.epoch();
  EXPECT_EQ(watcher.sky().satellites.size(), 12U + 2U + 4U);
  EXPECT_EQ(watcher.find(Constellation::kGps, 10),
            (Satellite{Constellation::kGps, 10, 73, 11, 34, true}));
  EXPECT_EQ(watcher.find(Constellation::kGps, 23)->cn0_dbhz, 37U) << "L5 is stronger";
  EXPECT_EQ(watcher.find(Constellation::kGps, 28)->used, false);
  EXPECT_EQ(watcher.find(Constellation::kSbas, 131),
            (Satellite{Constellation::kSbas, 131, 39, 174, 41, false}));
  EXPECT_EQ(watcher.find(Constellation::kGalileo, 30),
            (Satellite{Constellation::kGalileo, 30, 5, 304, std::nullopt, false}));
  EXPECT_EQ(watcher.find(Constellation::kBeidou, 22)->used, true);
  EXPECT_DOUBLE_EQ(watcher.sky().pdop.value(), 1.12);
}

TEST(SkyView, AWeakerSignalOfTheNextSecondCounts) {
  Watcher watcher;
  watcher.say("$GPGSV,1,1,01,10,73,011,34*40");
  watcher.at = watcher.at + seconds(1);
  watcher.say("$GPGSV,1,1,01,10,73,011,21*40");
  EXPECT_EQ(watcher.find(Constellation::kGps, 10)->cn0_dbhz, 21U);
}

TEST(SkyView, WithoutAFixNoneIsUsed) {
  Watcher watcher;
  watcher.epoch();
  watcher.epoch();
  watcher.say("$GNGSA,A,1,,,,,,,,,,,,,99.99,99.99,99.99,1*33");
  const auto satellites = watcher.sky().satellites;
  EXPECT_EQ(std::ranges::count_if(satellites, &Satellite::used), 0);
  EXPECT_FALSE(satellites.empty());
}

TEST(SkyView, NumbersOfOldReceiversAreThoseOfTheirSystems) {
  Watcher watcher;
  watcher.say("$GLGSV,1,1,02,65,10,020,30,88,10,020,31*00");
  watcher.say("$GPGSV,1,1,02,193,10,020,30,40,10,020,31*00");
  watcher.say("$GNGSA,A,3,70,65,,,,,,,,,,,1.12,0.62,0.94*00");
  EXPECT_TRUE(watcher.find(Constellation::kGlonass, 1)->used);
  EXPECT_TRUE(watcher.find(Constellation::kGlonass, 24));
  EXPECT_TRUE(watcher.find(Constellation::kQzss, 1));
  EXPECT_TRUE(watcher.find(Constellation::kSbas, 127));
  EXPECT_EQ(watcher.sky().satellites.size(), 4U) << "GSA alone places no satellite in the sky";
}

TEST(SkyView, UbxComesFirst) {
  Watcher watcher;
  watcher.octets(0x01, 0x35, kNavSat);
  watcher.say("$GLGSV,1,1,01,65,10,020,30*00");
  EXPECT_EQ(watcher.sky().satellites.size(), 35U);
  watcher.at = watcher.at + seconds(11);
  watcher.say("$GLGSV,1,1,01,65,10,020,30*00");
  EXPECT_EQ(watcher.sky().satellites.size(), 1U);
}

TEST(SkyView, IsBounded) {
  Watcher watcher;
  for (unsigned id = 1; id < 300; ++id) {
    watcher.say("$GIGSV,1,1,01," + std::to_string(id) + ",10,020,30*00");
  }
  EXPECT_EQ(watcher.sky().satellites.size(), kMaxSatellites);
  ubx::NavSat many{};
  many.satellites.resize(255);
  watcher.hear(many);
  EXPECT_EQ(watcher.sky().satellites.size(), kMaxSatellites);
  ubx::MonRf bands{};
  bands.blocks.resize(200);
  watcher.hear(bands);
  EXPECT_EQ(watcher.sky().bands.size(), kMaxRadioBands);
}

TEST(SkyView, DilutionSurveyAndRadio) {
  Watcher watcher;
  ubx::NavDop dop{};
  dop.pdop_centi = 9999;  // in time mode
  dop.tdop_centi = 41;
  watcher.hear(dop);
  ubx::TimSvin survey{};
  survey.duration_s = 300;
  survey.mean_variance_mm2 = 6'250'000;
  survey.active = true;
  watcher.hear(survey);
  ubx::MonRf radio{};
  radio.blocks.resize(2);
  radio.blocks[0].agc = 8191;
  radio.blocks[0].antenna_power = 1;
  radio.blocks[1].noise = 92;
  watcher.hear(radio);
  const Sky sky = watcher.sky();
  EXPECT_FALSE(sky.pdop);
  EXPECT_DOUBLE_EQ(sky.tdop.value(), 0.41);
  EXPECT_TRUE(sky.survey->active);
  EXPECT_EQ(sky.survey->duration, seconds(300));
  EXPECT_DOUBLE_EQ(sky.survey->accuracy_m, 2.5);
  ASSERT_EQ(sky.bands.size(), 2U);
  EXPECT_DOUBLE_EQ(sky.bands[0].agc, 1);
  EXPECT_EQ(sky.bands[1].noise, 92U);
  EXPECT_EQ(sky.antenna_power, true);
}

TEST(SkyView, WhatIsNotRepeatedIsForgotten) {
  Watcher watcher;
  watcher.octets(0x01, 0x35, kNavSat);
  ubx::NavDop dop{};
  dop.tdop_centi = 41;
  watcher.hear(dop);
  watcher.at = watcher.at + seconds(11);
  EXPECT_TRUE(watcher.sky().satellites.empty());
  EXPECT_FALSE(watcher.sky().tdop);
}

TEST(PulseJitter, IsOfTheStampsAndNotOfTheCrystal) {
  PulseJitter jitter;
  std::optional<Duration> found;
  for (int i = 0; i < 200; ++i) {  // 30 ppm fast, and every other stamp 2 us late
    found = jitter.add(HostTime{i * (kNsPerSecond + 30'000) + (i % 2) * 2'000});
  }
  // Second differences of +-4 us, by sqrt(6).
  EXPECT_NEAR(static_cast<double>(found->count()), 1633, 2);
}

TEST(PulseJitter, NeedsThreeInARow) {
  PulseJitter jitter;
  for (const std::int64_t second : {0, 1, 3, 4, 6, 7}) {
    EXPECT_FALSE(jitter.add(HostTime{second * kNsPerSecond})) << second;
  }
  EXPECT_EQ(jitter.add(HostTime{8 * kNsPerSecond}), Duration(0));
}

}  // namespace
