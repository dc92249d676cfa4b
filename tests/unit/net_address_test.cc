#include "common/net/address.h"

#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>

namespace timeball::net {
namespace {

using ::testing::TestWithParam;
using ::testing::ValuesIn;

IpAddress address(std::string_view text) {
  return IpAddress::parse(text).value();
}
IpPrefix prefix(std::string_view text) {
  return IpPrefix::parse(text).value();
}

struct Spelling {
  std::string_view text;
  std::string_view canonical;
};

class GoodAddress : public TestWithParam<Spelling> {};

TEST_P(GoodAddress, IsPrintedInItsCanonicalForm) {
  const auto parsed = IpAddress::parse(GetParam().text);
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->to_string(), GetParam().canonical);
  EXPECT_EQ(IpAddress::parse(parsed->to_string()).value(), *parsed);
}

constexpr Spelling kGoodAddresses[] = {
    {"192.0.2.1", "192.0.2.1"},
    {"0.0.0.0", "0.0.0.0"},
    {"255.255.255.255", "255.255.255.255"},
    {"::", "::"},
    {"::1", "::1"},
    {"2001:db8::1", "2001:db8::1"},
    {"2001:0DB8:0000:0000:0000:0000:0000:0001", "2001:db8::1"},
    {"2001:db8:0:1:0:0:0:1", "2001:db8:0:1::1"},
    {"fe80::1", "fe80::1"},
    {"::ffff:192.0.2.1", "192.0.2.1"},
    {"::ffff:c000:201", "192.0.2.1"},
    {"64:ff9b::192.0.2.1", "64:ff9b::c000:201"},
};
INSTANTIATE_TEST_SUITE_P(Address, GoodAddress, ValuesIn(kGoodAddresses));

class BadAddress : public TestWithParam<std::string_view> {};

TEST_P(BadAddress, IsRefusedByName) {
  const auto parsed = IpAddress::parse(GetParam());
  ASSERT_FALSE(parsed);
  EXPECT_NE(parsed.error().message.find('"' + std::string(GetParam()) + '"'), std::string::npos);
}

constexpr std::string_view kBadAddresses[] = {
    "",
    " ",
    "192.0.2",
    "192.0.2.1.1",
    "192.0.2.256",
    "192.0.2.01",
    "192.0.2.-1",
    " 192.0.2.1",
    "192.0.2.1 ",
    "0xc0.0.2.1",
    "3221225985",
    "time.test",
    ":",
    ":::",
    "2001:db8::1::2",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "12345::",
    "g::",
    "fe80::1%lo",
    "[::1]",
    "192.0.2.1:123",
    "192.0.2.0/24",
    "::ffff:192.0.2.256",
};
INSTANTIATE_TEST_SUITE_P(Address, BadAddress, ValuesIn(kBadAddresses));

TEST(Address, AnEmbeddedNulDoesNotEndTheText) {
  EXPECT_FALSE(IpAddress::parse(std::string_view("192.0.2.1\0x", 11)));
  EXPECT_FALSE(IpAddress::parse(std::string_view("::1\0", 4)));
}

TEST(Address, Ipv4IsHeldMapped) {
  EXPECT_EQ(IpAddress::from_v4(0xc0000201), address("192.0.2.1"));
  EXPECT_TRUE(address("192.0.2.1").is_v4());
  EXPECT_TRUE(address("::ffff:0:0").is_v4());
  EXPECT_FALSE(address("::").is_v4());
  EXPECT_FALSE(address("::fffe:192.0.2.1").is_v4());
  EXPECT_FALSE(address("1::ffff:192.0.2.1").is_v4());
}

TEST(Address, UnspecifiedInBothFamilies) {
  EXPECT_TRUE(address("0.0.0.0").is_unspecified());
  EXPECT_TRUE(address("::").is_unspecified());
  EXPECT_FALSE(address("0.0.0.1").is_unspecified());
  EXPECT_FALSE(address("::1").is_unspecified());
}

TEST(Address, MaskKeepsExactlyTheFirstBits) {
  IpAddress ones;
  ones.octets.fill(0xff);
  for (unsigned bits = 0; bits <= 128; ++bits) {
    const IpAddress masked = ones.masked(bits);
    for (unsigned i = 0; i < 128; ++i) {
      const bool set = ((masked.octets[i / 8] >> (7 - i % 8)) & 1) != 0;
      ASSERT_EQ(set, i < bits) << "bit " << i << " of /" << bits;
    }
  }
  EXPECT_EQ(ones.masked(200), ones);
}

TEST(Prefix, PrintsAsWritten) {
  for (const std::string text : {"192.0.2.0/24", "0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32", "::/0",
                                 "2001:db8::/32", "2001:db8::1/128", "fe80::/10"}) {
    const auto parsed = IpPrefix::parse(text);
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(parsed->to_string(), text);
  }
  EXPECT_EQ(prefix("::ffff:192.0.2.0/120"), prefix("192.0.2.0/24"));
}

TEST(Prefix, ABareAddressIsThatOne) {
  EXPECT_EQ(prefix("192.0.2.1").bits, 128u);
  EXPECT_EQ(prefix("192.0.2.1").to_string(), "192.0.2.1/32");
  EXPECT_TRUE(prefix("2001:db8::1").contains(address("2001:db8::1")));
  EXPECT_FALSE(prefix("2001:db8::1").contains(address("2001:db8::2")));
}

TEST(Prefix, HostBitsAreRefusedAndTheRightPrefixNamed) {
  EXPECT_EQ(IpPrefix::parse("192.0.2.77/24").error().message,
            "\"192.0.2.77/24\" has bits set beyond its prefix length; write 192.0.2.0/24 for the "
            "network, or 192.0.2.77 for the one address");
  EXPECT_NE(IpPrefix::parse("2001:db8::1/47").error().message.find("write 2001:db8::/47 for"),
            std::string::npos);
  for (unsigned bits = 0; bits < 32; ++bits) {  // the last bit lies beyond every shorter prefix
    EXPECT_FALSE(IpPrefix::parse("0.0.0.1/" + std::to_string(bits)));
    EXPECT_TRUE(IpPrefix::parse("0.0.0.0/" + std::to_string(bits)));
  }
}

TEST(Prefix, BadLengthsAreRefusedWithTheRange) {
  for (const char* text :
       {"192.0.2.0/33", "192.0.2.0/", "192.0.2.0/-1", "192.0.2.0/+8", "192.0.2.0/24 ",
        "192.0.2.0/24/8", "192.0.2.0/255.255.255.0", "192.0.2.0/99999999999"}) {
    const auto parsed = IpPrefix::parse(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_NE(parsed.error().message.find("from 0 to 32"), std::string::npos) << text;
  }
  EXPECT_NE(IpPrefix::parse("::/129").error().message.find("from 0 to 128"), std::string::npos);
  EXPECT_FALSE(IpPrefix::parse("time.test/24"));
  EXPECT_FALSE(IpPrefix::parse("/24"));
}

TEST(Prefix, ContainsItsFirstAndLastAddressAndNotTheNeighbours) {
  const IpPrefix net = prefix("192.0.2.64/26");
  EXPECT_TRUE(net.contains(address("192.0.2.64")));
  EXPECT_TRUE(net.contains(address("192.0.2.127")));
  EXPECT_FALSE(net.contains(address("192.0.2.63")));
  EXPECT_FALSE(net.contains(address("192.0.2.128")));
  EXPECT_FALSE(net.contains(address("c000:0240::")));
}

TEST(Prefix, FamiliesDoNotContainEachOther) {
  EXPECT_TRUE(prefix("::/0").contains(address("2001:db8::1")));
  EXPECT_FALSE(prefix("::/0").contains(address("192.0.2.1")));
  EXPECT_TRUE(prefix("0.0.0.0/0").contains(address("192.0.2.1")));
  EXPECT_FALSE(prefix("0.0.0.0/0").contains(address("::1")));
}

TEST(Endpoint, PrintsAsWritten) {
  for (const std::string text :
       {"0.0.0.0:123", "192.0.2.1:65535", "[::]:123", "[2001:db8::1]:1", "[fe80::1%7]:123"}) {
    const auto parsed = Endpoint::parse(text);
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(parsed->to_string(), text);
  }
}

TEST(Endpoint, ZoneNamesAnInterface) {
  const auto parsed = Endpoint::parse("[fe80::1%lo]:123");
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->scope, if_nametoindex("lo"));
  EXPECT_FALSE(Endpoint::parse("[fe80::1%nosuchinterface]:123"));
  EXPECT_FALSE(Endpoint::parse("[fe80::1%]:123"));
  EXPECT_FALSE(Endpoint::parse("[fe80::1%0]:123"));
}

class BadEndpoint : public TestWithParam<std::string_view> {};

TEST_P(BadEndpoint, IsRefusedByNameWithAnExample) {
  const auto parsed = Endpoint::parse(GetParam());
  ASSERT_FALSE(parsed);
  EXPECT_NE(parsed.error().message.find('"' + std::string(GetParam()) + '"'), std::string::npos);
  EXPECT_NE(parsed.error().message.find("[2001:db8::1]:123"), std::string::npos);
}

constexpr std::string_view kBadEndpoints[] = {
    "",         "192.0.2.1", "192.0.2.1:", "192.0.2.1:0",     "192.0.2.1:65536",
    ":123",     "[]:123",    "[::1]",      "::1:123",         "2001:db8::1",
    "[::1]:",   "[::1]:-1",  "[::1]: 123", "[192.0.2.1]:123", "time.test:123",
    "[::1:123", "::1]:123",  "[::1]x:123", "192.0.2.1:123 ",  "192.0.2.1:ntp",
    "[:]:123",
};
INSTANTIATE_TEST_SUITE_P(Endpoint, BadEndpoint, ValuesIn(kBadEndpoints));

TEST(Endpoint, SaysWhyItIsBad) {
  const auto why = [](std::string_view text) { return Endpoint::parse(text).error().message; };
  EXPECT_NE(why("192.0.2.1").find("the port is missing"), std::string::npos);
  EXPECT_NE(why("192.0.2.1:0").find("from 1 to 65535"), std::string::npos);
  EXPECT_NE(why("2001:db8::1:123").find("IPv6 addresses stand in brackets"), std::string::npos);
  EXPECT_NE(why("[192.0.2.1]:123").find("only IPv6"), std::string::npos);
  EXPECT_NE(why("[fe80::1%nosuch]:123").find("no network interface"), std::string::npos);
}

TEST(Endpoint, SockaddrRoundTrip) {
  const Endpoint endpoints[] = {{address("192.0.2.1"), 123, 0},
                                {address("2001:db8::1"), 4460, 0},
                                {address("fe80::1"), 1, 3}};
  for (const Endpoint& e : endpoints) {
    sockaddr_storage storage;
    const socklen_t length = e.to_sockaddr(storage);
    EXPECT_EQ(storage.ss_family, e.family());
    EXPECT_EQ(length, e.address.is_v4() ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    EXPECT_EQ(Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage)), e);
  }
}

TEST(Endpoint, OtherFamiliesHaveNoAddress) {
  sockaddr_storage storage{};
  storage.ss_family = AF_UNIX;
  EXPECT_EQ(Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage)), Endpoint{});
}

}  // namespace
}  // namespace timeball::net
