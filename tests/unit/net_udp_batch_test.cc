// One suite for every back end, over loopback. The batch and the client share the test's thread,
// save where a test says otherwise.
#include "common/net/udp_batch.h"

#include "common/net/transmit_times.h"
#include "common/net/udp_message.h"
#include "tests/unit/kernel_timestamps.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <ctime>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace timeball::net {
namespace {

constexpr int kPatience_ms = 2000;
constexpr int kSilence_ms = 50;

Endpoint at(std::string_view address, std::uint16_t port = 0) {
  return {IpAddress::parse(address).value(), port, 0};
}

Endpoint local_of(int socket) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  EXPECT_EQ(getsockname(socket, reinterpret_cast<sockaddr*>(&storage), &length), 0);
  return Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage));
}

bool readable(int fd, int timeout_ms = kPatience_ms) {
  pollfd p{fd, POLLIN, 0};
  return poll(&p, 1, timeout_ms) == 1;
}

// A plain socket. Without SO_REUSEPORT, port 0 yields a port nobody else has.
class Client {
 public:
  explicit Client(const Endpoint& local) : socket_(socket(local.family(), SOCK_DGRAM, 0)) {
    sockaddr_storage storage;
    const socklen_t length = local.to_sockaddr(storage);
    EXPECT_EQ(bind(socket_, reinterpret_cast<const sockaddr*>(&storage), length), 0)
        << std::strerror(errno);
    const int one = 1;
    setsockopt(socket_, SOL_SOCKET, SO_BROADCAST, &one, sizeof one);
  }
  ~Client() { close(socket_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  int fd() const { return socket_; }
  Endpoint local() const { return local_of(socket_); }
  void send(const Endpoint& to, std::string_view text) const {
    sockaddr_storage storage;
    const socklen_t length = to.to_sockaddr(storage);
    ASSERT_EQ(sendto(socket_, text.data(), text.size(), 0,
                     reinterpret_cast<const sockaddr*>(&storage), length),
              static_cast<ssize_t>(text.size()))
        << std::strerror(errno);
  }
  struct Reply {
    std::string text;
    Endpoint source;
  };
  std::optional<Reply> receive(int timeout_ms = kPatience_ms) const {
    if (!readable(socket_, timeout_ms)) return std::nullopt;
    std::array<char, 65536> buffer;
    sockaddr_storage storage{};
    socklen_t length = sizeof storage;
    const ssize_t size = recvfrom(socket_, buffer.data(), buffer.size(), 0,
                                  reinterpret_cast<sockaddr*>(&storage), &length);
    if (size < 0) return std::nullopt;
    return Reply{std::string(buffer.data(), static_cast<std::size_t>(size)),
                 Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage))};
  }

 private:
  int socket_;
};

// Runs body in a process of its own, whose failures count here.
template <class Body>
void in_child(Body body) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    body();
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << "see the failures above";
}

std::uint16_t free_port(std::string_view address) {
  return Client(at(address)).local().port;
}

// The reply to a request: its octets with every bit turned over.
void answer(Datagram& d) {
  for (std::size_t i = 0; i < d.request.size(); ++i) {
    d.reply_room[i] = static_cast<std::uint8_t>(~d.request[i]);
  }
  d.reply_length = d.request.size();
}

std::string answer(std::string text) {
  for (char& c : text) c = static_cast<char>(~c);
  return text;
}

std::string text_of(const Datagram& d) {
  return {d.request.begin(), d.request.end()};
}

class UdpBatchTest : public testing::TestWithParam<IoBackend> {
 protected:
  struct Server {
    std::unique_ptr<UdpBatch> batch;
    Endpoint local;
  };

  static Server serve(const Endpoint& local) {
    Endpoint chosen = local;
    if (chosen.port == 0) chosen.port = free_port(local.address.to_string());
    const auto socket = open_udp_socket(chosen);
    EXPECT_TRUE(socket) << socket.error().message;
    auto batch = make_udp_batch(*socket, GetParam());
    EXPECT_TRUE(batch) << batch.error().message;
    return {std::move(*batch), chosen};
  }
  static Server serve(std::string_view address) { return serve(at(address)); }

  // A batch that only a client would have.
  static std::unique_ptr<UdpBatch> client_batch(int family) {
    const auto socket = open_client_socket(family);
    EXPECT_TRUE(socket) << socket.error().message;
    return make_udp_batch(*socket, GetParam()).value();
  }

  // What comes after waiting; empty when nothing does.
  static std::span<Datagram> await(UdpBatch& batch, int timeout_ms = kPatience_ms) {
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() + std::chrono::milliseconds(timeout_ms);
    while (Clock::now() < end && readable(batch.wait_handle(), timeout_ms)) {
      if (const auto got = batch.receive(); !got.empty()) return got;
    }
    return {};
  }
};

TEST_P(UdpBatchTest, EchoesOverBothFamilies) {
  for (const char* address : {"127.0.0.1", "::1"}) {
    Server server = serve(address);
    const Client client(at(address));
    client.send(server.local, "what time is it?");
    const auto got = await(*server.batch);
    ASSERT_EQ(got.size(), 1u) << address;
    EXPECT_EQ(text_of(got[0]), "what time is it?");
    EXPECT_EQ(got[0].peer, client.local());
    EXPECT_EQ(got[0].reply_room.size(), got[0].request.size());
    answer(got[0]);
    server.batch->send(got);
    const auto reply = client.receive();
    ASSERT_TRUE(reply) << address;
    EXPECT_EQ(reply->text, answer("what time is it?"));
    EXPECT_EQ(reply->source, server.local);
  }
}

