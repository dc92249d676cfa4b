// Shards over real loopback sockets, with snapshots that change while they serve (run under TSan
// too).
#include "server/shard.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "common/nts/client.h"
#include "common/nts/cookie.h"
#include "server/clocks.h"
#include "tests/unit/kernel_timestamps.h"

namespace timeball::server {
namespace {

using std::chrono::seconds;

nts::MasterKeySecret master_key(std::uint8_t fill) {
  std::array<std::uint8_t, nts::kMasterKeyLength> octets{};
  octets.fill(fill);
  return nts::MasterKeySecret(octets);
}

ClockState good_clock() {
  ClockState clock;
  clock.as_of = clock.reference_time = read_kernel_time();
  clock.leap = LeapIndicator::kNone;
  clock.stratum = 1;
  clock.error_bound = std::chrono::microseconds(50);
  return clock;
}

// A UDP port nobody uses just now.
net::Endpoint free_endpoint(int family) {
  const int s = ::socket(family, SOCK_DGRAM, 0);
  sockaddr_storage address{};
  net::Endpoint any = net::Endpoint::parse(family == AF_INET ? "127.0.0.1:1" : "[::1]:1").value();
  any.port = 0;
  socklen_t length = any.to_sockaddr(address);
  if (::bind(s, reinterpret_cast<sockaddr*>(&address), length) != 0) return any;
  ::getsockname(s, reinterpret_cast<sockaddr*>(&address), &length);
  ::close(s);
  return net::Endpoint::from_sockaddr(reinterpret_cast<sockaddr*>(&address));
}

class Client {
 public:
  explicit Client(const net::Endpoint& server)
      : socket_(::socket(server.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_storage address{};
    const socklen_t length = server.to_sockaddr(address);
    EXPECT_EQ(::connect(socket_, reinterpret_cast<sockaddr*>(&address), length), 0);
  }
  ~Client() { ::close(socket_); }

  // The reply; empty when none came in time.
  std::vector<std::uint8_t> ask(Bytes request, int timeout_ms = 2000) {
    EXPECT_EQ(::send(socket_, request.data(), request.size(), 0), std::ssize(request));
    pollfd wait{socket_, POLLIN, 0};
    if (::poll(&wait, 1, timeout_ms) != 1) return {};
    std::vector<std::uint8_t> reply(4096);
    const ssize_t n = ::recv(socket_, reply.data(), reply.size(), 0);
    reply.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return reply;
  }

 private:
  int socket_;
};

class ShardTest : public testing::TestWithParam<net::IoBackend> {
 protected:
  ShardTest() {
    options_.listen = {free_endpoint(AF_INET), free_endpoint(AF_INET6)};
    options_.io = GetParam();
  }
  Publications publications() { return {clock_, keys_, access_}; }

  nts::ClientAssociation associate() {
    nts::ClientAssociation a;
    random_.fill(a.keys.c2s.resize(32));
    random_.fill(a.keys.s2c.resize(32));
    std::vector<std::uint8_t> cookie(nts::cookie_length(a.keys.aead));
    nts::SealCookieJob job{&a.keys, cookie};
    EXPECT_TRUE(nts::seal_cookies(*keys_.current(), engine_, random_, {&job, 1}));
    a.cookies.push_back(cookie);
    return a;
  }

