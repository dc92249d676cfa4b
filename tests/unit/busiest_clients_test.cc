#include "server/busiest_clients.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "common/time/ntp_timestamp.h"

namespace timeball::server {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kKey = 0x1234'5678'9abc'def0U;

MonotonicTime minute(int n) {
  return {n * 60 * kNsPerSecond + 5};
}

net::IpAddress client(std::uint32_t n) {
  return net::IpAddress::from_v4(0x0A00'0000U + n);
}

TEST(BusiestClients, AreThoseOfTheLastWholeMinute) {
  BusiestClients clients(10, kKey);
  clients.count(client(1), true, minute(3));
  clients.count(client(1), false, minute(3) + 59s);
  EXPECT_TRUE(clients.last_minute(minute(3)).empty());  // not over yet
  const auto found = clients.last_minute(minute(4));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].address, client(1));
  EXPECT_EQ(found[0].requests, 2U);
  EXPECT_EQ(found[0].nts, 1U);
  EXPECT_EQ(found[0].over, 0U);
  EXPECT_TRUE(clients.last_minute(minute(5)).empty());  // nobody since
  clients.count(client(2), false, minute(5));           // where minute 3 was
  EXPECT_EQ(clients.last_minute(minute(6)).at(0).requests, 1U);
}

// Ten heavy clients among fifty thousand who ask once: a table for ten finds them, and no count is
// too low, nor too high by more than it says.
TEST(BusiestClients, TheBusyAreFoundAmongMany) {
  std::mt19937 random(1);
  std::vector<std::uint32_t> requests;
  std::map<net::IpAddress, std::uint32_t> truth;
  for (std::uint32_t c = 0; c < 10; ++c) requests.insert(requests.end(), 20'000 + 1000 * c, c);
  for (std::uint32_t c = 1000; c < 51'000; ++c) requests.push_back(c);
  std::ranges::shuffle(requests, random);
  BusiestClients clients(10, kKey);
  for (const std::uint32_t c : requests) {
    clients.count(client(c), false, minute(1));
    ++truth[client(c)];
  }
  const auto found = busiest({clients.last_minute(minute(2))}, 10);
  ASSERT_EQ(found.size(), 10U);
  for (const BusyClient& one : found) {
    EXPECT_GE(truth[one.address], 20'000U) << one.address.to_string();
    EXPECT_GE(one.requests, truth[one.address]);
    EXPECT_LE(one.requests - one.over, truth[one.address]);
  }
  EXPECT_EQ(found[0].address, client(9));
}

TEST(BusiestClients, ShardsAreAddedUp) {
  const auto of = [](std::uint32_t c, std::uint32_t n) {
    return BusyClient{client(c), 1, n, 1, n / 2};
  };
  const auto all = busiest({{of(1, 10), of(2, 30)}, {of(1, 25), of(3, 5)}}, 2);
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].address, client(1));
  EXPECT_EQ(all[0].requests, 35U);
  EXPECT_EQ(all[0].over, 2U);
  EXPECT_EQ(all[0].nts, 17U);
  EXPECT_EQ(all[1].address, client(2));
}

// For ThreadSanitizer: a reader beside the shard.
TEST(BusiestClients, MayBeReadWhileTheyAreCounted) {
  BusiestClients clients(10, kKey);
  std::atomic<bool> end = false;
  std::thread reader([&] {
    while (!end) {
      for (int m = 1; m < 6; ++m) {
        for (const BusyClient& c : clients.last_minute(minute(m))) EXPECT_GE(c.requests, c.over);
      }
    }
  });
  for (int i = 0; i < 20'000; ++i) {
    clients.count(client(static_cast<std::uint32_t>(i % 97)), false, minute(i / 5000));
  }
  end = true;
  reader.join();
}

}  // namespace
}  // namespace timeball::server