TEST_P(UdpBatchTest, NothingWaitingIsAnEmptyBatch) {
  Server server = serve("127.0.0.1");
  EXPECT_FALSE(readable(server.batch->wait_handle(), kSilence_ms));
  EXPECT_TRUE(server.batch->receive().empty());
  EXPECT_TRUE(server.batch->receive().empty());
  EXPECT_EQ(server.batch->counters().receive_errors, 0u);
}

TEST_P(UdpBatchTest, ReceiveTimeIsTheKernels) {
  ASSERT_TRUE(await_kernel_timestamps());
  Server server = serve("127.0.0.1");
  const Client client(at("127.0.0.1"));
  client.send(server.local, "x");
  timespec sent{};
  clock_gettime(CLOCK_REALTIME, &sent);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const auto got = await(*server.batch);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_TRUE(got[0].kernel_timestamp);
  const KernelTime expected{std::int64_t{sent.tv_sec} * 1'000'000'000 + sent.tv_nsec};
  // It arrived when it was sent, not when it was read.
  EXPECT_LT(std::chrono::abs(got[0].receive_time - expected), std::chrono::milliseconds(200));
}

TEST_P(UdpBatchTest, RepliesLeaveFromTheAddressThatWasAsked) {
  Server server = serve("0.0.0.0");
  const Client client(at("127.0.0.1"));
  for (const char* asked : {"127.0.0.2", "127.0.0.3", "127.9.8.7"}) {
    const Endpoint to = at(asked, server.local.port);
    client.send(to, asked);
    const auto got = await(*server.batch);
    ASSERT_EQ(got.size(), 1u);
    answer(got[0]);
    server.batch->send(got);
    const auto reply = client.receive();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->source, to);
  }
}

TEST_P(UdpBatchTest, OneBatchMixesAddressesAndClients) {
  Server server = serve("0.0.0.0");
  const Client one(at("127.0.0.1"));
  const Client two(at("127.0.0.5"));
  one.send(at("127.0.0.2", server.local.port), "from one to 2");
  two.send(at("127.0.0.3", server.local.port), "from two to 3");
  const auto got = await(*server.batch);
  ASSERT_EQ(got.size(), 2u);
  for (Datagram& d : got) answer(d);
  server.batch->send(got);
  const auto first = one.receive();
  const auto second = two.receive();
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->text, answer("from one to 2"));
  EXPECT_EQ(first->source, at("127.0.0.2", server.local.port));
  EXPECT_EQ(second->text, answer("from two to 3"));
  EXPECT_EQ(second->source, at("127.0.0.3", server.local.port));
}

// Receives until `expected` datagrams have come, answers each, and returns how often each text
// came.
std::map<std::string, int> answer_all(UdpBatch& batch, std::size_t expected) {
  std::map<std::string, int> seen;
  std::size_t total = 0;
  while (total < expected && readable(batch.wait_handle())) {
    const auto got = batch.receive();
    EXPECT_LE(got.size(), kBatchCapacity);
    for (Datagram& d : got) {
      ++seen[text_of(d)];
      answer(d);
    }
    batch.send(got);
    total += got.size();
  }
  return seen;
}

TEST_P(UdpBatchTest, BurstsComeWholeOverSeveralRounds) {
  Server server = serve("127.0.0.1");
  const Client client(at("127.0.0.1"));
  constexpr int kBurst = 200;
  for (int round = 0; round < 20; ++round) {  // provided buffers are used up and given back
    for (int i = 0; i < kBurst; ++i) client.send(server.local, std::to_string(round * 1000 + i));
    const auto seen = answer_all(*server.batch, kBurst);
    ASSERT_EQ(seen.size(), static_cast<std::size_t>(kBurst)) << "round " << round;
    std::map<std::string, int> replies;
    for (int i = 0; i < kBurst; ++i) {
      const auto reply = client.receive();
      ASSERT_TRUE(reply) << "round " << round << ", reply " << i;
      ++replies[answer(reply->text)];
    }
    ASSERT_EQ(replies, seen);
  }
  EXPECT_EQ(server.batch->counters().received, 20u * kBurst);
  EXPECT_EQ(server.batch->counters().sent, 20u * kBurst);
  EXPECT_EQ(server.batch->counters().receive_errors, 0u);
  EXPECT_FALSE(readable(server.batch->wait_handle(), kSilence_ms));
}

// The owner may poll between any two calls of receive(): what waits must keep the handle readable.
TEST_P(UdpBatchTest, HandleStaysReadableWhileAnythingWaits) {
  Server server = serve("127.0.0.1");
  const Client client(at("127.0.0.1"));
  constexpr std::size_t kMany = 5 * kBatchCapacity;
  for (std::size_t i = 0; i < kMany; ++i) client.send(server.local, "x");
  std::size_t total = 0;
  while (total < kMany) {
    ASSERT_TRUE(readable(server.batch->wait_handle(), 0)) << "after " << total;
    total += server.batch->receive().size();
  }
  EXPECT_EQ(total, kMany);
}

TEST_P(UdpBatchTest, LongestDatagramPassesAndLongerOnesAreDropped) {
  Server server = serve("127.0.0.1");
  const Client client(at("127.0.0.1"));
  std::string longest(kMaxDatagram, '\0');
  std::iota(longest.begin(), longest.end(), '\1');
  client.send(server.local, std::string(kMaxDatagram + 1, 'x'));
  client.send(server.local, longest);
  client.send(server.local, std::string(60000, 'x'));
  const auto got = await(*server.batch);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(text_of(got[0]), longest);
  answer(got[0]);
  server.batch->send(got);
  const auto reply = client.receive();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->text, answer(longest));
  while (readable(server.batch->wait_handle(), kSilence_ms)) server.batch->receive();
  EXPECT_EQ(server.batch->counters().truncated, 2u);
  EXPECT_EQ(server.batch->counters().received, 1u);
  EXPECT_FALSE(client.receive(kSilence_ms));
}

