// AF_XDP over a veth pair, in two network namespaces of the test's own. Takes root.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bench/network_namespaces.h"
#include "common/net/xdp_filter.h"
#include "common/net/xdp_interface.h"

namespace timeball::net {
namespace {

constexpr std::uint16_t kPort = 10123;
constexpr int kPatience_ms = 5000;

Endpoint at(std::string_view address, std::uint16_t port) {
  return {IpAddress::parse(address).value(), port, 0};
}

KernelTime now() {
  timespec t{};
  clock_gettime(CLOCK_REALTIME, &t);
  return KernelTime{std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec};
}

// Of an interface of the namespace that this thread is in.
MacAddress mac_of(const char* interface) {
  const int any = socket(AF_INET, SOCK_DGRAM, 0);
  ifreq request{};
  std::strncpy(request.ifr_name, interface, sizeof request.ifr_name - 1);
  EXPECT_EQ(ioctl(any, SIOCGIFHWADDR, &request), 0);
  close(any);
  MacAddress mac{};
  std::memcpy(mac.data(), request.ifr_hwaddr.sa_data, mac.size());
  return mac;
}

class XdpTest : public testing::TestWithParam<XdpMode> {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "AF_XDP takes root";
    net_.emplace(true);
    net_->enter_client();
    client_ = socket(AF_INET, SOCK_DGRAM, 0);
    client6_ = socket(AF_INET6, SOCK_DGRAM, 0);
    client_mac_ = mac_of("client");
    wire_ = socket(AF_PACKET, SOCK_RAW, 0);
    sockaddr_ll link{};
    link.sll_family = AF_PACKET;
    link.sll_ifindex = static_cast<int>(if_nametoindex("client"));
    ASSERT_EQ(bind(wire_, reinterpret_cast<const sockaddr*>(&link), sizeof link), 0);
    net_->enter_server();
    server_mac_ = mac_of("server");
    XdpOptions options{"server", GetParam(), {at("0.0.0.0", kPort), at("::", kPort)}};
    auto opened = XdpInterface::open(options);
    ASSERT_TRUE(opened) << opened.error().message;
    interface_ = std::move(*opened);
    auto batches = interface_->batches();
    ASSERT_EQ(batches.size(), 1U);
    batch_ = std::move(batches[0]);
  }
  void TearDown() override {
    for (const int fd : {client_, client6_, wire_}) {
      if (fd >= 0) close(fd);
    }
  }

  void send(int socket, const Endpoint& to, std::string_view text) const {
    sockaddr_storage storage;
    const socklen_t length = to.to_sockaddr(storage);
    ASSERT_EQ(sendto(socket, text.data(), text.size(), 0,
                     reinterpret_cast<const sockaddr*>(&storage), length),
              static_cast<ssize_t>(text.size()))
        << std::strerror(errno);
  }
  static std::string received(int socket) {
    pollfd p{socket, POLLIN, 0};
    if (poll(&p, 1, kPatience_ms) != 1) return "nothing";
    std::array<char, 4096> buffer;
    const ssize_t size = recv(socket, buffer.data(), buffer.size(), 0);
    return size < 0 ? "an error" : std::string(buffer.data(), static_cast<std::size_t>(size));
  }
  std::span<Datagram> next() const {
    for (;;) {
      pollfd p{batch_->wait_handle(), POLLIN, 0};
      if (poll(&p, 1, kPatience_ms) != 1) return {};
      if (const auto batch = batch_->receive(); !batch.empty()) return batch;
    }
  }
  // The request's octets, every bit turned over.
  static void answer(Datagram& d) {
    for (std::size_t i = 0; i < d.request.size(); ++i) {
      d.reply_room[i] = static_cast<std::uint8_t>(~d.request[i]);
    }
    d.reply_length = d.request.size();
  }
  void expect_all_accounted() const {
    batch_->receive();
    const XdpChunks c = interface_->chunks();
    EXPECT_EQ(c.free + c.to_fill, c.all) << c.held << " held, " << c.to_transmit << " to transmit";
    EXPECT_EQ(interface_->status().strays, 0U);
  }

