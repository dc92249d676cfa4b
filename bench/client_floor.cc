// What ntsload's NTP client costs beyond a bare socket client: CPU time per request and reply.
//
// The two take turns against one NTS server, with the same sockets, batches, window and requests on
// the wire. The bare client sends requests that were made beforehand and looks at no reply; the
// other is `ntsload ntp`: makes and seals each request, keeps it, checks every reply, verifies one
// authenticator in 16, records the times. The server does the same for both. What counts is the
// difference within a round.
#include <spdlog/fmt/fmt.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <future>
#include <latch>

#include "bench/ntp_load.h"
#include "common/base/cpus.h"
#include "common/crypto/entropy.h"
#include "common/nts/ke_record.h"

namespace timeball::bench {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kBatch = net::kBatchCapacity;
constexpr std::size_t kAssociations = 100;
constexpr unsigned kSockets = 8;
constexpr auto kWarmUp = 200ms;

class BareClient {
 public:
  explicit BareClient(const std::vector<KeAssociation>& associations)
      : server_(associations.front().ntp_server), poll_(epoll_create1(EPOLL_CLOEXEC)) {
    crypto::Engine engine;
    crypto::RandomGenerator random = crypto::seeded_generator();
    for (KeAssociation a : associations) {
      requests_.push_back(
          or_throw(nts::make_nts_request(a.association, {}, engine, random)).packet);
    }
    for (unsigned i = 0; i < kSockets; ++i) {
      const int socket = or_throw(net::open_client_socket(server_.family()));
      sockets_.push_back(or_throw(net::make_udp_batch(socket, net::IoBackend::kAuto)));
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u32 = i;
      epoll_ctl(poll_, EPOLL_CTL_ADD, sockets_.back()->wait_handle(), &event);
    }
  }
  ~BareClient() { close(poll_); }
  BareClient(const BareClient&) = delete;
  BareClient& operator=(const BareClient&) = delete;

  // Replies within the window of time.
  std::uint64_t run(const Window& time, std::size_t window) {
    std::uint64_t replies = 0;
    std::size_t under_way = 0;
    for (SteadyTime now = Clock::now(); now < time.end; now = Clock::now()) {
      if (under_way < window) {
        const std::size_t count = std::min(kBatch, window - under_way);
        send(count);
        under_way += count;
      }
      const std::size_t received = receive();
      if (received == 0) under_way = 0;  // lost
      under_way -= std::min(under_way, received);
      if (time.contains(now)) replies += received;
    }
    return replies;
  }

 private:
  void send(std::size_t count) {
    net::UdpBatch& socket = *sockets_[next_socket_++ % kSockets];
    const auto datagrams = socket.compose(count);
    for (net::Datagram& datagram : datagrams) {
      const auto& request = requests_[next_request_++ % requests_.size()];
      datagram.peer = server_;
      datagram.reply_length = request.size();
      std::ranges::copy(request, datagram.reply_room.begin());
    }
    socket.send(datagrams);
  }

  std::size_t receive() {
    std::array<epoll_event, kSockets> ready;
    const timespec patience{0, 10'000'000};
    const int count = epoll_pwait2(poll_, ready.data(), ready.size(), &patience, nullptr);
    std::size_t received = 0;
    for (int i = 0; i < count; ++i) {
      received += sockets_[ready[static_cast<std::size_t>(i)].data.u32]->receive().size();
    }
    return received;
  }