// Nor do they cost a call each.
TEST_P(UdpBatchTest, EmptyDatagramsAreReceivedAndEndNothing) {
  Server server = serve("127.0.0.1");
  const Client client(at("127.0.0.1"));
  constexpr std::size_t kEmpty = 150;  // over two batches
  for (std::size_t i = 0; i < kEmpty; ++i) client.send(server.local, "");
  client.send(server.local, "after");
  std::size_t empty = 0;
  std::size_t rounds = 0;
  std::string last;
  while (last.empty() && readable(server.batch->wait_handle())) {
    ++rounds;
    for (const Datagram& d : server.batch->receive()) {
      EXPECT_EQ(d.reply_room.size(), d.request.size());
      EXPECT_EQ(d.peer, client.local());
      if (d.request.empty()) {
        ++empty;
      } else {
        last = text_of(d);
      }
    }
  }
  EXPECT_EQ(empty, kEmpty);
  EXPECT_LE(rounds, kEmpty / kBatchCapacity + 2);
  EXPECT_EQ(last, "after");
  EXPECT_EQ(server.batch->counters().receive_errors, 0u);
}

TEST_P(UdpBatchTest, ReplyLengthZeroSendsNothing) {
  Server server = serve("127.0.0.1");
  const Client client(at("127.0.0.1"));
  for (const char* text : {"one", "two", "three"}) client.send(server.local, text);
  const auto got = await(*server.batch);
  ASSERT_EQ(got.size(), 3u);
  for (const Datagram& d : got) EXPECT_EQ(d.reply_length, 0u);
  answer(got[1]);
  server.batch->send(got);
  const auto reply = client.receive();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->text, answer("two"));
  EXPECT_FALSE(client.receive(kSilence_ms));
  EXPECT_EQ(server.batch->counters().sent, 1u);
}

TEST_P(UdpBatchTest, RepliesMayBeShorterThanTheRequest) {
  Server server = serve("127.0.0.1");
  const Client client(at("127.0.0.1"));
  client.send(server.local, "abcdef");
  const auto got = await(*server.batch);
  ASSERT_EQ(got.size(), 1u);
  answer(got[0]);
  got[0].reply_length = 2;
  server.batch->send(got);
  const auto reply = client.receive();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->text, answer("ab"));
}

// The responder writes the replies of a batch, then stamps and sends part after part.
TEST_P(UdpBatchTest, PartsAreSentOnceEachWithRequestsStillReadable) {
  Server server = serve("127.0.0.1");
  const Client client(at("127.0.0.1"));
  for (int i = 0; i < 10; ++i) client.send(server.local, "request " + std::to_string(i));
  const auto got = await(*server.batch);
  ASSERT_EQ(got.size(), 10u);
  for (Datagram& d : got) answer(d);
  for (std::size_t first = 0; first < got.size(); first += 3) {
    const auto part = got.subspan(first, std::min<std::size_t>(3, got.size() - first));
    for (Datagram& d : part) d.reply_room[0] = static_cast<std::uint8_t>('A' + first);
    server.batch->send(part);
  }
  for (int i = 0; i < 10; ++i) {
    const std::string request = "request " + std::to_string(i);
    EXPECT_EQ(text_of(got[static_cast<std::size_t>(i)]), request);
    const auto reply = client.receive();
    ASSERT_TRUE(reply);
    std::string expected = answer(request);
    expected[0] = static_cast<char>('A' + i / 3 * 3);
    EXPECT_EQ(reply->text, expected);
  }
  EXPECT_FALSE(client.receive(kSilence_ms));
  EXPECT_EQ(server.batch->counters().sent, 10u);
}

TEST_P(UdpBatchTest, SendingNothingIsHarmless) {
  Server server = serve("127.0.0.1");
  server.batch->send({});
  EXPECT_EQ(server.batch->counters().sent, 0u);
  EXPECT_EQ(server.batch->counters().send_refused, 0u);
}

TEST_P(UdpBatchTest, AClientThatWentAwayHarmsNobody) {
  Server server = serve("127.0.0.1");
  {
    const Client gone(at("127.0.0.1"));
    gone.send(server.local, "x");
  }
  const Client client(at("127.0.0.1"));
  client.send(server.local, "y");
  const auto got = await(*server.batch);
  ASSERT_EQ(got.size(), 2u);
  for (Datagram& d : got) answer(d);
  server.batch->send(got);
  server.batch->send(got.last(1));  // after the ICMP error
  EXPECT_TRUE(client.receive());
  EXPECT_TRUE(client.receive());
  EXPECT_TRUE(server.batch->receive().empty());
}

TEST_P(UdpBatchTest, TransientErrorsAreCountedAndPassed) {
  const Endpoint local = at("127.0.0.1", free_port("127.0.0.1"));
  const int socket = open_udp_socket(local).value();
  const int same = dup(socket);
  const auto batch = make_udp_batch(socket, GetParam()).value();
  EXPECT_TRUE(batch->receive().empty());

  // Connected, the socket hears of the closed port by ICMP: ECONNREFUSED.
  sockaddr_storage closed;
  const socklen_t length = at("127.0.0.1", free_port("127.0.0.1")).to_sockaddr(closed);
  ASSERT_EQ(connect(same, reinterpret_cast<const sockaddr*>(&closed), length), 0);
  ASSERT_EQ(write(same, "x", 1), 1);
  ASSERT_TRUE(readable(batch->wait_handle()));
  EXPECT_TRUE(batch->receive().empty());
  EXPECT_EQ(batch->counters().receive_errors, 1u);

  sockaddr nobody{};
  nobody.sa_family = AF_UNSPEC;
  ASSERT_EQ(connect(same, &nobody, sizeof nobody), 0);
  close(same);
  const Client client(at("127.0.0.1"));
  client.send(local, "still there?");
  const auto got = await(*batch);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(text_of(got[0]), "still there?");
  EXPECT_EQ(batch->counters().receive_errors, 1u);
}

