#include <gtest/gtest.h>

#include "common/net/address.h"
#include "server/access_policy.h"

namespace timeball::server {
namespace {

net::IpAddress address(std::string_view text) {
  return net::IpAddress::parse(text).value();
}
net::IpPrefix prefix(std::string_view text) {
  return net::IpPrefix::parse(text).value();
}

TEST(AccessPolicy, EmptyAllowsEverybody) {
  const AccessPolicy policy;
  EXPECT_TRUE(policy.allows(address("192.0.2.1")));
  EXPECT_TRUE(policy.allows(address("2001:db8::1")));
}

TEST(AccessPolicy, AllowListShutsEverybodyElseOut) {
  const AccessPolicy policy({prefix("192.0.2.0/24"), prefix("2001:db8::/32")}, {});
  EXPECT_TRUE(policy.allows(address("192.0.2.255")));
  EXPECT_FALSE(policy.allows(address("192.0.3.0")));
  EXPECT_TRUE(policy.allows(address("2001:db8:ffff::1")));
  EXPECT_FALSE(policy.allows(address("2001:db9::")));
}

TEST(AccessPolicy, DenyWinsOverAllow) {
  const AccessPolicy policy({prefix("10.0.0.0/8")}, {prefix("10.1.0.0/16")});
  EXPECT_TRUE(policy.allows(address("10.0.255.255")));
  EXPECT_FALSE(policy.allows(address("10.1.0.0")));
  EXPECT_FALSE(policy.allows(address("10.1.255.255")));
  EXPECT_TRUE(policy.allows(address("10.2.0.0")));
}

TEST(AccessPolicy, PrefixesInsideOneAnotherInAnyOrder) {
  const AccessPolicy policy({}, {prefix("10.1.2.3/32"), prefix("10.0.0.0/8"), prefix("10.1.0.0/16"),
                                 prefix("9.255.255.255/32"), prefix("11.0.0.1/32")});
  EXPECT_FALSE(policy.allows(address("10.255.0.1")));
  EXPECT_FALSE(policy.allows(address("10.1.2.3")));
  EXPECT_FALSE(policy.allows(address("9.255.255.255")));
  EXPECT_FALSE(policy.allows(address("11.0.0.1")));
  EXPECT_TRUE(policy.allows(address("11.0.0.0")));
  EXPECT_TRUE(policy.allows(address("9.255.255.254")));
}

TEST(AccessPolicy, WholeFamilyPrefixesDoNotMix) {
  const AccessPolicy only_v4({prefix("0.0.0.0/0")}, {});
  EXPECT_TRUE(only_v4.allows(address("203.0.113.9")));
  EXPECT_FALSE(only_v4.allows(address("2001:db8::1")));
}

}  // namespace
}  // namespace timeball::server