  const net::Endpoint server_;
  const int poll_;
  std::vector<std::vector<std::uint8_t>> requests_;
  std::vector<std::unique_ptr<net::UdpBatch>> sockets_;
  std::size_t next_socket_ = 0;
  std::size_t next_request_ = 0;
};

struct Options {
  std::string host;
  unsigned rounds = 5;
  double seconds = 1;
  std::size_t window = 64;
  std::uint16_t aead = 15;
  bool own_server = false;
};

Duration length(const Options& options) {
  return Duration(std::llround(options.seconds * 1e9));
}

// Microseconds of CPU per request and reply.
double bare_cost(BareClient& client, const Options& options) {
  const SteadyTime begin = Clock::now() + kWarmUp;
  Timeline timeline({begin, begin + length(options)});
  std::latch metered(1);
  const auto cpu = usable_cpu(0);
  auto thread = std::async(std::launch::async, [&] {
    if (cpu) pin_to_cpu(*cpu);
    const std::uint64_t replies = client.run(timeline.window(), options.window);
    metered.wait();
    return replies;
  });
  CpuMeter meter(std::nullopt);
  Progress silent(false);
  const auto watched = watch(timeline, meter, silent);
  metered.count_down();
  if (!watched) throw std::runtime_error(watched.error().message);
  LoadReport report;
  report.seconds = options.seconds;
  report.done = thread.get();
  meter.fill(report);
  return report.client_cpu_us;
}

double gun_cost(NtpLoad& load, const Options& options) {
  CpuMeter meter(std::nullopt);
  Progress silent(false);
  const auto hit =
      or_throw(load.shoot({0, options.window, kWarmUp, length(options)}, meter, silent));
  LoadReport report;
  report.seconds = hit->seconds;
  report.done = hit->tally.done();
  meter.fill(report);
  return report.client_cpu_us;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void compare(const Options& options, const std::vector<KeAssociation>& associations) {
  NtpGunOptions gun;
  gun.verify.all_up_to = 0;
  gun.sockets = kSockets;
  gun.capacity = 1 << 18;
  const auto load = or_throw(NtpLoad::make(gun, 1, associations));
  BareClient bare(associations);
  std::vector<double> floor, whole, beyond;
  for (unsigned round = 0; round < options.rounds; ++round) {
    floor.push_back(bare_cost(bare, options));
    whole.push_back(gun_cost(*load, options));
    beyond.push_back(whole.back() - floor.back());
    fmt::print("round {}: bare {:.3f} us, ntsload {:.3f} us, beyond it {:.3f} us\n", round + 1,
               floor.back(), whole.back(), beyond.back());
  }
  fmt::print("{:<8} bare {:.3f} us, ntsload {:.3f} us, beyond it {:.3f} us\n", "min",
             std::ranges::min(floor), std::ranges::min(whole),
             std::ranges::min(whole) - std::ranges::min(floor));
  fmt::print("{:<8} bare {:.3f} us, ntsload {:.3f} us, beyond it {:.3f} us\n", "median",
             median(floor), median(whole), median(beyond));
}

int client_floor_main(int argc, char** argv) {
  CLI::App app("What ntsload's NTP client costs beyond a bare socket client", "client_floor");
  Options options;
  app.add_option("HOST", options.host, "The NTS-KE server: HOST[:PORT]")->required();
  app.add_option("--rounds", options.rounds, "Rounds of both in turn")->check(CLI::Range(1, 1000));
  app.add_option("--seconds", options.seconds, "Of each")->check(CLI::Range(0.05, 60.0));
  app.add_option("--window", options.window, "Requests always under way")
      ->check(CLI::Range(1, 4096));
  app.add_option("--aead", options.aead, "By its IANA number")
      ->check(CLI::IsMember({15, 16, 17, 30}));
  app.add_flag("--i-own-this-server", options.own_server, "Aim at another machine");
  CLI11_PARSE(app, argc, argv);
  const LoadTarget target = or_throw(find_target(options.host, nts::kKePort, options.own_server));
  KeClientOptions ke;
  ke.request.aeads = {options.aead};
  compare(options, or_throw(establish(target, ke, kAssociations, options.own_server)));
  return 0;
}

}  // namespace
}  // namespace timeball::bench

int main(int argc, char** argv) {
  try {
    return timeball::bench::client_floor_main(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "client_floor: %s\n", e.what());
    return 1;
  }
}
