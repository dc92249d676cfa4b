// GNSS receivers' protocols: framing, messages, and what is made of them.
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "refclock/gnss/stream.h"

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
