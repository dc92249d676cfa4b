// Identical input gives identical octets, whatever implementation of the algorithms answers and
// whatever back end carries the datagrams: 10,000 random requests, malformed ones among them, with
// seeded randomness and T2 and T3 set by hand.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <string>

#include "server/responder.h"
#include "tests/unit/nts_support.h"

#include "common/nts/client.h"

namespace timeball::server {
namespace {

using nts::Octets;
using std::chrono::microseconds;
using std::chrono::seconds;

constexpr std::size_t kRequests = 10'000;
constexpr std::size_t kGroup = 8;  // stamped, sealed and sent together
constexpr KernelTime kReceived{1'800'000'000LL * kNsPerSecond + 250'000'000};

const nts::KeyRing& key_ring() {
  static const auto keys = nts::KeyRing::create(1, nts::master_key(1), nts::master_key(2));
  return keys;
}

// Random requests: a third spoilt, one in ten nothing but noise.
class RequestMaker {
 public:
  Octets next() {
    if (below(10) == 0) return noise(below(600));
    Octets request = valid();
    if (below(3) == 0) spoil(request);
    return request;
  }

 private:
  std::size_t below(std::size_t limit) { return choice_() % limit; }

  Octets noise(std::size_t length) {
    Octets out(length);
    random_.fill(out);
    return out;
  }

  Octets valid() {
    const std::size_t kind = below(5);
    if (kind == 4) return nts::make_plain_request(random_).packet;
    nts::ClientAssociation client;
    client.keys =
        nts::association_keys(nts::kEveryAead[kind], static_cast<std::uint8_t>(below(256)));
    client.cookies.emplace_back(nts::cookie_length(client.keys.aead));
    nts::SealCookieJob job{&client.keys, client.cookies[0]};
    EXPECT_TRUE(nts::seal_cookies(key_ring(), engine_, random_, {&job, 1}));
    const nts::NtpRequestOptions options{below(8), 32 + 4 * below(4)};
    return nts::make_nts_request(client, options, engine_, random_).value().packet;
  }

  void spoil(Octets& request) {
    switch (below(4)) {
      case 0:
        request.resize(below(request.size()));
        break;
      case 1: {
        const Octets tail = noise(1 + below(64));
        request.insert(request.end(), tail.begin(), tail.end());
        break;
      }
      case 2:
        request[0] = static_cast<std::uint8_t>(below(256));
        break;
      default:
        request[below(request.size())] ^= static_cast<std::uint8_t>(1U << below(8));
    }
  }

  std::minstd_rand choice_{7};
  crypto::Engine engine_{crypto::Implementation::kPortable};
  crypto::RandomGenerator random_{nts::seed(5)};
};

const std::vector<Octets>& requests() {
  static const auto all = [] {
    std::vector<Octets> made(kRequests);
    RequestMaker maker;
    std::ranges::generate(made, [&] { return maker.next(); });
    return made;
  }();
  return all;
}

// How the requests fall into batches. The generator's octets are handed out batch by batch.
using Partition = std::vector<std::size_t>;

// Batches of 1 to 64.
Partition random_partition() {
  Partition sizes;
  std::minstd_rand random(9);
  for (std::size_t left = kRequests; left > 0; left -= sizes.back()) {
    sizes.push_back(std::min<std::size_t>(1 + random() % net::kBatchCapacity, left));
  }
  return sizes;
}

// A server whose clock and randomness are the test's.
class Server {
 public:
  explicit Server(crypto::Implementation implementation)
      : responder_({}, crypto::Engine(implementation), random_) {
    clock_.as_of = clock_.reference_time = kReceived;
    clock_.leap = LeapIndicator::kNone;
    clock_.stratum = 1;
  }

  // send is called with each group, stamped and sealed.
  template <class Send>
  void answer(std::span<net::Datagram> batch, Send send) {
    monotonic_ = monotonic_ + seconds(1);
    for (net::Datagram& d : batch) d.receive_time = time_ = time_ + microseconds(1);
    const auto verdicts = responder_.prepare(batch, {clock_, key_ring(), access_}, monotonic_);
    for (const Verdict v : verdicts) ++seen_[v];
    for (std::size_t first = 0; first < batch.size(); first += kGroup) {
      const auto part = batch.subspan(first, std::min(kGroup, batch.size() - first));
      for (net::Datagram& d : part) responder_.stamp({&d, 1}, time_ = time_ + microseconds(3));
      EXPECT_EQ(responder_.seal(part, first), 0u);
      send(part);
    }
  }
  const std::map<Verdict, std::size_t>& seen() const { return seen_; }

 private:
  ClockState clock_;
  AccessPolicy access_;
  crypto::RandomGenerator random_{nts::seed(3)};
  Responder responder_;
  MonotonicTime monotonic_{5'000 * kNsPerSecond};
  KernelTime time_ = kReceived;
  std::map<Verdict, std::size_t> seen_;
};

enum class Place { kApart, kOverTheRequest };

// The replies in their order, without a socket.
std::vector<Octets> in_memory(Server& server, const Partition& partition,
                              Place place = Place::kApart) {
  std::vector<Octets> replies;
  std::array<Octets, net::kBatchCapacity> rooms;
  std::size_t next = 0;
  for (const std::size_t size : partition) {
    std::vector<net::Datagram> batch(size);
    for (std::size_t i = 0; i < size; ++i) {
      const Octets& request = requests()[next++];
      const bool apart = place == Place::kApart;
      rooms[i] = apart ? Octets(request.size(), 0xee) : request;
      batch[i].request = apart ? request : rooms[i];
      batch[i].reply_room = rooms[i];
      batch[i].peer.port = 40000;
    }
    server.answer(batch, [&](std::span<const net::Datagram> part) {
      for (const net::Datagram& d : part) {
        const Bytes reply = d.reply_room.first(d.reply_length);
        if (!reply.empty()) replies.emplace_back(reply.begin(), reply.end());
      }
    });
  }
  return replies;
}

// Names the first reply that is not the portable implementation's: ten thousand are not for
// reading.
std::string difference(const std::vector<Octets>& seen, const Partition& partition) {
  Server portable(crypto::Implementation::kPortable);
  const auto expected = in_memory(portable, partition);
  const auto [a, b] = std::ranges::mismatch(seen, expected);
  if (a == seen.end() && b == expected.end()) return {};
  return "reply " + std::to_string(a - seen.begin()) + " of " + std::to_string(seen.size()) +
         " is not that of " + std::to_string(expected.size()) + " expected";
}

// The comparison means nothing unless all sorts of requests are among them.
TEST(ResponderPaths, TheRequestsAreOfAllSorts) {
  Server server(crypto::Implementation::kPortable);
  in_memory(server, random_partition());
  const auto seen = [&](Verdict v) { return server.seen().contains(v) ? server.seen().at(v) : 0; };
  EXPECT_GT(seen(Verdict::kAnsweredNts), 4000u);
  EXPECT_GT(seen(Verdict::kAnsweredPlain), 1000u);
  EXPECT_GT(seen(Verdict::kNak), 300u);
  EXPECT_GT(seen(Verdict::kDroppedMalformed), 300u);
  EXPECT_GT(seen(Verdict::kDroppedShort), 50u);
  EXPECT_GT(seen(Verdict::kDroppedVersion), 50u);
  EXPECT_GT(seen(Verdict::kDroppedMode), 50u);
  EXPECT_EQ(seen(Verdict::kDroppedInternal), 0u);
}

class ResponderPaths : public testing::TestWithParam<crypto::Implementation> {};

TEST_P(ResponderPaths, InMemory) {
  Server server(GetParam());
  const Partition partition = random_partition();
  EXPECT_EQ(difference(in_memory(server, partition), partition), "");
}

// As over AF_XDP.
TEST_P(ResponderPaths, OverTheRequests) {
  Server server(GetParam());
  const Partition partition = random_partition();
  EXPECT_EQ(difference(in_memory(server, partition, Place::kOverTheRequest), partition), "");
}

// A socket connected to the server.
class Client {
 public:
  explicit Client(const net::Endpoint& server) : socket_(::socket(AF_INET, SOCK_DGRAM, 0)) {
    sockaddr_storage address;
    const socklen_t length = server.to_sockaddr(address);
    EXPECT_EQ(::connect(socket_, reinterpret_cast<sockaddr*>(&address), length), 0);
  }
  ~Client() { ::close(socket_); }

  void send(const Octets& request) const {
    EXPECT_EQ(::send(socket_, request.data(), request.size(), 0), std::ssize(request));
  }
  std::optional<Octets> receive() const {
    pollfd handle{socket_, POLLIN, 0};
    if (::poll(&handle, 1, 2000) != 1) return std::nullopt;
    Octets reply(net::kMaxDatagram);
    const ssize_t length = ::recv(socket_, reply.data(), reply.size(), 0);
    if (length < 0) return std::nullopt;
    reply.resize(static_cast<std::size_t>(length));
    return reply;
  }

 private:
  int socket_;
};

net::Endpoint free_endpoint() {
  const int probe = ::socket(AF_INET, SOCK_DGRAM, 0);
  sockaddr_storage address{};
  socklen_t length = net::Endpoint{net::IpAddress::from_v4(INADDR_LOOPBACK)}.to_sockaddr(address);
  EXPECT_EQ(::bind(probe, reinterpret_cast<sockaddr*>(&address), length), 0);
  ::getsockname(probe, reinterpret_cast<sockaddr*>(&address), &length);
  ::close(probe);
  return net::Endpoint::from_sockaddr(reinterpret_cast<sockaddr*>(&address));
}

// Over loopback, where nothing is lost or overtaken. The back end says how many make a batch.
void over_sockets(crypto::Implementation implementation, net::IoBackend backend) {
  const net::Endpoint local = free_endpoint();
  const auto udp = net::make_udp_batch(net::open_udp_socket(local).value(), backend).value();
  const Client client(local);
  Server server(implementation);
  std::vector<Octets> replies;
  Partition partition;
  std::size_t next = 0;
  for (std::size_t under_way : random_partition()) {
    for (std::size_t i = 0; i < under_way; ++i) client.send(requests()[next++]);
    std::size_t sent = 0;
    while (under_way > 0) {
      const auto batch = udp->receive();
      ASSERT_FALSE(batch.empty());
      partition.push_back(batch.size());
      under_way -= batch.size();
      server.answer(batch, [&](std::span<const net::Datagram> part) {
        udp->send(part);
        sent += static_cast<std::size_t>(
            std::ranges::count_if(part, [](const net::Datagram& d) { return d.reply_length > 0; }));
      });
    }
    for (; sent > 0; --sent) {
      const auto reply = client.receive();
      ASSERT_TRUE(reply);
      replies.push_back(*reply);
    }
  }
  EXPECT_EQ(difference(replies, partition), "");
}

TEST_P(ResponderPaths, OverMmsg) {
  over_sockets(GetParam(), net::IoBackend::kMmsg);
}

TEST_P(ResponderPaths, OverIoUring) {
  over_sockets(GetParam(), net::IoBackend::kIoUring);
}

// That this CPU has.
std::vector<crypto::Implementation> every_implementation() {
  std::vector<crypto::Implementation> all;
  for (const auto& named : crypto::implementations()) {
    if (crypto::available(named.implementation)) all.push_back(named.implementation);
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Implementations, ResponderPaths, testing::ValuesIn(every_implementation()),
                         [](const auto& instance) {
                           std::string name;
                           for (const auto& named : crypto::implementations()) {
                             if (named.implementation == instance.param) name = named.name;
                           }
                           std::erase_if(name, [](char c) { return c == '-' || c == '_'; });
                           return name;
                         });

}  // namespace
}  // namespace timeball::server