TEST_P(UdpBatchTest, BroadcastRequestsAreDropped) {
  Server server = serve("0.0.0.0");
  const Client client(at("127.0.0.1"));
  client.send(at("127.255.255.255", server.local.port), "to all of you");
  client.send(at("127.0.0.1", server.local.port), "to you");
  const auto got = await(*server.batch);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(text_of(got[0]), "to you");
  EXPECT_EQ(server.batch->counters().unanswerable, 1u);
}

TEST_P(UdpBatchTest, TwoBatchesShareAPort) {
  Server one = serve("127.0.0.1");
  Server two = serve(one.local);
  constexpr std::size_t kClients = 64;
  std::vector<std::unique_ptr<Client>> clients;
  for (std::size_t i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<Client>(at("127.0.0.1")));
    clients.back()->send(one.local, std::to_string(i));
  }
  for (UdpBatch* batch : {one.batch.get(), two.batch.get()}) {
    for (auto got = await(*batch, kSilence_ms); !got.empty(); got = await(*batch, kSilence_ms)) {
      for (Datagram& d : got) answer(d);
      batch->send(got);
    }
  }
  for (std::size_t i = 0; i < kClients; ++i) {
    const auto reply = clients[i]->receive();
    ASSERT_TRUE(reply) << i;
    EXPECT_EQ(reply->text, answer(std::to_string(i)));
  }
  const auto a = one.batch->counters().received;
  const auto b = two.batch->counters().received;
  EXPECT_EQ(a + b, kClients);
  EXPECT_GT(a, 0u);
  EXPECT_GT(b, 0u);
}

// On loopback a datagram comes in on the CPU of its sender.
TEST_P(UdpBatchTest, SteeringByCpuPicksTheSocketOfTheSendersCpu) {
  cpu_set_t usable;
  ASSERT_EQ(sched_getaffinity(0, sizeof usable, &usable), 0);
  std::vector<unsigned> cpus;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &usable)) cpus.push_back(cpu);
  }
  std::vector<Server> servers;
  servers.push_back(serve("127.0.0.1"));
  ASSERT_TRUE(steer_by_cpu(servers[0].batch->wait_handle(), cpus));
  while (servers.size() < cpus.size()) servers.push_back(serve(servers[0].local));
  for (std::size_t n = 0; n < cpus.size(); ++n) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpus[n], &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    for (int flow = 0; flow < 8; ++flow) Client(at("127.0.0.1")).send(servers[0].local, "x");
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof usable, &usable), 0);
  for (Server& server : servers) {
    EXPECT_EQ(await(*server.batch).size(), 8u);
    EXPECT_TRUE(server.batch->receive().empty());
  }
}

// What no rule names goes by its hash, as without steering.
TEST_P(UdpBatchTest, SteeringLeavesOtherCpusToTheHash) {
  Server one = serve("127.0.0.1");
  ASSERT_TRUE(steer_by_cpu(one.batch->wait_handle(), std::vector<unsigned>{CPU_SETSIZE}));
  Server two = serve(one.local);
  std::size_t received = 0;
  for (int flow = 0; flow < 64; ++flow) Client(at("127.0.0.1")).send(one.local, "x");
  for (UdpBatch* batch : {one.batch.get(), two.batch.get()}) {
    const std::size_t share = await(*batch).size();
    EXPECT_GT(share, 0u);
    received += share;
  }
  EXPECT_GE(received, 32u);
}

