#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "common/ntp/extension_field.h"
#include "common/ntp/packet.h"

namespace timeball::ntp {
namespace {

std::vector<std::uint8_t> field(std::uint16_t type, std::size_t length) {
  std::vector<std::uint8_t> octets(length, 0xab);
  store_be16(octets.data(), type);
  store_be16(octets.data() + 2, static_cast<std::uint16_t>(length));
  return octets;
}

std::vector<std::uint8_t> operator+(std::vector<std::uint8_t> a,
                                    const std::vector<std::uint8_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::vector<std::uint8_t> octets(std::size_t n) {
  return std::vector<std::uint8_t>(n, 0xcd);
}

// How many fields, then how the walk ended: 'e' at the end, 'm' malformed, 'l' legacy MAC.
std::pair<int, char> walk(Bytes fields, std::size_t min_length = kMinFieldLength) {
  FieldReader reader(fields, 0, min_length);
  int count = 0;
  while (reader.next()) ++count;
  EXPECT_FALSE(reader.next());
  EXPECT_FALSE(reader.malformed() && reader.legacy_mac());
  return {count, reader.malformed() ? 'm' : reader.legacy_mac() ? 'l' : 'e'};
}

using Walk = std::pair<int, char>;

TEST(Header, ReadsEveryFieldOfRfc5905Figure8) {
  std::vector<std::uint8_t> packet(kHeaderLength);
  for (std::size_t i = 0; i < packet.size(); ++i) packet[i] = static_cast<std::uint8_t>(i);
  packet[0] = 0xe3;  // LI 3, version 4, mode 3
  packet[2] = 0xfa;  // poll -6
  packet[3] = 0xe8;  // precision -24
  const auto header = parse_header(packet);
  ASSERT_TRUE(header);
  EXPECT_EQ(header->leap, LeapIndicator::kUnknown);
  EXPECT_EQ(header->version, 4);
  EXPECT_EQ(header->mode, Mode::kClient);
  EXPECT_EQ(header->stratum, 1);
  EXPECT_EQ(header->poll, -6);
  EXPECT_EQ(header->precision, -24);
  EXPECT_EQ(header->root_delay.bits, 0x04050607U);
  EXPECT_EQ(header->root_dispersion.bits, 0x08090a0bU);
  EXPECT_EQ(header->reference_id, 0x0c0d0e0fU);
  EXPECT_EQ(header->reference.bits, 0x1011121314151617U);
  EXPECT_EQ(header->origin.bits, 0x18191a1b1c1d1e1fU);
  EXPECT_EQ(header->receive.bits, 0x2021222324252627U);
  EXPECT_EQ(header->transmit.bits, 0x28292a2b2c2d2e2fU);
}

TEST(Header, EveryPacketSurvivesTheRoundTrip) {
  std::mt19937 random(1);
  for (int i = 0; i < 10'000; ++i) {
    std::vector<std::uint8_t> packet(kHeaderLength);
    for (auto& octet : packet) octet = static_cast<std::uint8_t>(random());
    std::vector<std::uint8_t> again(kHeaderLength);
    write_header(*parse_header(packet), again);
    ASSERT_EQ(again, packet);
  }
}

TEST(Header, FewerThan48OctetsAreNone) {
  const std::vector<std::uint8_t> packet(kHeaderLength);
  for (std::size_t n = 0; n < kHeaderLength; ++n) {
    EXPECT_FALSE(parse_header(Bytes(packet).first(n))) << n;
  }
  EXPECT_TRUE(parse_header(packet));
}

TEST(Header, WhatFollowsIsNotTouched) {
  std::vector<std::uint8_t> packet(kHeaderLength + 4, 0x77);
  write_header(Header{}, packet);
  EXPECT_EQ(load_be32(packet.data() + kHeaderLength), 0x77777777U);
}

TEST(Header, OffsetsOfLateFieldsAreRight) {
  Header header;
  header.root_dispersion = {0x01020304};
  header.transmit = {0x1122334455667788};
  std::vector<std::uint8_t> packet(kHeaderLength);
  write_header(header, packet);
  EXPECT_EQ(load_be32(packet.data() + kRootDispersionOffset), 0x01020304U);
  EXPECT_EQ(load_be64(packet.data() + kTransmitOffset), 0x1122334455667788U);
}

TEST(Header, KissCodesAreAscii) {
  EXPECT_EQ(kKissNtsNak, 0x4e54534eU);
  EXPECT_EQ(kKissRate, 0x52415445U);
}

TEST(FieldReader, NothingIsTheEnd) {
  EXPECT_EQ(walk({}), Walk(0, 'e'));
}

TEST(FieldReader, GivesTypeOffsetAndBody) {
  const auto packet = field(0x0104, 36) + field(0x0204, 104);
  FieldReader reader(packet, kHeaderLength, kMinFieldLength);
  const auto first = reader.next();
  const auto second = reader.next();
  ASSERT_TRUE(first && second);
  EXPECT_TRUE(first->is(FieldType::kUniqueIdentifier));
  EXPECT_EQ(first->offset, 48U);
  EXPECT_EQ(first->body.data(), packet.data() + 4);
  EXPECT_EQ(first->body.size(), 32U);
  EXPECT_TRUE(second->is(FieldType::kNtsCookie));
  EXPECT_EQ(second->offset, 84U);
  EXPECT_EQ(second->body.size(), 100U);
}

TEST(FieldReader, LengthMustBeAMultipleOfFour) {
  for (const std::size_t length : {29U, 30U, 31U, 33U}) {
    EXPECT_EQ(walk(field(1, length)), Walk(0, 'm')) << length;
  }
}

TEST(FieldReader, LengthBelow16IsMalformedInAPacket) {
  for (const std::size_t length : {0U, 4U, 8U, 12U}) {
    auto fields = field(1, 28);
    store_be16(fields.data() + 2, static_cast<std::uint16_t>(length));
    EXPECT_EQ(walk(fields), Walk(0, 'm')) << length;
  }
  EXPECT_EQ(walk(field(1, 16)), Walk(1, 'e'));
}

TEST(FieldReader, LengthBelow16IsFineInPlaintext) {
  EXPECT_EQ(walk(field(1, 4) + field(2, 8) + field(3, 12), kFieldHeaderLength), Walk(3, 'e'));
  auto fields = field(1, 4);
  store_be16(fields.data() + 2, 0);
  EXPECT_EQ(walk(fields, kFieldHeaderLength), Walk(0, 'm'));
}

TEST(FieldReader, PlaintextHasNoMac) {
  for (const std::size_t length : {4U, 20U, 24U}) {
    EXPECT_EQ(walk(field(1, length), kFieldHeaderLength), Walk(1, 'e')) << length;
    EXPECT_EQ(walk(octets(length), kFieldHeaderLength), Walk(0, 'm')) << length;
  }
}

TEST(FieldReader, LengthBeyondTheEndIsMalformed) {
  auto fields = field(1, 40);
  store_be16(fields.data() + 2, 44);
  EXPECT_EQ(walk(fields), Walk(0, 'm'));
  store_be16(fields.data() + 2, 0xfffc);
  EXPECT_EQ(walk(fields), Walk(0, 'm'));
}

TEST(FieldReader, RestShorterThanAHeaderIsMalformed) {
  for (const std::size_t n : {1U, 2U, 3U}) {
    EXPECT_EQ(walk(octets(n)), Walk(0, 'm'));
    EXPECT_EQ(walk(field(1, 28) + octets(n)), Walk(1, 'm'));
  }
}

TEST(FieldReader, MacOf4Or20Or24OctetsIsTold) {
  for (const std::size_t n : {4U, 20U, 24U}) {
    EXPECT_EQ(walk(octets(n)), Walk(0, 'l')) << n;
    EXPECT_EQ(walk(field(1, 28) + octets(n)), Walk(1, 'l')) << n;
  }
}

TEST(FieldReader, LastFieldOf20Or24OctetsIsTakenForAMac) {
  EXPECT_EQ(walk(field(1, 20)), Walk(0, 'l'));
  EXPECT_EQ(walk(field(1, 24)), Walk(0, 'l'));
  EXPECT_EQ(walk(field(1, 20) + field(1, 28)), Walk(2, 'e'));
}

TEST(FieldReader, OtherGarbageIsMalformed) {
  for (const std::size_t n : {8U, 12U, 16U, 28U, 36U}) {
    EXPECT_EQ(walk(octets(n)), Walk(0, 'm')) << n;
  }
}

TEST(WriteField, PadsWithZerosToAMultipleOfFour) {
  std::vector<std::uint8_t> packet(64, 0xff);
  for (std::size_t n = 0; n <= 8; ++n) {
    ByteWriter out(packet);
    write_field(out, FieldType::kUniqueIdentifier, octets(n));
    ASSERT_TRUE(out.ok());
    ASSERT_EQ(out.size(), 4 + padded4(n));
    EXPECT_EQ(load_be16(packet.data()), 0x0104);
    EXPECT_EQ(load_be16(packet.data() + 2), out.size());
    for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(packet[4 + i], 0xcd);
    for (std::size_t i = n; i < padded4(n); ++i) EXPECT_EQ(packet[4 + i], 0);
  }
}

TEST(WriteField, TheBodyMayLieWhereItGoesOrBehind) {
  constexpr std::size_t kLength = 33;
  for (std::size_t place = kFieldHeaderLength; place < 40; ++place) {
    std::vector<std::uint8_t> packet(80);
    for (std::size_t i = 0; i < packet.size(); ++i) packet[i] = static_cast<std::uint8_t>(i);
    const std::vector<std::uint8_t> body(packet.begin() + place, packet.begin() + place + kLength);
    ByteWriter out(packet);
    write_field(out, FieldType::kNtsCookie, Bytes(packet).subspan(place, kLength));
    EXPECT_TRUE(equal(out.written().subspan(kFieldHeaderLength, kLength), body)) << place;
    EXPECT_EQ(packet[kFieldHeaderLength + kLength], 0);
  }
}

TEST(WriteField, WithoutRoomNothingIsWritten) {
  std::vector<std::uint8_t> packet(39, 0xff);
  ByteWriter out(packet);
  write_field(out, FieldType::kUniqueIdentifier, octets(33));
  EXPECT_FALSE(out.ok());
  EXPECT_EQ(out.size(), 0U);
  EXPECT_EQ(packet, std::vector<std::uint8_t>(39, 0xff));
}

TEST(ReserveField, GivesTheBodyWithoutItsPadding) {
  std::vector<std::uint8_t> packet(20, 0xff);
  ByteWriter out(packet);
  const MutableBytes body = reserve_field(out, FieldType::kNtsCookie, 13);
  EXPECT_EQ(body.data(), packet.data() + 4);
  EXPECT_EQ(body.size(), 13U);
  EXPECT_EQ(out.size(), 20U);
  EXPECT_EQ(packet[16], 0xff);  // the body is the caller's
  EXPECT_EQ(packet[17], 0);
}

TEST(WriteField, WhatIsWrittenIsReadBack) {
  std::vector<std::uint8_t> packet(256);
  ByteWriter out(packet);
  for (const std::size_t n : {12U, 32U, 100U}) write_field(out, FieldType::kNtsCookie, octets(n));
  EXPECT_EQ(walk(out.written()), Walk(3, 'e'));
}

}  // namespace
}  // namespace timeball::ntp