  std::optional<bench::NetworkNamespaces> net_;
  int client_ = -1, client6_ = -1, wire_ = -1;
  MacAddress client_mac_{}, server_mac_{};
  std::unique_ptr<XdpInterface> interface_;
  std::unique_ptr<UdpBatch> batch_;
};

TEST_P(XdpTest, AnswersBothFamiliesWithTimes) {
  for (const auto& [socket, address, peer] :
       {std::tuple{client_, "192.0.2.1", "192.0.2.2"}, {client6_, "2001:db8::1", "2001:db8::2"}}) {
    const KernelTime before = now();
    send(socket, at(address, kPort), "time?");
    const auto batch = next();
    ASSERT_EQ(batch.size(), 1U);
    Datagram& d = batch[0];
    EXPECT_EQ(std::string(d.request.begin(), d.request.end()), "time?");
    EXPECT_EQ(d.local.to_string(), address);
    EXPECT_EQ(d.peer.address.to_string(), peer);
    EXPECT_TRUE(d.kernel_timestamp);
    EXPECT_EQ(d.receive_late, Duration(GetParam() == XdpMode::kNative ? 0 : 2000));
    EXPECT_GE(d.receive_time - before, Duration(-2000));  // two clocks' readings: not strictly
    EXPECT_LE(d.receive_time, now());
    EXPECT_EQ(d.reply_room.size(), d.request.size());
    answer(d);
    d.want_transmit_time = true;
    d.transmit_key = 7;
    const KernelTime stamped = now();
    batch_->send(batch);
    const auto times = batch_->transmit_times();
    ASSERT_EQ(times.size(), 1U);
    EXPECT_EQ(times[0].key, 7U);
    EXPECT_GE(times[0].time, stamped);
    EXPECT_LE(times[0].time, now());
    EXPECT_TRUE(batch_->transmit_times().empty());
    EXPECT_EQ(received(socket), "\x8b\x96\x92\x9a\xc0");
  }
  EXPECT_EQ(interface_->status().taken, 2U);
  EXPECT_EQ(interface_->status().received, 2U);
  EXPECT_EQ(interface_->status().sent, 2U);
  expect_all_accounted();
}

TEST_P(XdpTest, WhatIsNotAnsweredIsFreeAgain) {
  for (int round = 0; round < 100; ++round) {
    for (int i = 0; i < 60; ++i) send(client_, at("192.0.2.1", kPort), std::to_string(i));
    std::size_t seen = 0;
    while (seen < 60) {
      const auto batch = next();
      ASSERT_FALSE(batch.empty());
      for (Datagram& d : batch) {
        if (++seen % 3 == 0) answer(d);
      }
      // In parts, as a shard does.
      batch_->send(batch.first(batch.size() / 2));
      batch_->send(batch.subspan(batch.size() / 2));
    }
  }
  EXPECT_EQ(interface_->status().received, 6000U);
  EXPECT_EQ(interface_->status().sent, 2000U);
  expect_all_accounted();
}

// What has come and is not received yet leaves the kernel as many chunks for more.
TEST_P(XdpTest, HalfAThousandMayComeBetweenTwoLooks) {
  constexpr std::uint64_t kMany = 512;
  for (std::uint64_t looks = 1; looks <= 2; ++looks) {
    for (std::uint64_t i = 0; i < kMany; ++i) send(client_, at("192.0.2.1", kPort), "x");
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatience_ms);
    while (interface_->status().taken < looks * kMany && std::chrono::steady_clock::now() < until) {
      std::this_thread::yield();
    }
    ASSERT_FALSE(batch_->receive().empty());
  }
  while (!batch_->receive().empty()) {
  }
  const XdpStatus s = interface_->status();
  EXPECT_EQ(s.received, 2 * kMany);
  EXPECT_EQ(s.fill_starved + s.ring_full, 0U);
  expect_all_accounted();
}

TEST_P(XdpTest, NobodyReceivesSoTheKernelDoes) {
  for (int i = 0; i < 5; ++i) {
    send(client_, at("192.0.2.1", kPort), "x");
    const std::string line = interface_->tick();
    EXPECT_EQ(line.empty(), i != 2) << i << ": " << line;
    EXPECT_EQ(interface_->status().taking, i < 2);
  }
  EXPECT_EQ(interface_->status().taken, 3U);
}