// A batch is made by one thread and used by another, which has it in its epoll set from the start.
TEST_P(UdpBatchTest, MadeByOneThreadUsedByAnother) {
  const Endpoint local = at("127.0.0.1", free_port("127.0.0.1"));
  auto batch = make_udp_batch(open_udp_socket(local).value(), GetParam()).value();
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{EPOLLIN, {}};
  ASSERT_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, batch->wait_handle(), &event), 0);
  std::thread owner([&] {
    while (batch->counters().received == 0) {
      if (epoll_wait(epoll, &event, 1, kPatience_ms) != 1) return;
      batch->receive();
    }
    EXPECT_TRUE(batch->receive().empty());
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const Client client(at("127.0.0.1"));
  client.send(local, "x");
  owner.join();
  EXPECT_EQ(batch->counters().received, 1u);
  close(epoll);
  batch.reset();  // by a thread that is not the owner
}

TEST_P(UdpBatchTest, TheEndFreesThePort) {
  Server server = serve("127.0.0.1");
  const Endpoint local = server.local;
  EXPECT_TRUE(server.batch->receive().empty());  // a receive is under way
  server.batch.reset();
  const Client client(local);  // binds without SO_REUSEPORT
}

// In a network namespace of its own, whose addresses the test may change.
class UdpBatchNamespaceTest : public UdpBatchTest {
 protected:
  template <class Body>
  static void in_namespace(Body body) {
    in_child([&] {
      ASSERT_TRUE(unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0)
          << "needs root, or user namespaces: " << std::strerror(errno);
      set_flags("lo", IFF_UP);
      body();
    });
  }

  static ifreq named(const char* interface) {
    ifreq request{};
    std::strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
    return request;
  }
  static void set_flags(const char* interface, int flags) {
    const Client any(at("127.0.0.1"));
    ifreq request = named(interface);
    request.ifr_flags = static_cast<short>(flags);
    EXPECT_EQ(ioctl(any.fd(), SIOCSIFFLAGS, &request), 0) << std::strerror(errno);
  }
  static void add_v4(const char* label, std::string_view address) {
    const Client any(at("0.0.0.0"));
    ifreq request = named(label);
    sockaddr_storage storage;
    at(address).to_sockaddr(storage);
    std::memcpy(&request.ifr_addr, &storage, sizeof request.ifr_addr);
    EXPECT_EQ(ioctl(any.fd(), SIOCSIFADDR, &request), 0) << std::strerror(errno);
  }
  static void add_v6(std::string_view address) {
    struct {  // in6_ifreq of linux/ipv6.h, which does not go with netinet/in.h
      in6_addr address;
      std::uint32_t prefix_length;
      int index;
    } request{};
    std::memcpy(&request.address, at(address).address.octets.data(), sizeof request.address);
    request.prefix_length = 64;
    request.index = static_cast<int>(if_nametoindex("lo"));
    const Client any(at("::"));
    EXPECT_EQ(ioctl(any.fd(), SIOCSIFADDR, &request), 0) << std::strerror(errno);
    await_usable(on_lo(address));
  }
  // The kernel takes a moment to make a new IPv6 address usable.
  static void await_usable(const Endpoint& local) {
    sockaddr_storage storage;
    const socklen_t length = local.to_sockaddr(storage);
    const int probe = socket(AF_INET6, SOCK_DGRAM, 0);
    for (int ms = 0; ms < kPatience_ms; ++ms) {
      if (bind(probe, reinterpret_cast<const sockaddr*>(&storage), length) == 0) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    close(probe);
  }
  static Endpoint on_lo(std::string_view address, std::uint16_t port = 0) {
    return {at(address).address, port, if_nametoindex("lo")};
  }
};

TEST_P(UdpBatchNamespaceTest, LinkLocalRepliesLeaveFromTheAddressThatWasAsked) {
  in_namespace([] {
    for (const char* address : {"fe80::1", "fe80::2", "fe80::3"}) add_v6(address);
    Server server = serve("::");
    const Client client(on_lo("fe80::1"));
    for (const char* asked : {"fe80::2", "fe80::3"}) {
      const Endpoint to = on_lo(asked, server.local.port);
      client.send(to, "x");
      const auto got = await(*server.batch);
      ASSERT_EQ(got.size(), 1u);
      EXPECT_EQ(got[0].peer, client.local());
      answer(got[0]);
      server.batch->send(got);
      const auto reply = client.receive();
      ASSERT_TRUE(reply);
      EXPECT_EQ(reply->source, to);
    }
  });
}

TEST_P(UdpBatchNamespaceTest, GlobalIpv6RepliesLeaveFromTheAddressThatWasAsked) {
  in_namespace([] {
    for (const char* address : {"2001:db8::1", "2001:db8::2"}) add_v6(address);
    Server server = serve("::");
    const Client client(at("::1"));
    for (const char* asked : {"2001:db8::2", "2001:db8::1", "::1"}) {
      const Endpoint to = at(asked, server.local.port);
      client.send(to, "x");
      const auto got = await(*server.batch);
      ASSERT_EQ(got.size(), 1u);
      answer(got[0]);
      server.batch->send(got);
      const auto reply = client.receive();
      ASSERT_TRUE(reply);
      EXPECT_EQ(reply->source, to);
    }
  });
}

TEST_P(UdpBatchNamespaceTest, RequestsFromPortZeroAreDropped) {
  in_namespace([] {
    Server server = serve("127.0.0.1");
    const int raw = socket(AF_INET, SOCK_RAW, IPPROTO_UDP);
    std::array<std::uint8_t, 9> packet{0, 0, 0, 0, 0, 9, 0, 0, 'x'};  // no checksum
    store_be16(&packet[2], server.local.port);
    sockaddr_storage to;
    const socklen_t length = at("127.0.0.1").to_sockaddr(to);
    ASSERT_EQ(sendto(raw, packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&to),
                     length),
              9);
    close(raw);
    ASSERT_TRUE(readable(server.batch->wait_handle()));
    EXPECT_TRUE(server.batch->receive().empty());
    EXPECT_EQ(server.batch->counters().unanswerable, 1u);
  });
}

// An address goes away between request and reply: the kernel refuses to send from it.
TEST_P(UdpBatchNamespaceTest, ARefusedReplyDoesNotHoldUpTheOthers) {
  in_namespace([] {
    add_v4("lo:1", "192.0.2.7");
    Server server = serve("0.0.0.0");
    const Client client(at("127.0.0.1"));
    constexpr int kRequests = 9;
    for (int i = 0; i < kRequests; ++i) {
      const bool to_go = i == 0 || i == 4 || i == 5 || i == 8;
      client.send(at(to_go ? "192.0.2.7" : "127.0.0.1", server.local.port), std::to_string(i));
    }
    const auto got = await(*server.batch);
    ASSERT_EQ(got.size(), static_cast<std::size_t>(kRequests));
    for (Datagram& d : got) answer(d);
    set_flags("lo:1", 0);                                     // removes the address
    client.send(at("127.0.0.1", server.local.port), "next");  // waits while the refusals come
    server.batch->send(got);
    EXPECT_EQ(server.batch->counters().sent, 5u);
    EXPECT_EQ(server.batch->counters().send_refused, 4u);
    for (const char* text : {"1", "2", "3", "6", "7"}) {
      const auto reply = client.receive();
      ASSERT_TRUE(reply) << text;
      EXPECT_EQ(reply->text, answer(text));
    }
    const auto next = await(*server.batch);
    ASSERT_EQ(next.size(), 1u);
    EXPECT_EQ(text_of(next[0]), "next");
    answer(next[0]);
    server.batch->send(next);
    EXPECT_TRUE(client.receive());
    EXPECT_EQ(server.batch->counters().send_refused, 4u);
  });
}

void fill(Datagram& d, const Endpoint& peer, std::string_view text) {
  ASSERT_EQ(d.reply_room.size(), kMaxDatagram);
  std::copy(text.begin(), text.end(), d.reply_room.begin());
  d.reply_length = text.size();
  d.peer = peer;
}

TEST_P(UdpBatchTest, AClientComposesAndIsAnswered) {
  ASSERT_TRUE(await_kernel_timestamps());
  for (const char* address : {"127.0.0.1", "::1"}) {
    Server server = serve(address);
    const auto client = client_batch(server.local.family());
    for (const std::size_t count : {std::size_t{1}, kBatchCapacity}) {  // again, over used slots
      const auto out = client->compose(count);
      ASSERT_EQ(out.size(), count);
      for (std::size_t i = 0; i < count; ++i) fill(out[i], server.local, std::to_string(i));
      client->send(out);
      std::map<std::string, int> seen = answer_all(*server.batch, count);
      EXPECT_EQ(seen.size(), count);
      std::size_t answered = 0;
      while (answered < count) {
        const auto got = await(*client);
        ASSERT_FALSE(got.empty());
        for (const Datagram& d : got) {
          EXPECT_EQ(d.peer, server.local);
          EXPECT_EQ(seen.count(answer(text_of(d))), 1u);
          EXPECT_TRUE(d.kernel_timestamp);
        }
        answered += got.size();
      }
    }
    EXPECT_EQ(client->counters().sent, 1 + kBatchCapacity);
    EXPECT_EQ(client->counters().send_refused, 0u);
  }
}

TEST_P(UdpBatchTest, ComposedDatagramsNotFilledInAreNotSent) {
  Server server = serve("127.0.0.1");
  const auto client = client_batch(AF_INET);
  const auto out = client->compose(3);
  fill(out[1], server.local, "x");
  client->send(out);
  EXPECT_EQ(await(*server.batch).size(), 1u);
  EXPECT_EQ(client->counters().sent, 1u);
}

// One socket plays many clients.
TEST_P(UdpBatchTest, ComposedDatagramsLeaveFromTheAddressAskedFor) {
  Server server = serve("0.0.0.0");
  const auto client = client_batch(AF_INET);
  const auto out = client->compose(3);
  for (std::size_t i = 0; i < 3; ++i) {
    const std::string address = "127.3.2." + std::to_string(i + 1);
    fill(out[i], at("127.0.0.1", server.local.port), address);
    out[i].local = IpAddress::parse(address).value();
  }
  client->send(out);
  const auto got = await(*server.batch);
  ASSERT_EQ(got.size(), 3u);
  for (Datagram& d : got) {
    EXPECT_EQ(d.peer.address.to_string(), text_of(d));
    EXPECT_EQ(d.local.to_string(), "127.0.0.1");
    answer(d);
  }
  server.batch->send(got);
  const auto replies = await(*client);
  ASSERT_EQ(replies.size(), 3u);
  for (const Datagram& d : replies) EXPECT_EQ(d.local.to_string(), answer(text_of(d)));
}

// Even from one that no interface has: it may be routed here (ip -6 route add local PREFIX dev lo).
TEST_P(UdpBatchTest, ComposedIpv6DatagramsLeaveFromAnyAddress) {
  Server server = serve("::1");
  const auto client = client_batch(AF_INET6);
  const auto out = client->compose(1);
  fill(out[0], server.local, "x");
  out[0].local = IpAddress::parse("2001:db8::77").value();
  client->send(out);
  const auto got = await(*server.batch);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].peer.address, out[0].local);
}

