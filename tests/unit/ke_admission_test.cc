#include "server/ke_admission.h"

#include <gtest/gtest.h>

#include <optional>
#include <string_view>

namespace timeball::server {
namespace {

using namespace std::chrono_literals;

constexpr MonotonicTime kStart{1'000'000'000'000};

net::IpAddress address(std::string_view text) {
  return net::IpAddress::parse(text).value();
}

NtsKeConfig limits() {
  NtsKeConfig config;
  config.deadline = 5s;
  config.max_connections = 10;
  config.max_connections_per_address = 3;
  config.busy_after = 250ms;
  return config;
}

// How many of those who come at once are not refused.
int admitted(KeAdmission& admission, std::string_view client, MonotonicTime now, Duration waited,
             int connections) {
  int n = 0;
  for (int i = 0; i < connections; ++i) {
    n += admission.refuse(admission.prefix_of(address(client)), now, waited) ? 0 : 1;
  }
  return n;
}

TEST(KeAdmission, CountsAnIpv6SiteAsOneAddress) {
  const KeAdmission admission(limits(), 1);
  EXPECT_EQ(admission.prefix_of(address("192.0.2.1")), address("192.0.2.1"));
  EXPECT_EQ(admission.prefix_of(address("2001:db8:1:2ff::1")), address("2001:db8:1:200::"));
}

TEST(KeAdmission, PrefixesAreAsConfigured) {
  NtsKeConfig config = limits();
  config.ipv4_prefix = 24;
  config.ipv6_prefix = 64;
  const KeAdmission admission(config, 1);
  EXPECT_EQ(admission.prefix_of(address("192.0.2.77")), address("192.0.2.0"));
  EXPECT_EQ(admission.prefix_of(address("2001:db8:1:2ff::1")), address("2001:db8:1:2ff::"));
}

TEST(KeQueueLimit, ABurstMayWaitForAFifthOfTheDeadline) {
  KeQueueLimit queue(limits());
  queue.was_empty(kStart);
  EXPECT_TRUE(queue.admits(kStart + 1s, 1s));
  EXPECT_FALSE(queue.admits(kStart + 1s, 1s + 1ns));
  EXPECT_EQ(queue.length(kStart + 1s), KeQueueLimit::kMost);
}

TEST(KeQueueLimit, AQueueThatIsNeverEmptyMayBeHalfAsLong) {
  KeQueueLimit queue(limits());
  queue.was_empty(kStart);
  EXPECT_TRUE(queue.admits(kStart + 1s + 1ns, 500ms));
  EXPECT_FALSE(queue.admits(kStart + 1s + 1ns, 500ms + 1ns));
  queue.was_empty(kStart + 2s);
  EXPECT_TRUE(queue.admits(kStart + 2s, 1s));
}

void serve(KeQueueLimit& queue, unsigned count) {
  for (unsigned i = 0; i < count; ++i) queue.served();
}

TEST(KeQueueLimit, UnderOverloadAsManyMayWaitAsAreServedMeanwhile) {
  KeQueueLimit queue(limits());
  queue.was_empty(kStart);
  serve(queue, 400);
  EXPECT_EQ(queue.length(kStart + 1s), KeQueueLimit::kMost);
  EXPECT_EQ(queue.length(kStart + 2s), 100u) << "200 a second, for half a second";
  serve(queue, 600);
  EXPECT_EQ(queue.length(kStart + 2999ms), 100u) << "counted once a second";
  EXPECT_EQ(queue.length(kStart + 3s), 300u);
  EXPECT_EQ(queue.length(kStart + 4s), 16u) << "nobody was served, yet it may go on";
  serve(queue, 100'000);
  EXPECT_EQ(queue.length(kStart + 5s), KeQueueLimit::kMost);
}

TEST(KeQueueLimit, WhenItWasEmptyAsManyAsEverMayWait) {
  KeQueueLimit queue(limits());
  queue.was_empty(kStart);
  ASSERT_EQ(queue.length(kStart + 2s), 16u);
  queue.was_empty(kStart + 3s);
  EXPECT_EQ(queue.length(kStart + 3s), KeQueueLimit::kMost);
}

TEST(KeAdmission, TheRateInAllHoldsWhoeverComes) {
  NtsKeConfig config = limits();
  config.rate = 10;
  config.burst = 4;
  KeAdmission admission(config, 1);
  EXPECT_EQ(admitted(admission, "192.0.2.1", kStart, 0s, 3), 3);
  EXPECT_EQ(admitted(admission, "192.0.2.2", kStart, 0s, 3), 1);
  EXPECT_EQ(admission.refuse(address("192.0.2.3"), kStart + 99ms, 0s), KeOutcome::kRefusedRate);
  EXPECT_EQ(admitted(admission, "192.0.2.3", kStart + 100ms, 0s, 3), 1);
  EXPECT_EQ(admitted(admission, "192.0.2.3", kStart + 100s, 0s, 10), 4);
}

TEST(KeAdmission, TheRateOfAnAddressIsInForceWhileTheServerIsBusy) {
  NtsKeConfig config = limits();
  config.rate_per_address = 1;
  config.burst_per_address = 2;
  KeAdmission admission(config, 1);
  EXPECT_EQ(admitted(admission, "192.0.2.1", kStart, 249ms, 100), 100) << "not busy";
  EXPECT_EQ(admission.refuse(address("192.0.2.1"), kStart, 250ms), KeOutcome::kRefusedAddressRate);
  EXPECT_EQ(admitted(admission, "192.0.2.2", kStart, 250ms, 100), 2) << "has its own bucket";
  EXPECT_EQ(admitted(admission, "192.0.2.1", kStart + 1s, 250ms, 100), 1);
}

TEST(KeAdmission, TheRateOfAnAddressCanAlwaysBeInForce) {
  NtsKeConfig config = limits();
  config.rate_per_address = 1;
  config.burst_per_address = 5;
  config.busy_after = 0s;
  KeAdmission admission(config, 1);
  EXPECT_EQ(admitted(admission, "2001:db8::1", kStart, 0s, 4), 4);
  EXPECT_EQ(admitted(admission, "2001:db8:0:ff::1", kStart, 0s, 4), 1) << "the same /56";
  EXPECT_EQ(admitted(admission, "2001:db8:0:100::1", kStart, 0s, 4), 4);
}

TEST(KeAdmission, NoRateIsNoLimit) {
  KeAdmission admission(limits(), 1);
  EXPECT_EQ(admitted(admission, "192.0.2.1", kStart, 1s, 10'000), 10'000);
}

TEST(KeAdmission, PlacesAreLimitedPerAddressAndInAll) {
  KeAdmission admission(limits(), 1);
  for (const char* client : {"192.0.2.1", "192.0.2.2", "192.0.2.3"}) {
    for (int i = 0; i < 3; ++i) EXPECT_EQ(admission.enter(address(client)), std::nullopt);
    EXPECT_EQ(admission.enter(address(client)), KeOutcome::kRefusedAddress);
  }
  EXPECT_EQ(admission.enter(address("192.0.2.4")), std::nullopt);
  EXPECT_EQ(admission.enter(address("192.0.2.4")), KeOutcome::kRefusedTotal);
  EXPECT_EQ(admission.open(), 10u);
  admission.leave(address("192.0.2.1"));
  EXPECT_EQ(admission.enter(address("192.0.2.1")), std::nullopt);
  EXPECT_EQ(admission.enter(address("192.0.2.1")), KeOutcome::kRefusedAddress);
}

TEST(KeAdmission, FewerDescriptorsAreFewerPlaces) {
  KeAdmission admission(limits(), 1);
  admission.lower_total(1);
  EXPECT_EQ(admission.enter(address("192.0.2.1")), std::nullopt);
  EXPECT_EQ(admission.enter(address("192.0.2.2")), KeOutcome::kRefusedTotal);
}

TEST(KeAdmission, OnlyTheSlowGiveWayAndTheSilentSooner) {
  const KeAdmission admission(limits(), 1);
  EXPECT_FALSE(admission.gives_way(1s, true)) << "it has a fifth of the deadline for itself";
  EXPECT_TRUE(admission.gives_way(1s + 1ns, true));
  EXPECT_FALSE(admission.gives_way(50ms, false));
  EXPECT_TRUE(admission.gives_way(50ms + 1ns, false));
}

TEST(KeLease, GivesItsPlaceBackOnce) {
  KeAdmission admission(limits(), 1);
  const net::IpAddress client = address("192.0.2.1");
  ASSERT_EQ(admission.enter(client), std::nullopt);
  {
    KeLease first(admission, client);
    KeLease lease(std::move(first));
    EXPECT_EQ(admission.open(), 1u);
    lease.end();
    EXPECT_EQ(admission.open(), 0u);
  }
  EXPECT_EQ(admission.open(), 0u);
}

}  // namespace
}  // namespace timeball::server