  Seqlock<ClockState> clock_{good_clock()};
  Published<nts::KeyRing> keys_{
      std::make_shared<const nts::KeyRing>(nts::KeyRing::create(1, master_key(1), master_key(2)))};
  Published<AccessPolicy> access_{std::make_shared<const AccessPolicy>()};
  ShardOptions options_;
  crypto::Engine engine_;
  crypto::RandomGenerator random_{std::array<std::uint8_t, crypto::kSeedLength>{3}};
};

TEST_P(ShardTest, AnswersBothFamiliesAndCounts) {
  ASSERT_TRUE(await_kernel_timestamps());
  Shard shard(options_, publications());
  shard.start();
  for (const net::Endpoint& endpoint : options_.listen) {
    Client client(endpoint);
    const auto sent = nts::make_plain_request(random_);
    const auto seen = nts::accept_reply(client.ask(sent.packet), sent, nullptr, engine_);
    EXPECT_EQ(seen.status, nts::ReplyStatus::kAuthentic);
    EXPECT_LE(NtpTimestamp::difference(seen.header.receive, seen.header.transmit).count(), 0);
    const UtcTime now{read_kernel_time().ns};
    EXPECT_LT(std::chrono::abs(now - seen.header.transmit.utc_near(now)), seconds(2));
  }
  shard.stop();
  const auto plain = static_cast<std::size_t>(Verdict::kAnsweredPlain);
  EXPECT_EQ(shard.counters().verdicts[plain].value(), 2U);
  EXPECT_EQ(shard.counters().batches.value(), 2U);  // one came after the other was answered
  EXPECT_EQ(shard.counters().datagrams_received.value(), 2U);
  EXPECT_EQ(shard.counters().datagrams_sent.value(), 2U);
  EXPECT_EQ(shard.counters().octets_sent.value(), 96U);
  EXPECT_EQ(shard.counters().without_kernel_timestamp.value(), 0U);
}

// T3 is ahead of the clock reading by what the kernel's transmit timestamps tell.
TEST_P(ShardTest, T3IsSetAheadByTheDelayThatWasLearned) {
  Shard shard(options_, publications());
  shard.start();
  Client client(options_.listen[0]);
  for (int i = 0; i < 1000 && shard.counters().t3_compensation_ns.value() == 0; ++i) {
    EXPECT_FALSE(client.ask(nts::make_plain_request(random_).packet).empty());
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  shard.stop();
  EXPECT_GT(shard.counters().t3_compensation_ns.value(), 0U);
  std::uint64_t samples = 0;
  for (const Counter& bucket : shard.counters().t3_to_wire.counts) samples += bucket.value();
  EXPECT_GE(samples, 2U);
}

// Keys, access and clock are replaced again and again while two shards answer on one port.
TEST_P(ShardTest, ServesWhileTheWorldChanges) {
  Shard one(options_, publications());
  Shard two(options_, publications());
  one.start();
  two.start();
  std::atomic<bool> stop{false};
  std::thread control([&] {
    for (std::uint8_t n = 0; !stop; ++n) {
      clock_.store(good_clock());
      const nts::KeyRing keys = *keys_.current();
      keys_.publish(std::make_shared<const nts::KeyRing>(
          n % 8 == 0 ? keys.rotated(master_key(n), 500) : keys));
      access_.publish(std::make_shared<const AccessPolicy>());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  int authentic = 0;
  for (int i = 0; i < 100; ++i) {
    Client client(options_.listen[static_cast<std::size_t>(i) % 2]);
    auto association = associate();
    const auto sent = nts::make_nts_request(association, {2}, engine_, random_).value();
    const auto seen = nts::accept_reply(client.ask(sent.packet), sent, &association, engine_);
    authentic += seen.status == nts::ReplyStatus::kAuthentic ? 1 : 0;
  }
  stop = true;
  control.join();
  one.stop();
  two.stop();
  EXPECT_EQ(authentic, 100);
}

TEST_P(ShardTest, NewAccessPolicyTakesEffect) {
  Shard shard(options_, publications());
  shard.start();
  Client client(options_.listen[0]);
  EXPECT_FALSE(client.ask(nts::make_plain_request(random_).packet).empty());
  access_.publish(std::make_shared<const AccessPolicy>(
      std::vector<net::IpPrefix>{}, std::vector{net::IpPrefix::parse("127.0.0.0/8").value()}));
  EXPECT_TRUE(client.ask(nts::make_plain_request(random_).packet, 200).empty());
}

TEST_P(ShardTest, StopsPromptlyAndTwice) {
  Shard shard(options_, publications());
  shard.start();
  const MonotonicTime begin = read_monotonic_time();
  shard.stop();
  shard.stop();
  EXPECT_LT(read_monotonic_time() - begin, seconds(1));
}

TEST_P(ShardTest, AnAddressThatIsNotOursIsRefusedByName) {
  options_.listen = {net::Endpoint::parse("192.0.2.1:40123").value()};
  try {
    Shard shard(options_, publications());
    FAIL() << "bound to somebody else's address";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("192.0.2.1:40123"), std::string::npos) << error.what();
  }
}

// Two daemons of one user would otherwise share the port, each answering half.
TEST_P(ShardTest, APortInUseIsNoticedBeforeItIsShared) {
  EXPECT_TRUE(net::require_udp_port_free(options_.listen[0]));
  const Shard shard(options_, publications());
  const auto free = net::require_udp_port_free(options_.listen[0]);
  ASSERT_FALSE(free);
  EXPECT_NE(free.error().message.find("another server holds the port"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(BackEnds, ShardTest,
                         testing::Values(net::IoBackend::kMmsg, net::IoBackend::kIoUring),
                         [](const auto& i) {
                           return i.param == net::IoBackend::kMmsg ? "mmsg" : "io_uring";
                         });

}  // namespace
}  // namespace timeball::server