// A sample, in the order sent, each as the kernel handed it on: between our two clock readings.
TEST_P(UdpBatchTest, TransmitTimesOfThoseThatWantThem) {
  for (const char* address : {"127.0.0.1", "::1"}) {
    Server server = serve(address);
    const auto client = client_batch(server.local.family());
    EXPECT_TRUE(client->transmit_times().empty());
    for (std::uint32_t round = 0; round < 50; ++round) {
      const auto out = client->compose(10);
      for (Datagram& d : out) fill(d, server.local, "x");
      for (const std::uint32_t i : {3u, 4u, 9u}) {
        out[i].want_transmit_time = true;
        out[i].transmit_key = 1000 * round + i;
      }
      const auto before = std::chrono::system_clock::now().time_since_epoch();
      client->send(out);
      const auto after = std::chrono::system_clock::now().time_since_epoch();
      const auto times = client->transmit_times();
      ASSERT_EQ(times.size(), 3u) << address << ", round " << round;
      EXPECT_EQ(times[0].key, 1000 * round + 3);
      EXPECT_EQ(times[1].key, 1000 * round + 4);
      EXPECT_EQ(times[2].key, 1000 * round + 9);
      EXPECT_GE(times[0].time.ns, before.count());
      EXPECT_LE(times[0].time.ns, times[1].time.ns);
      EXPECT_LE(times[1].time.ns, times[2].time.ns);
      EXPECT_LE(times[2].time.ns, after.count());
      EXPECT_TRUE(client->transmit_times().empty());
      EXPECT_FALSE(readable(client->wait_handle(), 0));
    }
  }
}