TEST_P(XdpTest, SilenceAndWorkAreNoReasonToFallBack) {
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(interface_->tick(), "");
    if (i % 2 == 0) continue;
    send(client_, at("192.0.2.1", kPort), "x");
    ASSERT_FALSE(next().empty());
  }
  EXPECT_TRUE(interface_->status().taking);
}

TEST_P(XdpTest, SecondOneIsTold) {
  const auto second = XdpInterface::open({"server", GetParam(), {at("0.0.0.0", kPort)}});
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("another XDP program is attached there"), std::string::npos)
      << second.error().message;
}

// ---- Frames at random.

// Mutations of good frames, with addresses and lengths that look right more often than not.
class Frames {
 public:
  Frames(const MacAddress& from, const MacAddress& to) : from_(from), to_(to) {}

  std::vector<std::uint8_t> next() {
    const bool v4 = below(2) == 0;
    UdpFlow flow;
    flow.peer_mac = to_;
    flow.local_mac = from_;
    flow.peer = at(v4 ? "192.0.2.1" : "2001:db8::1", kPort);
    flow.local = at(v4 ? "192.0.2.2" : "2001:db8::2", static_cast<std::uint16_t>(below(65536)));
    room_.resize(kMaxFrameHeaders + below(below(8) == 0 ? 1400 : 300));
    for (std::uint8_t& octet : room_) octet = static_cast<std::uint8_t>(random_());
    const MutableBytes frame = write_udp_frame(flow, room_);
    std::vector<std::uint8_t> out(frame.begin(), frame.end());
    // A third is good; of the others each has some octets changed behind the MACs, or another
    // length.
    for (std::uint32_t n = below(3) == 0 ? 0 : below(4); n > 0; --n) {
      out[12 + below(static_cast<std::uint32_t>(out.size()) - 12)] ^=
          static_cast<std::uint8_t>(random_());
    }
    if (below(8) == 0) out.resize(14 + below(static_cast<std::uint32_t>(out.size())));
    return out;
  }

 private:
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(random_()) % n; }

  MacAddress from_, to_;
  std::mt19937 random_{20261126};
  std::vector<std::uint8_t> room_;
};

// So many at once: what the rings hold for certain.
constexpr std::size_t kBurst = 512;

TEST_P(XdpTest, RandomFramesLeaveEveryChunkAccounted) {
  const char* const wanted = std::getenv("TIMEBALL_XDP_FRAMES");
  const std::size_t total = wanted != nullptr ? std::stoull(wanted) : 200'000;
  Frames frames(client_mac_, server_mac_);
  std::size_t n = 0;
  for (std::size_t sent = 0; sent < total; sent += kBurst) {
    std::array<std::vector<std::uint8_t>, kBurst> burst;
    std::array<iovec, kBurst> vectors;
    std::array<mmsghdr, kBurst> messages{};
    for (std::size_t i = 0; i < kBurst; ++i) {
      burst[i] = frames.next();
      vectors[i] = {burst[i].data(), burst[i].size()};
      messages[i].msg_hdr.msg_iov = &vectors[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    ASSERT_EQ(sendmmsg(wire_, messages.data(), kBurst, 0), static_cast<int>(kBurst));
    for (;;) {
      const auto batch = batch_->receive();
      if (batch.empty()) break;
      for (Datagram& d : batch) {
        if (++n % 3 != 0) answer(d);
      }
      batch_->send(batch);
    }
  }
  pollfd p{batch_->wait_handle(), POLLIN, 0};
  while (poll(&p, 1, 200) == 1) batch_->receive();
  const XdpStatus s = interface_->status();
  EXPECT_EQ(s.taken, s.received + s.bad_checksum + s.malformed + s.ring_full + s.fill_starved);
  EXPECT_GT(s.received, total / 4);
  EXPECT_GT(s.bad_checksum, total / 20);
  EXPECT_GT(s.malformed, 0U);
  expect_all_accounted();
}

INSTANTIATE_TEST_SUITE_P(Modes, XdpTest, testing::Values(XdpMode::kNative, XdpMode::kGeneric),
                         [](const auto& i) {
                           return i.param == XdpMode::kNative ? "native" : "generic";
                         });

}  // namespace
}  // namespace timeball::net
