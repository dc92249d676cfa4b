// GNSS receivers' protocols: framing, messages, and what is made of them.
#include <gtest/gtest.h>

#include <algorithm>

#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "refclock/gnss/nmea.h"
#include "refclock/gnss/stream.h"
#include "refclock/gnss/ubx.h"

using namespace timeball;
using namespace timeball::refclock;
using namespace timeball::refclock::gnss;

namespace {

using Octets = std::vector<std::uint8_t>;

Octets octets(std::string_view text) {
  return {text.begin(), text.end()};
}

// "b5 62 0d": digits, spaces ignored.
Octets hex(std::string_view digits) {
  Octets out;
  int high = -1;
  for (const char c : digits) {
    if (c == ' ') continue;
    const int value = c <= '9' ? c - '0' : c - 'a' + 10;
    if (high < 0) {
      high = value;
    } else {
      out.push_back(static_cast<std::uint8_t>(high << 4 | value));
      high = -1;
    }
  }
  return out;
}

Octets operator+(Octets a, const Octets& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// What a stream made of octets, one line each: "nmea 0 66", "refused ubx checksum 0 24".
std::string line(const StreamEvent& event) {
  if (const auto* frame = std::get_if<Frame>(&event)) {
    return std::string(name(frame->protocol)) + (frame->checked ? " " : " unchecked ") +
           std::to_string(frame->offset) + " " + std::to_string(frame->octets.size());
  }
  const auto& refusal = std::get<Refusal>(event);
  return "refused " + std::string(name(refusal.protocol)) + " " + std::string(name(refusal.why)) +
         " " + std::to_string(refusal.offset) + " " + std::to_string(refusal.octets);
}

using Lines = std::vector<std::string>;

// Given in reads of `piece` octets, the n-th of which arrives at n.
Lines framed(const Octets& input, std::size_t piece = 1 << 20,
             Stream::Comments comments = Stream::Comments::kNoise) {
  Stream stream(comments);
  Lines lines;
  const auto drain = [&] {
    while (const auto event = stream.next()) lines.push_back(line(*event));
  };
  for (Bytes rest = input; !rest.empty();) {
    const Bytes read = rest.first(std::min(piece, rest.size()));
    stream.add(read, HostTime{});
    drain();
    rest = rest.subspan(read.size());
  }
  stream.end();
  drain();
  return lines;
}

constexpr std::string_view kRmc =
    "$GNRMC,193334.00,A,4404.13124,N,12118.84810,W,0.014,,310725,,,A,V*01\r\n";
constexpr std::string_view kZda = "$GNZDA,193334.00,31,07,2025,00,00*77\r\n";

// Of a LEA-M8T, 2021-02-23.
const Octets kTimTp =
    hex("b5 62 0d 01 10 00 b0 9b 2d 0e 00 00 00 00 15 ef ff ff 62 08 0b 0f 2a 63");
const Octets kTimeUtc =
    hex("b5 62 01 21 14 00 18 de 2d 0e 07 04 00 00 c4 e8 04 00 e5 07 02 17 12 04 1d f7 51 92");
const Octets kTimeGps =
    hex("b5 62 01 20 10 00 18 de 2d 0e c4 e8 04 00 62 08 12 07 1f 00 00 00 b4 e5");
const Octets kTimeLs = hex(
    "b5 62 01 26 18 00 18 de 2d 0e 00 00 00 00 01 12 00 00 00 00 00 00 00 00 00 00 00 00 00 01 84 "
    "e3");
const Octets kStatus =
    hex("b5 62 01 03 10 00 18 de 2d 0e 05 dd 00 08 fc 3a 00 00 ce e2 01 00 16 74");
// RTCM 10403: message 1005 of the standard's own example.
const Octets kRtcm =
    hex("d3 00 13 3e d7 d3 02 02 98 0e de ef 34 b4 bd 62 ac 09 41 98 6f 33 36 0b 98");

}  // namespace

TEST(GnssStream, FindsWhatSharesAPort) {
  const Octets input = octets(kRmc) + kTimTp + kRtcm + octets(kZda);
  EXPECT_EQ(framed(input), (Lines{"nmea 0 69", "ubx 70 24", "rtcm3 94 25", "nmea 119 37"}));
}

TEST(GnssStream, WhereItWasSplitChangesNothing) {
  Octets bad = kTimeUtc;
  bad[10] ^= 1;
  const Octets input = octets("garbage\r\n") + octets(kRmc) + kTimTp + bad + kTimeLs + kRtcm +
                       octets("$GPGGA,1$GPRMC,x\r\n") + octets(kZda) + kStatus + octets("$GPZ");
  const Lines whole = framed(input);
  for (std::size_t piece = 1; piece < input.size(); ++piece) {
    EXPECT_EQ(framed(input, piece), whole) << piece;
  }
  for (std::size_t cut = 0; cut <= input.size(); ++cut) {
    Stream stream;
    Lines lines;
    for (const Bytes part : {Bytes(input).first(cut), Bytes(input).subspan(cut)}) {
      stream.add(part, HostTime{});
      while (const auto event = stream.next()) lines.push_back(line(*event));
    }
    stream.end();
    while (const auto event = stream.next()) lines.push_back(line(*event));
    EXPECT_EQ(lines, whole) << cut;
  }
}

TEST(GnssStream, ADollarInsideASentenceRestarts) {
  // A rubidium's controller speaks into the receiver's sentence.
  const Octets input = octets("$GPGGA,131519.00,47") + octets(kZda) + octets("12.3,N*55\r\n");
  EXPECT_EQ(framed(input),
            (Lines{"refused nmea interrupted 0 19", "nmea 19 37", "refused none noise 57 11"}));
}

TEST(GnssStream, ABadLengthIsNotSkippedBy) {
  Octets liar = kTimTp;
  liar[4] = 60;  // swallows the two that follow
  const Octets input = liar + kStatus + kTimeGps + kTimeLs;
  EXPECT_EQ(framed(input),
            (Lines{"refused ubx checksum 0 24", "ubx 24 24", "ubx 48 24", "ubx 72 32"}));
  liar[5] = 0xff;
  EXPECT_EQ(framed(liar + kStatus), (Lines{"refused ubx too_long 0 24", "ubx 24 24"}));
}

TEST(GnssStream, EveryChangedOctetIsRefused) {
  for (std::size_t at = 2; at < kTimTp.size(); ++at) {
    Octets changed = kTimTp;
    changed[at] ^= 0x10;
    const Lines lines = framed(changed + kStatus);
    ASSERT_EQ(lines.size(), 2U) << at;
    EXPECT_TRUE(lines[0].starts_with("refused ubx ")) << at;
    EXPECT_EQ(lines[1], "ubx 24 24") << at;
  }
  for (std::size_t at = 1; at + 2 < kZda.size(); ++at) {
    Octets changed = octets(kZda);
    changed[at] ^= 1;
    // Without its star it is a sentence without a checksum, and nobody trusts those.
    const std::string expected = kZda[at] == '*' ? "nmea unchecked 0 37" : "refused nmea ";
    EXPECT_TRUE(framed(changed)[0].starts_with(expected)) << at;
  }
}

TEST(GnssStream, SentencesAsRealReceiversWriteThem) {
  EXPECT_EQ(framed(octets("$GNZDA,193334.00,31,07,2025,00,00*77\n")), (Lines{"nmea 0 37"}));
  EXPECT_EQ(framed(octets("$PUBX,04*37\r$PUBX,04*37")), (Lines{"nmea 0 12", "nmea 12 11"}));
  EXPECT_EQ(framed(octets("$PUBX,04*37$PUBX,04*37\n")), (Lines{"nmea 0 11", "nmea 11 12"}));
  // Lower case digits; none at all; more than 82 octets.
  EXPECT_EQ(framed(octets("$GPTXT,a*2a\n")), framed(octets("$GPTXT,a*2A\n")));
  EXPECT_EQ(framed(octets("$GPZDA,222449,25,10,2010,+00,00\r\n")), (Lines{"nmea unchecked 0 32"}));
  EXPECT_EQ(framed(octets("$GPTXT," + std::string(400, 'a') + "\r\n")),
            (Lines{"nmea unchecked 0 408"}));
  EXPECT_EQ(framed(octets("$GPTXT," + std::string(1100, 'a') + "\r\n"))[0],
            "refused nmea too_long 0 1024");
  EXPECT_EQ(framed(octets("$,1\n$GPTXT,a*2\n$GPTXT,a*zz\n")),
            (Lines{"refused nmea malformed 0 4", "refused nmea malformed 4 11",
                   "refused nmea malformed 15 12"}));
}

TEST(GnssStream, HalfFramesAtTheEnd) {
  EXPECT_EQ(framed({kTimTp.begin(), kTimTp.end() - 1}), (Lines{"refused ubx incomplete 0 23"}));
  EXPECT_EQ(framed(octets("$GPZDA,2224")), (Lines{"refused nmea incomplete 0 11"}));
  // A false start does not take what follows it along.
  EXPECT_EQ(framed(hex("b5 62 01 07 ff 0f") + octets(kZda)),
            (Lines{"refused ubx incomplete 0 6", "nmea 6 37"}));
  EXPECT_EQ(framed(hex("d3 03 ff") + kTimTp), (Lines{"refused rtcm3 incomplete 0 3", "ubx 3 24"}));
}

TEST(GnssStream, NoiseIsReportedInPieces) {
  Octets noise(3000, 0x55);
  EXPECT_EQ(framed(noise), (Lines{"refused none noise 0 1024", "refused none noise 1024 1024",
                                  "refused none noise 2048 952"}));
}

TEST(GnssStream, CommentsOfARecordedLog) {
  const Octets input = octets("# Name: x\r\n{\"class\":\"VERSION\"}\r\n") + kTimTp +
                       octets("$PUBX,04*37\r\n# M\xc3\xbcnchen\n#") + kTimTp;
  EXPECT_EQ(framed(input, 1, Stream::Comments::kTaken),
            (Lines{"comment 0 11", "comment 11 21", "ubx 32 24", "nmea 56 12", "comment 69 11",
                   "refused none noise 80 1", "ubx 81 24"}));
  EXPECT_EQ(framed(octets("# Name: x\n"), 1), (Lines{"refused none noise 0 10"}));
}

TEST(GnssStream, AFrameArrivesWithItsFirstOctet) {
  Stream stream;
  std::int64_t read = 0;
  std::vector<std::int64_t> arrivals;
  const Octets input = octets(kRmc) + kTimTp + octets(kZda);
  for (Bytes rest = input; !rest.empty();
       rest = rest.subspan(std::min<std::size_t>(10, rest.size()))) {
    stream.add(rest.first(std::min<std::size_t>(10, rest.size())), HostTime{read++});
    while (const auto event = stream.next()) {
      arrivals.push_back(std::get<Frame>(*event).arrival.ns);
    }
  }
  EXPECT_EQ(arrivals, (std::vector<std::int64_t>{0, 7, 9}));
  EXPECT_EQ(stream.counts().frames[static_cast<std::size_t>(Protocol::kNmea)], 2U);
  EXPECT_EQ(stream.counts().frames[static_cast<std::size_t>(Protocol::kUbx)], 1U);
}

namespace {

// text lives as long as what is made of it.
nmea::Sentence sentence(std::string_view text) {
  static std::vector<std::unique_ptr<Octets>> kept;
  kept.push_back(std::make_unique<Octets>(octets(text)));
  return nmea::decode(*kept.back());
}
template <class T>
T content(std::string_view text) {
  return std::get<T>(sentence(text).content);
}

}  // namespace

TEST(GnssNmea, DecodesWhatAZedF9tSays) {
  const auto rmc = content<nmea::Rmc>(kRmc);
  EXPECT_EQ(rmc.time, (nmea::TimeOfDay{19, 33, 34, 0}));
  EXPECT_EQ(rmc.status, 'A');
  EXPECT_EQ(rmc.position->latitude_ndeg, 44'068'854'000);
  EXPECT_EQ(rmc.position->longitude_ndeg, -121'314'135'000);
  EXPECT_EQ(rmc.speed_mknots, 14);
  EXPECT_FALSE(rmc.course_mdeg);
  EXPECT_EQ(rmc.date->day, 31U);
  EXPECT_EQ(rmc.date->month, 7U);
  EXPECT_EQ(rmc.date->year_of_century, 25U);
  EXPECT_EQ(rmc.mode, 'A');
  EXPECT_EQ(rmc.navigation_status, 'V');

  const auto zda = content<nmea::Zda>(kZda);
  EXPECT_EQ(zda.time, (nmea::TimeOfDay{19, 33, 34, 0}));
  EXPECT_EQ(zda.date, std::chrono::year(2025) / 7 / 31);

  const auto gbs = content<nmea::Gbs>("$GNGBS,193334.00,0.9,1.2,2.3,,,,,,*5B\r\n");
  EXPECT_EQ(gbs.latitude_error_mm, 900);
  EXPECT_EQ(gbs.longitude_error_mm, 1200);
  EXPECT_EQ(gbs.altitude_error_mm, 2300);
  EXPECT_FALSE(gbs.failed_satellite);

  const auto gst = content<nmea::Gst>("$GNGST,193334.00,142,3.2,2.1,68,0.93,1.2,2.3*45\r\n");
  EXPECT_EQ(gst.rms_mm, 142'000);
  EXPECT_EQ(gst.major_mm, 3200);
  EXPECT_EQ(gst.minor_mm, 2100);
  EXPECT_EQ(gst.orientation_mdeg, 68'000);
  EXPECT_EQ(gst.latitude_sigma_mm, 930);
  EXPECT_EQ(gst.longitude_sigma_mm, 1200);
  EXPECT_EQ(gst.altitude_sigma_mm, 2300);

  const auto gsv = content<nmea::Gsv>(
      "$GPGSV,3,1,12,02,24,310,29,08,37,282,42,10,73,011,34,18,19,128,34,1*65\r\n");
  EXPECT_EQ(gsv.messages, 3U);
  EXPECT_EQ(gsv.message, 1U);
  EXPECT_EQ(gsv.in_view, 12U);
  ASSERT_EQ(gsv.satellites.size(), 4U);
  EXPECT_EQ(gsv.satellites[2].id, 10U);
  EXPECT_EQ(gsv.satellites[2].elevation_deg, 73);
  EXPECT_EQ(gsv.satellites[2].azimuth_deg, 11);
  EXPECT_EQ(gsv.satellites[2].cn0_dbhz, 34);
  EXPECT_EQ(gsv.signal, 1U);
}

TEST(GnssNmea, DecodesTheOthers) {
  const auto gga = content<nmea::Gga>(
      "$GPGGA,235725.02,4808.9977,N,01135.0800,E,1,04,01.4,00464.5,M,0046.2,M,,*52\r\n");
  EXPECT_EQ(gga.time, (nmea::TimeOfDay{23, 57, 25, 20'000'000}));
  EXPECT_EQ(gga.quality, 1U);
  EXPECT_EQ(gga.satellites, 4U);
  EXPECT_EQ(gga.hdop_centi, 140);
  EXPECT_EQ(gga.altitude_mm, 464'500);
  EXPECT_EQ(gga.geoid_mm, 46'200);

  const auto gsa = content<nmea::Gsa>("$GPGSA,A,3,20,,,,31,13,,04,,,,,02.6,01.4,02.1*06\r\n");
  EXPECT_EQ(gsa.selection, 'A');
  EXPECT_EQ(gsa.fix, 3U);
  EXPECT_EQ(gsa.satellites, (std::vector<unsigned>{20, 31, 13, 4}));
  EXPECT_EQ(gsa.pdop_centi, 260);
  EXPECT_EQ(gsa.hdop_centi, 140);
  EXPECT_EQ(gsa.vdop_centi, 210);
  EXPECT_FALSE(gsa.system);

  const auto txt = content<nmea::Txt>("$GNTXT,01,01,02,ANTSTATUS=OK, so far\r\n");
  EXPECT_EQ(txt.kind, 2U);
  EXPECT_EQ(txt.text, "ANTSTATUS=OK, so far");

  const auto pubx = content<nmea::Pubx04>(
      "$PUBX,04,073731.00,091202,113851.00,1196,15D,1930035,-2660.664,43,*3C\r\n");
  EXPECT_EQ(pubx.time, (nmea::TimeOfDay{7, 37, 31, 0}));
  EXPECT_EQ(pubx.date->year_of_century, 2U);
  EXPECT_EQ(pubx.utc_tow_ms, 113'851'000);
  EXPECT_EQ(pubx.utc_week, 1196U);
  EXPECT_EQ(pubx.leap_s, 15);
  EXPECT_TRUE(pubx.leap_is_default);
  EXPECT_EQ(pubx.clock_bias_ns, 1'930'035);
  EXPECT_EQ(pubx.clock_drift_ps_s, -2'660'664);
  EXPECT_EQ(pubx.pulse_granularity_ns, 43);
  EXPECT_FALSE(
      content<nmea::Pubx04>("$PUBX,04,073731.00,091202,1.0,1196,15,1,1,43,*3C\n").leap_is_default);

  const auto ptnta = content<nmea::Ptnta>("$PTNTA,20160203131536,2,T4,000000066,+108,3,0,3*18\r\n");
  EXPECT_EQ(ptnta.date, std::chrono::year(2016) / 2 / 3);
  EXPECT_EQ(ptnta.time, (nmea::TimeOfDay{13, 15, 36, 0}));
  EXPECT_EQ(ptnta.quality, 2U);
  EXPECT_EQ(ptnta.reference_minus_output_ns, 66);
  EXPECT_EQ(ptnta.fine_phase_ns, 108);
  EXPECT_EQ(ptnta.status, 3U);
  EXPECT_EQ(ptnta.date_quality, 3U);

  const auto ptnts = content<nmea::Ptnts>("$PTNTS,B,2,FDE2,FDE3,a,b,c,0,001000,12\r\n");
  EXPECT_EQ(ptnts.status, 2U);
  EXPECT_EQ(ptnts.frequency, "FDE2");
  EXPECT_EQ(ptnts.holdover_frequency, "FDE3");
  EXPECT_EQ(ptnts.constant_mode, "0");
  EXPECT_EQ(ptnts.time_constant, "001000");
  EXPECT_EQ(ptnts.sigma, "12");
}

TEST(GnssNmea, WhoeverTheTalkerIs) {
  for (const std::string talker : {"GP", "GL", "GA", "GB", "BD", "GQ", "QZ", "GI", "GN", "II"}) {
    EXPECT_TRUE(std::holds_alternative<nmea::Zda>(
        sentence("$" + talker + "ZDA,193334.00,31,07,2025,00,00\r\n").content));
  }
  EXPECT_TRUE(std::holds_alternative<nmea::Other>(sentence("$GPVTG,,T,,M\r\n").content));
  EXPECT_TRUE(std::holds_alternative<nmea::Other>(sentence("$PXRMC,1\r\n").content));
  EXPECT_TRUE(std::holds_alternative<nmea::Other>(sentence("$PUBX,00,1\r\n").content));
}

TEST(GnssNmea, ABadFieldIsAbsentAndNamed) {
  const auto bad =
      sentence("$GPRMC,000231.099,A,4829.0005,N,00022.0015,E,0.15,212.28,2208-1,,,A*73");
  EXPECT_EQ(bad.bad_field, 9U);
  EXPECT_FALSE(std::get<nmea::Rmc>(bad.content).date);
  EXPECT_EQ(std::get<nmea::Rmc>(bad.content).time->ns, 99'000'000U);
  EXPECT_EQ(sentence(kRmc).bad_field, 0U);
  EXPECT_EQ(sentence("$GPRMC,,V,,,,,,,,,,N*53").bad_field, 0U);
  const std::pair<const char*, unsigned> cases[] = {{"$GPRMC,250000,A", 1},
                                                    {"$GPRMC,126000,A", 1},
                                                    {"$GPRMC,120061,A", 1},
                                                    {"$GPRMC,120000x,A", 1},
                                                    {"$GPRMC,120000.x,A", 1},
                                                    {"$GPRMC,12000,A", 1},
                                                    {"$GPRMC,120000,AA", 2},
                                                    {"$GPRMC,120000,A,9100.0,N,00000.0,E", 3},
                                                    {"$GPRMC,120000,A,1260.0,N,00000.0,E", 3},
                                                    {"$GPRMC,120000,A,1200.0,X,00000.0,E", 4},
                                                    {"$GPRMC,120000,A,-1200.0,N,00000.0,E", 3},
                                                    {"$GPRMC,120000,A,1200.0,N,18000.1,E", 5},
                                                    {"$GPRMC,120000,A,,,,,,,310225", 9},
                                                    {"$GPRMC,120000,A,,,,,1234567890123,,", 7},
                                                    {"$GPZDA,120000,31,02,2025", 2},
                                                    {"$GPZDA,120000,1,1,99999", 2}};
  for (const auto& [text, field] : cases) EXPECT_EQ(sentence(text).bad_field, field) << text;
}

TEST(GnssNmea, ALeapSecondIsALegalTime) {
  EXPECT_EQ(content<nmea::Zda>("$GPZDA,235960.00,31,12,2016,00,00").time,
            (nmea::TimeOfDay{23, 59, 60, 0}));
  // A second is not rounded up.
  EXPECT_EQ(content<nmea::Zda>("$GPZDA,235959.9999999999,31,12,2016,00,00").time,
            (nmea::TimeOfDay{23, 59, 59, 999'999'999}));
}

namespace {

ubx::Packet packet(std::uint8_t message_class, std::uint8_t id, const Octets& payload) {
  return {message_class, id, payload};
}
// A frame as received.
template <class T>
T message(const Octets& frame) {
  const ubx::Packet packet = ubx::packet_of({Protocol::kUbx, frame, 0, HostTime{}, true});
  return std::get<T>(ubx::decode(packet).value());
}
// A payload of zeros but for what is put.
struct Payload {
  explicit Payload(std::size_t size) : octets(size) {}
  Payload& put(std::size_t offset, std::size_t size, std::int64_t value) {
    for (std::size_t i = 0; i < size; ++i) {
      octets.at(offset + i) = static_cast<std::uint8_t>(value >> 8 * i);
    }
    return *this;
  }
  Octets octets;
};
template <class T>
T message(const Payload& payload) {
  return std::get<T>(ubx::decode(packet(T::kClass, T::kId, payload.octets)).value());
}

}  // namespace

TEST(GnssUbx, DecodesWhatALeaM8tSays) {
  const auto tp = message<ubx::TimTp>(kTimTp);
  EXPECT_EQ(tp.tow_ms, 237'870'000U);
  EXPECT_EQ(tp.tow_sub_ms, 0U);
  EXPECT_EQ(tp.error_ps, -4331);
  EXPECT_EQ(tp.week, 2146U);
  EXPECT_TRUE(tp.utc);
  EXPECT_TRUE(tp.utc_available);
  EXPECT_EQ(tp.raim, 2U);
  EXPECT_FALSE(tp.error_invalid);
  EXPECT_FALSE(tp.not_locked);
  EXPECT_EQ(tp.gnss, 15U);
  EXPECT_EQ(tp.utc_standard, 0U);

  const auto utc = message<ubx::NavTimeUtc>(kTimeUtc);
  EXPECT_EQ(utc.itow_ms, 237'887'000U);
  EXPECT_EQ(utc.time_accuracy_ns, 1031U);
  EXPECT_EQ(utc.nano_ns, 321'732);
  EXPECT_EQ(utc.year, 2021U);
  EXPECT_EQ(utc.month, 2U);
  EXPECT_EQ(utc.day, 23U);
  EXPECT_EQ(utc.hour, 18U);
  EXPECT_EQ(utc.minute, 4U);
  EXPECT_EQ(utc.second, 29U);
  EXPECT_TRUE(utc.tow_valid && utc.week_valid && utc.utc_valid);
  EXPECT_FALSE(utc.authenticated);
  EXPECT_EQ(utc.utc_standard, 15U);

  const auto gps = message<ubx::NavTimeGps>(kTimeGps);
  EXPECT_EQ(gps.itow_ms, 237'887'000U);
  EXPECT_EQ(gps.fractional_tow_ns, 321'732);
  EXPECT_EQ(gps.week, 2146);
  EXPECT_EQ(gps.leap_s, 18);
  EXPECT_TRUE(gps.tow_valid && gps.week_valid && gps.leap_valid);
  EXPECT_EQ(gps.time_accuracy_ns, 31U);

  const auto leap = message<ubx::NavTimeLs>(kTimeLs);
  EXPECT_EQ(leap.itow_ms, 237'887'000U);
  EXPECT_EQ(leap.leap_source, 1U);
  EXPECT_EQ(leap.leap_s, 18);
  EXPECT_EQ(leap.change_source, 0U);
  EXPECT_EQ(leap.change_s, 0);
  EXPECT_EQ(leap.time_to_event_s, 0);
  EXPECT_TRUE(leap.leap_valid);
  EXPECT_FALSE(leap.event_valid);

  const auto status = message<ubx::NavStatus>(kStatus);
  EXPECT_EQ(status.fix, 5U);
  EXPECT_TRUE(status.fix_ok && status.week_set && status.tow_set);
  EXPECT_EQ(status.spoofing, 1U);
  EXPECT_EQ(status.first_fix_ms, 15'100U);
  EXPECT_EQ(status.uptime_ms, 123'598U);
}

TEST(GnssUbx, PlacesOfTheOtherNavigationMessages) {
  const auto pvt = message<ubx::NavPvt>(Payload(92)
                                            .put(4, 2, 2016)
                                            .put(6, 1, 12)
                                            .put(7, 1, 31)
                                            .put(8, 1, 23)
                                            .put(9, 1, 59)
                                            .put(10, 1, 60)
                                            .put(11, 1, 0x05)
                                            .put(12, 4, 25)
                                            .put(16, 4, -900'000'000)
                                            .put(20, 1, 5)
                                            .put(21, 1, 1)
                                            .put(22, 1, 0x80)
                                            .put(23, 1, 14)
                                            .put(24, 4, -1'213'141'350)
                                            .put(28, 4, 440'688'540)
                                            .put(32, 4, 1'100'000)
                                            .put(36, 4, 1'120'000)
                                            .put(40, 4, 900)
                                            .put(44, 4, 2300)
                                            .put(48, 4, -1)
                                            .put(52, 4, 2)
                                            .put(56, 4, -3)
                                            .put(68, 4, 77)
                                            .put(76, 2, 123)
                                            .put(78, 2, 0x2001));
  EXPECT_EQ(pvt.year, 2016U);
  EXPECT_EQ(pvt.second, 60U);
  EXPECT_TRUE(pvt.date_valid && !pvt.time_valid && pvt.fully_resolved);
  EXPECT_EQ(pvt.time_accuracy_ns, 25U);
  EXPECT_EQ(pvt.nano_ns, -900'000'000);
  EXPECT_EQ(pvt.fix, 5U);
  EXPECT_TRUE(pvt.fix_ok);
  EXPECT_TRUE(!pvt.confirmation_available && !pvt.date_confirmed && pvt.time_confirmed);
  EXPECT_EQ(pvt.satellites, 14U);
  EXPECT_EQ(pvt.longitude_e7, -1'213'141'350);
  EXPECT_EQ(pvt.latitude_e7, 440'688'540);
  EXPECT_EQ(pvt.height_mm, 1'100'000);
  EXPECT_EQ(pvt.above_sea_mm, 1'120'000);
  EXPECT_EQ(pvt.horizontal_accuracy_mm, 900U);
  EXPECT_EQ(pvt.vertical_accuracy_mm, 2300U);
  EXPECT_EQ(pvt.north_mm_s, -1);
  EXPECT_EQ(pvt.down_mm_s, -3);
  EXPECT_EQ(pvt.speed_accuracy_mm_s, 77U);
  EXPECT_EQ(pvt.pdop_centi, 123U);
  EXPECT_TRUE(pvt.position_invalid && pvt.time_authenticated && !pvt.fix_authenticated);

  const auto dop = message<ubx::NavDop>(Payload(18).put(4, 2, 186).put(8, 2, 96).put(12, 2, 75));
  EXPECT_EQ(dop.gdop_centi, 186U);
  EXPECT_EQ(dop.tdop_centi, 96U);
  EXPECT_EQ(dop.hdop_centi, 75U);

  const auto clock =
      message<ubx::NavClock>(Payload(20).put(4, 4, -5).put(8, 4, -6).put(12, 4, 7).put(16, 4, 8));
  EXPECT_EQ(clock.bias_ns, -5);
  EXPECT_EQ(clock.drift_ns_s, -6);
  EXPECT_EQ(clock.time_accuracy_ns, 7U);
  EXPECT_EQ(clock.frequency_accuracy_ps_s, 8U);

  const auto leap = message<ubx::NavTimeLs>(Payload(24)
                                                .put(9, 1, -1)
                                                .put(10, 1, 2)
                                                .put(11, 1, -1)
                                                .put(12, 4, -86'400)
                                                .put(16, 2, 1930)
                                                .put(18, 2, 7)
                                                .put(23, 1, 2));
  EXPECT_EQ(leap.leap_s, -1);
  EXPECT_EQ(leap.change_s, -1);
  EXPECT_EQ(leap.time_to_event_s, -86'400);
  EXPECT_EQ(leap.event_week, 1930U);
  EXPECT_EQ(leap.event_day, 7U);
  EXPECT_TRUE(!leap.leap_valid && leap.event_valid);

  const auto svin = message<ubx::NavSvin>(Payload(40)
                                              .put(4, 4, 1)
                                              .put(8, 4, 1200)
                                              .put(12, 4, -250'000'000)
                                              .put(20, 4, 441'000'000)
                                              .put(28, 4, 90'000)
                                              .put(32, 4, 1199)
                                              .put(36, 1, 1));
  EXPECT_EQ(svin.duration_s, 1200U);
  EXPECT_EQ(svin.mean_x_cm, -250'000'000);
  EXPECT_EQ(svin.mean_z_cm, 441'000'000);
  EXPECT_EQ(svin.mean_accuracy_100um, 90'000U);
  EXPECT_EQ(svin.observations, 1199U);
  EXPECT_TRUE(svin.valid && !svin.active);

  EXPECT_EQ(message<ubx::NavEoe>(Payload(4).put(0, 4, 123'000)).itow_ms, 123'000U);

  const auto trusted = message<ubx::NavTimeTrusted>(
      Payload(40).put(2, 1, 3).put(4, 4, 9).put(24, 4, 75).put(28, 4, -2).put(32, 4, -250));
  EXPECT_EQ(trusted.valid_flags, 3U);
  EXPECT_EQ(trusted.propagated_accuracy, 75U);
  EXPECT_EQ(trusted.delta_s, -2);
  EXPECT_EQ(trusted.delta_ms, -250);
}

TEST(GnssUbx, PlacesOfWhatRepeats) {
  const auto sat = message<ubx::NavSat>(Payload(8 + 24)
                                            .put(4, 1, 1)
                                            .put(5, 1, 2)
                                            .put(20, 1, 2)
                                            .put(21, 1, 31)
                                            .put(22, 1, 44)
                                            .put(23, 1, -5)
                                            .put(24, 2, 359)
                                            .put(26, 2, -12)
                                            .put(28, 4, 0x1f));
  ASSERT_EQ(sat.satellites.size(), 2U);
  EXPECT_EQ(sat.satellites[1].gnss, 2U);
  EXPECT_EQ(sat.satellites[1].id, 31U);
  EXPECT_EQ(sat.satellites[1].cn0_dbhz, 44U);
  EXPECT_EQ(sat.satellites[1].elevation_deg, -5);
  EXPECT_EQ(sat.satellites[1].azimuth_deg, 359);
  EXPECT_EQ(sat.satellites[1].residual_dm, -12);
  EXPECT_EQ(sat.satellites[1].quality, 7U);
  EXPECT_TRUE(sat.satellites[1].used && !sat.satellites[0].used);
  EXPECT_EQ(sat.satellites[1].health, 1U);

  const auto sig = message<ubx::NavSig>(Payload(8 + 16)
                                            .put(5, 1, 1)
                                            .put(10, 1, 3)
                                            .put(11, 1, 7)
                                            .put(12, 2, -3)
                                            .put(14, 1, 40)
                                            .put(15, 1, 6)
                                            .put(18, 2, 0x0209));
  ASSERT_EQ(sig.signals.size(), 1U);
  EXPECT_EQ(sig.signals[0].signal, 3U);
  EXPECT_EQ(sig.signals[0].frequency, 7U);
  EXPECT_EQ(sig.signals[0].residual_dm, -3);
  EXPECT_EQ(sig.signals[0].cn0_dbhz, 40U);
  EXPECT_EQ(sig.signals[0].quality, 6U);
  EXPECT_EQ(sig.signals[0].health, 1U);
  EXPECT_TRUE(sig.signals[0].pseudorange_used && sig.signals[0].authenticated);

  const auto rf = message<ubx::MonRf>(Payload(4 + 48)
                                          .put(1, 1, 2)
                                          .put(28, 1, 1)
                                          .put(29, 1, 3)
                                          .put(30, 1, 4)
                                          .put(31, 1, 2)
                                          .put(40, 2, 92)
                                          .put(42, 2, 3100)
                                          .put(44, 1, 201)
                                          .put(45, 1, -7)
                                          .put(46, 1, 200));
  ASSERT_EQ(rf.blocks.size(), 2U);
  EXPECT_EQ(rf.blocks[1].jamming, 3U);
  EXPECT_EQ(rf.blocks[1].antenna, 4U);
  EXPECT_EQ(rf.blocks[1].antenna_power, 2U);
  EXPECT_EQ(rf.blocks[1].noise, 92U);
  EXPECT_EQ(rf.blocks[1].agc, 3100U);
  EXPECT_EQ(rf.blocks[1].jamming_indicator, 201U);
  EXPECT_EQ(rf.blocks[1].i_offset, -7);
  EXPECT_EQ(rf.blocks[1].i_magnitude, 200U);

  const auto sec = message<ubx::SecSig2>(
      Payload(4 + 8).put(0, 1, 2).put(1, 1, 0x3d).put(3, 1, 2).put(8, 4, 0x0118'0000 | 0x57));
  EXPECT_TRUE(sec.jamming_detector && sec.spoofing_detector);
  EXPECT_EQ(sec.jamming, 2U);
  EXPECT_EQ(sec.spoofing, 3U);
  ASSERT_EQ(sec.frequencies.size(), 2U);
  EXPECT_EQ(sec.frequencies[1].centre, 0x18'0057U);
  EXPECT_TRUE(sec.frequencies[1].jammed);

  const auto log =
      message<ubx::SecSigLog>(Payload(16).put(1, 1, 1).put(8, 4, 3600).put(12, 1, 2).put(13, 1, 1));
  ASSERT_EQ(log.events.size(), 1U);
  EXPECT_EQ(log.events[0].elapsed_s, 3600U);
  EXPECT_EQ(log.events[0].detection, 2U);
  EXPECT_EQ(log.events[0].event, 1U);

  Payload version(40 + 60);
  for (const auto& [offset, text] : {std::pair{0, "EXT CORE 1.00"},
                                     {30, "00190000"},
                                     {40, "FWVER=TIM 2.20"},
                                     {70, "PROTVER=29.20"}}) {
    std::ranges::copy(std::string_view(text), version.octets.begin() + offset);
  }
  const auto ver = message<ubx::MonVer>(version);
  EXPECT_EQ(ver.software, "EXT CORE 1.00");
  EXPECT_EQ(ver.hardware, "00190000");
  ASSERT_EQ(ver.extensions.size(), 2U);
  EXPECT_EQ(ver.extensions[1].text, "PROTVER=29.20");
}

TEST(GnssUbx, PlacesOfTheRest) {
  const auto tm2 = message<ubx::TimTm2>(Payload(28)
                                            .put(0, 1, 1)
                                            .put(1, 1, 0xd1)
                                            .put(2, 2, 77)
                                            .put(4, 2, 2146)
                                            .put(6, 2, 2145)
                                            .put(8, 4, 1000)
                                            .put(12, 4, 123)
                                            .put(16, 4, 2000)
                                            .put(20, 4, 456)
                                            .put(24, 4, 20));
  EXPECT_EQ(tm2.channel, 1U);
  EXPECT_TRUE(tm2.running && !tm2.stopped && !tm2.new_falling && tm2.new_rising);
  EXPECT_EQ(tm2.time_base, 2U);
  EXPECT_TRUE(!tm2.utc_available && tm2.time_valid);
  EXPECT_EQ(tm2.count, 77U);
  EXPECT_EQ(tm2.rising_week, 2146U);
  EXPECT_EQ(tm2.falling_week, 2145U);
  EXPECT_EQ(tm2.rising_tow_ms, 1000U);
  EXPECT_EQ(tm2.rising_sub_ms_ns, 123U);
  EXPECT_EQ(tm2.falling_tow_ms, 2000U);
  EXPECT_EQ(tm2.falling_sub_ms_ns, 456U);
  EXPECT_EQ(tm2.accuracy_ns, 20U);

  const auto svin = message<ubx::TimSvin>(
      Payload(28).put(0, 4, 60).put(4, 4, -1).put(16, 4, 250).put(20, 4, 61).put(25, 1, 1));
  EXPECT_EQ(svin.duration_s, 60U);
  EXPECT_EQ(svin.mean_x_cm, -1);
  EXPECT_EQ(svin.mean_variance_mm2, 250U);
  EXPECT_EQ(svin.observations, 61U);
  EXPECT_TRUE(!svin.valid && svin.active);

  const auto sec = message<ubx::SecSig1>(Payload(12).put(0, 1, 1).put(4, 1, 0x05).put(8, 1, 0x07));
  EXPECT_TRUE(sec.jamming_detector && sec.spoofing_detector);
  EXPECT_EQ(sec.jamming, 2U);
  EXPECT_EQ(sec.spoofing, 3U);

  // Generation 6 had a longer list of pins before the indicator.
  for (const auto& [length, at] : {std::pair<std::size_t, std::size_t>{60, 45}, {68, 53}}) {
    const auto hw = message<ubx::MonHw>(Payload(length)
                                            .put(16, 2, 92)
                                            .put(18, 2, 3100)
                                            .put(20, 1, 3)
                                            .put(21, 1, 1)
                                            .put(22, 1, 0x0c)
                                            .put(at, 1, 99));
    EXPECT_EQ(hw.noise, 92U);
    EXPECT_EQ(hw.agc, 3100U);
    EXPECT_EQ(hw.antenna, 3U);
    EXPECT_EQ(hw.antenna_power, 1U);
    EXPECT_EQ(hw.jamming, 3U);
    EXPECT_EQ(hw.jamming_indicator, 99U);
  }

  const auto ack = message<ubx::AckAck>(Payload(2).put(0, 1, 6).put(1, 1, 0x8a));
  EXPECT_EQ(ack.about_class, 6U);
  EXPECT_EQ(ack.about_id, 0x8aU);
  EXPECT_EQ(message<ubx::AckNak>(Payload(2).put(1, 1, 1)).about_id, 1U);
}

TEST(GnssUbx, RefusesWhatIsNotAsLongAsItsKind) {
  // One octet less than the row says, for every row; one more is a later version.
  const std::tuple<int, int, std::size_t> rows[] = {
      {1, 0x03, 16}, {1, 0x04, 18}, {1, 0x07, 84}, {1, 0x20, 16},  {1, 0x21, 20}, {1, 0x22, 20},
      {1, 0x26, 24}, {1, 0x35, 8},  {1, 0x3b, 40}, {1, 0x43, 8},   {1, 0x61, 4},  {1, 0x64, 40},
      {5, 0, 2},     {5, 1, 2},     {10, 4, 40},   {10, 9, 60},    {10, 0x38, 4}, {13, 1, 16},
      {13, 3, 28},   {13, 4, 28},   {0x27, 9, 12}, {0x27, 0x10, 8}};
  for (const auto& [message_class, id, length] : rows) {
    Octets payload(length + 1);
    payload[0] = 1;  // SEC-SIG's version
    if (id == 0x10) payload[0] = 0;
    const auto decode = [&, c = message_class, i = id](std::size_t size) {
      return ubx::decode(packet(static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(i),
                                {payload.begin(), payload.begin() + static_cast<int>(size)}));
    };
    for (std::size_t size = 0; size < length; ++size) {
      ASSERT_FALSE(decode(size)) << message_class << " " << id << " " << size;
      EXPECT_EQ(decode(size).error(), Why::kLength);
    }
    EXPECT_FALSE(std::holds_alternative<ubx::Other>(decode(length).value()));
    EXPECT_TRUE(decode(length + 1));
  }
  // Counts more than there are.
  EXPECT_EQ(ubx::decode(packet(1, 0x35, Payload(8 + 12).put(5, 1, 2).octets)).error(),
            Why::kLength);
  EXPECT_EQ(ubx::decode(packet(0x27, 9, Payload(12).put(0, 1, 3).octets)).error(), Why::kVersion);
  EXPECT_TRUE(std::holds_alternative<ubx::Other>(ubx::decode(packet(1, 6, {})).value()));
}