TEST_P(UdpBatchTest, RepliesHaveTransmitTimesToo) {
  Server server = serve("0.0.0.0");
  const Client client(at("127.0.0.1"));
  for (int i = 0; i < 3; ++i) client.send(at("127.0.0.1", server.local.port), "x");
  const auto got = await(*server.batch);
  ASSERT_EQ(got.size(), 3u);
  for (Datagram& d : got) answer(d);
  got[1].want_transmit_time = true;
  got[1].transmit_key = 77;
  server.batch->send(got);
  const auto times = server.batch->transmit_times();
  ASSERT_EQ(times.size(), 1u);
  EXPECT_EQ(times[0].key, 77u);
  EXPECT_GE(times[0].time, got[1].receive_time);
  EXPECT_TRUE(client.receive() && client.receive() && client.receive());
}

// An owner that does not ask must not find its handle readable for ever.
TEST_P(UdpBatchTest, TransmitTimesNobodyAsksForAreLostAndWakeNobody) {
  Server server = serve("127.0.0.1");
  const auto client = client_batch(AF_INET);
  constexpr std::uint32_t kRounds = 5;
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    const auto out = client->compose(kBatchCapacity);
    for (Datagram& d : out) {
      fill(d, server.local, "x");
      d.want_transmit_time = true;
      d.transmit_key = round;
    }
    client->send(out);
    EXPECT_FALSE(readable(client->wait_handle(), 0));
  }
  EXPECT_EQ(client->transmit_times().size(), kBatchCapacity);
  client->receive();
  EXPECT_FALSE(readable(client->wait_handle(), 0));
}

// Whether a refused datagram was numbered by the kernel, none may get another's time.
TEST_P(UdpBatchTest, ARefusedDatagramDoesNotShiftTheTransmitTimes) {
  Server server = serve("127.0.0.1");
  const auto client = client_batch(AF_INET);
  for (std::uint32_t round = 0; round < 3; ++round) {
    const auto out = client->compose(3);
    for (std::uint32_t i = 0; i < 3; ++i) {
      fill(out[i], server.local, "x");
      out[i].want_transmit_time = true;
      out[i].transmit_key = i;
    }
    out[1].local = IpAddress::parse("192.0.2.1").value();  // not ours
    client->send(out);
    EXPECT_EQ(client->counters().send_refused, round + 1);
    for (const TransmitTime& t : client->transmit_times()) EXPECT_NE(t.key, 1u);

    const auto again = client->compose(1);
    fill(again[0], server.local, "y");
    again[0].want_transmit_time = true;
    again[0].transmit_key = 100 + round;
    client->send(again);
    const auto times = client->transmit_times();
    ASSERT_EQ(times.size(), 1u);
    EXPECT_EQ(times[0].key, 100 + round);
  }
}

constexpr auto kBackends = {IoBackend::kMmsg, IoBackend::kIoUring, IoBackend::kAuto};

std::string name_of(const testing::TestParamInfo<IoBackend>& instance) {
  switch (instance.param) {
    case IoBackend::kMmsg:
      return "Mmsg";
    case IoBackend::kIoUring:
      return "IoUring";
    default:
      return "Auto";
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, UdpBatchTest, testing::ValuesIn(kBackends), name_of);
INSTANTIATE_TEST_SUITE_P(Backends, UdpBatchNamespaceTest, testing::ValuesIn(kBackends), name_of);

// A message as the kernel would hand it over, for what loopback cannot produce.
struct Message {
  explicit Message(const in6_pktinfo& info) {
    header.msg_name = &source;
    header.msg_namelen = at("2001:db8::9", 4567).to_sockaddr(source);
    header.msg_iov = &octets;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(sizeof info);
    cmsghdr* const c = CMSG_FIRSTHDR(&header);
    *c = {CMSG_LEN(sizeof info), IPPROTO_IPV6, IPV6_PKTINFO};
    std::memcpy(CMSG_DATA(c), &info, sizeof info);
  }

  sockaddr_storage source{};
  std::array<char, 4> text{'t', 'i', 'm', 'e'};
  iovec octets{text.data(), text.size()};
  alignas(cmsghdr) std::array<std::uint8_t, kControlRoom> control{};
  msghdr header{};
};

in6_pktinfo asked_at(std::string_view address, unsigned interface) {
  in6_pktinfo info{};
  std::memcpy(&info.ipi6_addr, at(address).address.octets.data(), sizeof info.ipi6_addr);
  info.ipi6_ifindex = interface;
  return info;
}

TEST(OutgoingSlot, MulticastRequestsAreDropped) {
  OutgoingSlot slot;
  Datagram datagram;
  UdpCounters counters;
  Message message(asked_at("ff02::1", 3));
  EXPECT_FALSE(slot.accept(message.header, 4, datagram, counters));
  EXPECT_EQ(counters.unanswerable, 1u);
  EXPECT_EQ(counters.received, 0u);
}

TEST(OutgoingSlot, TheInterfaceIsNamedForLinkLocalAddressesOnly) {
  for (const auto& [address, interface] : {std::pair{"fe80::1", 3u}, {"2001:db8::1", 0u}}) {
    OutgoingSlot slot;
    Datagram datagram;
    UdpCounters counters;
    Message message(asked_at(address, 3));
    ASSERT_TRUE(slot.accept(message.header, 4, datagram, counters));
    const msghdr& reply = *slot.header(datagram);
    ASSERT_EQ(reply.msg_controllen, CMSG_SPACE(sizeof(in6_pktinfo)));
    in6_pktinfo info;
    std::memcpy(&info, CMSG_DATA(CMSG_FIRSTHDR(&reply)), sizeof info);
    EXPECT_EQ(info.ipi6_ifindex, interface) << address;
  }
}

TEST(OutgoingSlot, WithoutAKernelTimestampTheClockIsRead) {
  OutgoingSlot slot;
  Datagram datagram;
  UdpCounters counters;
  Message message(asked_at("2001:db8::1", 0));
  ASSERT_TRUE(slot.accept(message.header, 4, datagram, counters));
  EXPECT_FALSE(datagram.kernel_timestamp);
  EXPECT_EQ(datagram.peer, at("2001:db8::9", 4567));
  const std::chrono::nanoseconds now = std::chrono::system_clock::now().time_since_epoch();
  EXPECT_LT(std::chrono::abs(std::chrono::nanoseconds(datagram.receive_time.ns) - now),
            std::chrono::seconds(1));
}

// A device that tells later, after send() has returned: the socket wakes its owner, until
// collect().
TEST(TransmitTimes, LateOnesWakeTheOwnerOnce) {
  const Client server(at("127.0.0.1"));
  const int socket = open_client_socket(AF_INET).value();
  TransmitTimes times(socket);
  times.expect(5);
  times.sent(false);
  EXPECT_TRUE(times.take().empty());
  EXPECT_FALSE(readable(socket, 0));

  OutgoingSlot slot;
  Datagram datagram;
  slot.compose(datagram);
  fill(datagram, server.local(), "x");
  datagram.want_transmit_time = true;
  ASSERT_EQ(sendmsg(socket, slot.header(datagram), 0), 1);
  ASSERT_TRUE(readable(socket, 0));
  times.collect();
  EXPECT_FALSE(readable(socket, 0));
  const auto got = times.take();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].key, 5u);
  close(socket);
}

