// Frames against octets made by another hand (Python's struct), and against themselves.
#include "common/net/udp_frame.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

namespace timeball::net {
namespace {

std::vector<std::uint8_t> octets(std::string_view hex) {
  std::vector<std::uint8_t> out;
  std::string digits;
  std::ranges::copy_if(hex, std::back_inserter(digits), [](char c) { return c != ' '; });
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    out.push_back(static_cast<std::uint8_t>(std::stoul(digits.substr(i, 2), nullptr, 16)));
  }
  return out;
}

// "time?" from 192.0.2.2 port 40000 to 192.0.2.1 port 123.
const std::string kIpv4Frame =
    "020000000001 020000000002 0800"
    "45000021000000004011f6c8 c0000202 c0000201"
    "9c40007b000dbe45 74696d653f";
// The same over IPv6, 2001:db8::2 to ::1.
const std::string kIpv6Frame =
    "020000000001 020000000002 86dd"
    "60000000000d1140 20010db8000000000000000000000002 20010db8000000000000000000000001"
    "9c40007b000de6d4 74696d653f";

UdpFlow parsed(const std::vector<std::uint8_t>& frame, std::string& text) {
  UdpFlow flow;
  Bytes payload;
  EXPECT_EQ(parse_udp_frame(frame, flow, payload), FrameFault::kNone);
  text.assign(payload.begin(), payload.end());
  return flow;
}

FrameFault fault_of(const std::vector<std::uint8_t>& frame) {
  UdpFlow flow;
  Bytes payload;
  return parse_udp_frame(frame, flow, payload);
}

TEST(UdpFrame, ReadsBothFamilies) {
  std::string text;
  UdpFlow flow = parsed(octets(kIpv4Frame), text);
  EXPECT_EQ(text, "time?");
  EXPECT_EQ(flow.peer.to_string(), "192.0.2.2:40000");
  EXPECT_EQ(flow.local.to_string(), "192.0.2.1:123");
  EXPECT_EQ(flow.peer_mac, (MacAddress{2, 0, 0, 0, 0, 2}));
  EXPECT_EQ(flow.local_mac, (MacAddress{2, 0, 0, 0, 0, 1}));
  flow = parsed(octets(kIpv6Frame), text);
  EXPECT_EQ(text, "time?");
  EXPECT_EQ(flow.peer.to_string(), "[2001:db8::2]:40000");
  EXPECT_EQ(flow.local.to_string(), "[2001:db8::1]:123");
}

TEST(UdpFrame, LeavesOutPadding) {
  std::vector<std::uint8_t> frame = octets(kIpv4Frame);
  frame.resize(60, 0xee);
  std::string text;
  parsed(frame, text);
  EXPECT_EQ(text, "time?");
}

TEST(UdpFrame, EveryFlippedBitOfIpAndUdpIsNoticed) {
  for (const std::string& hex : {kIpv4Frame, kIpv6Frame}) {
    const bool v4 = hex == kIpv4Frame;
    const std::vector<std::uint8_t> good = octets(hex);
    for (std::size_t bit = 8 * 12; bit < 8 * good.size(); ++bit) {
      // No sum covers IPv6's traffic class, flow label and hop limit.
      const std::size_t octet = bit / 8;
      if (!v4 && (octet == 21 || (octet >= 14 && octet < 18 && bit >= 8 * 14 + 4))) continue;
      std::vector<std::uint8_t> bad = good;
      bad[octet] ^= static_cast<std::uint8_t>(0x80 >> bit % 8);
      EXPECT_NE(fault_of(bad), FrameFault::kNone) << hex << " bit " << bit;
    }
  }
}

TEST(UdpFrame, EveryTruncationIsMalformed) {
  for (const std::string& hex : {kIpv4Frame, kIpv6Frame}) {
    std::vector<std::uint8_t> frame = octets(hex);
    while (!frame.empty()) {
      frame.pop_back();
      EXPECT_EQ(fault_of(frame), FrameFault::kMalformed) << frame.size();
    }
  }
}

TEST(UdpFrame, NoChecksumIsForIpv4Only) {
  std::vector<std::uint8_t> frame = octets(kIpv4Frame);
  frame[40] = frame[41] = 0;
  EXPECT_EQ(fault_of(frame), FrameFault::kNone);
  frame = octets(kIpv6Frame);
  frame[60] = frame[61] = 0;
  EXPECT_EQ(fault_of(frame), FrameFault::kBadChecksum);
}

TEST(UdpFrame, Ipv4InDisguiseIsMalformed) {
  std::vector<std::uint8_t> frame = octets(kIpv6Frame);
  const auto mapped = octets("00000000000000000000ffffc0000202");
  std::ranges::copy(mapped, frame.begin() + 22);
  EXPECT_EQ(fault_of(frame), FrameFault::kMalformed);
}

// What write_udp_frame() makes of a flow, from the local end to the peer.
std::vector<std::uint8_t> written(const UdpFlow& flow, std::string_view text) {
  std::vector<std::uint8_t> room(kMaxFrameHeaders + text.size());
  std::ranges::copy(text, room.begin() + kMaxFrameHeaders);
  const MutableBytes frame = write_udp_frame(flow, room);
  EXPECT_EQ(frame.data() + frame.size(), room.data() + room.size());
  return {frame.begin(), frame.end()};
}

UdpFlow reversed(const UdpFlow& flow) {
  return {flow.local_mac, flow.peer_mac, flow.local, flow.peer};
}

TEST(UdpFrame, WritesWhatOthersRead) {
  std::string text;
  for (const std::string& hex : {kIpv4Frame, kIpv6Frame}) {
    const UdpFlow flow = parsed(octets(hex), text);
    std::vector<std::uint8_t> frame = written(reversed(flow), "time?");
    if (hex == kIpv4Frame) {  // ours says "don't fragment"
      EXPECT_EQ(frame[20], 0x40);
      frame[20] = 0;
      EXPECT_EQ(frame[24], 0xb6);
      frame[24] = 0xf6;
    }
    EXPECT_EQ(frame, octets(hex));
  }
}

TEST(UdpFrame, ReadsWhatItWritesAtEveryLengthAndSum) {
  std::string text;
  for (const std::string& hex : {kIpv4Frame, kIpv6Frame}) {
    const UdpFlow flow = parsed(octets(hex), text);
    for (std::size_t length = 0; length < 300; ++length) {
      std::string sent(length, '\0');
      std::iota(sent.begin(), sent.end(), static_cast<char>(length));
      std::string got;
      const UdpFlow back = parsed(written(flow, sent), got);
      EXPECT_EQ(got, sent);
      EXPECT_EQ(back.peer, flow.local);
      EXPECT_EQ(back.local, flow.peer);
    }
    // A sum of 0 is sent as 0xffff: two octets choose it.
    bool met = false;
    for (unsigned word = 0; word < 65536; ++word) {
      const std::string sent{static_cast<char>(word >> 8), static_cast<char>(word)};
      const std::vector<std::uint8_t> frame = written(flow, sent);
      const std::size_t at = frame.size() - 2 - 2;
      EXPECT_NE(load_be16(&frame[at]), 0);
      met = met || load_be16(&frame[at]) == 0xffff;
    }
    EXPECT_TRUE(met);
  }
}

}  // namespace
}  // namespace timeball::net