std::string why_not(const Endpoint& local) {
  const auto socket = open_udp_socket(local);
  if (!socket) return socket.error().message;
  close(*socket);
  return {};
}

int option(int socket, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  EXPECT_EQ(getsockopt(socket, level, name, &value, &length), 0);
  return value;
}

TEST(UdpSocket, IsSetUpAsItsHeaderSays) {
  const int v4 = open_udp_socket(at("127.0.0.1", free_port("127.0.0.1"))).value();
  EXPECT_NE(fcntl(v4, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(fcntl(v4, F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(option(v4, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_OMIT);
  close(v4);
  const int v6 = open_udp_socket(at("::", free_port("::"))).value();
  EXPECT_EQ(option(v6, IPPROTO_IPV6, IPV6_MTU_DISCOVER), IPV6_PMTUDISC_OMIT);
  EXPECT_EQ(option(v6, IPPROTO_IPV6, IPV6_V6ONLY), 1);
  close(v6);
}

TEST(UdpSocket, AClientsIsNotBoundYet) {
  for (const int family : {AF_INET, AF_INET6}) {
    const int socket = open_client_socket(family).value();
    EXPECT_NE(fcntl(socket, F_GETFL) & O_NONBLOCK, 0);
    EXPECT_NE(fcntl(socket, F_GETFD) & FD_CLOEXEC, 0);
    EXPECT_EQ(local_of(socket).port, 0);
    EXPECT_EQ(option(socket, SOL_SOCKET, SO_REUSEPORT), 0);
    close(socket);
  }
}

TEST(UdpSocket, BothFamiliesTakeTheSamePort) {
  const std::uint16_t port = free_port("::");
  const auto v6 = open_udp_socket(at("::", port));
  const auto v4 = open_udp_socket(at("0.0.0.0", port));
  ASSERT_TRUE(v6 && v4);
  close(*v6);
  close(*v4);
}

// 65534 is nobody, who may not listen on port 123.
TEST(UdpSocket, SaysThatLowPortsNeedTheCapability) {
  in_child([] {
    if (geteuid() == 0) {  // a new namespace reserves the ports below 1024, whatever the host does
      ASSERT_EQ(unshare(CLONE_NEWNET), 0);
      ASSERT_EQ(setuid(65534), 0);
    }
    const std::string why = why_not(at("127.0.0.1", 123));
    EXPECT_NE(why.find("127.0.0.1:123"), std::string::npos) << why;
    EXPECT_NE(why.find("CAP_NET_BIND_SERVICE"), std::string::npos) << why;
  });
}

TEST(UdpSocket, SaysWhenAnotherServerHoldsThePort) {
  const Client other(at("127.0.0.1"));
  const std::string why = why_not(other.local());
  EXPECT_NE(why.find(other.local().to_string()), std::string::npos) << why;
  EXPECT_NE(why.find("another server holds the port"), std::string::npos) << why;
}

TEST(UdpSocket, SaysWhenTheAddressIsNotOurs) {
  for (const char* address : {"192.0.2.1", "2001:db8::1"}) {
    const std::string why = why_not(at(address, 12300));
    EXPECT_NE(why.find(address), std::string::npos) << why;
    EXPECT_NE(why.find("no interface of this host has the address"), std::string::npos) << why;
  }
}

// As container runtimes do.
void forbid_io_uring() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{std::size(program), program};
  EXPECT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  EXPECT_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0) << std::strerror(errno);
}

TEST(UdpBatch, SaysWhenTheKernelOffersNoIoUringAndClosesTheSocket) {
  in_child([] {
    forbid_io_uring();
    const int socket = open_udp_socket(at("127.0.0.1", free_port("127.0.0.1"))).value();
    const auto batch = make_udp_batch(socket, IoBackend::kIoUring);
    ASSERT_FALSE(batch);
    const std::string& why = batch.error().message;
    EXPECT_NE(why.find("io_uring cannot be used"), std::string::npos) << why;
    EXPECT_NE(why.find("set io to \"mmsg\""), std::string::npos) << why;
    EXPECT_EQ(fcntl(socket, F_GETFD), -1);
  });
}

TEST(UdpSocket, SaysThatALinkLocalAddressNeedsItsInterface) {
  const std::string why = why_not(at("fe80::1", 12300));
  EXPECT_NE(why.find("[fe80::1%eth0]:12300"), std::string::npos) << why;
}

}  // namespace
}  // namespace timeball::net
