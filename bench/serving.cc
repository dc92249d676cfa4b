// What serving costs beyond the transport, and how far T3 is from the wire: a shard of the daemon
// and the bare echo in turn, over each back end, with one client on another CPU.
//
// For each run: replies a second; CPU time of the serving thread for each reply; busy time of its
// CPU, softirq included; and the receive time of the client's kernel minus T3, one clock. Requests
// are NTS (AEAD 15, one cookie back) of as many associations as asked for. With --veth the client
// sits in a network namespace of its own.
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "bench/echo_server.h"
#include "bench/histogram.h"
#include "bench/network_namespaces.h"
#include "common/base/cpus.h"
#include "common/nts/client.h"
#include "common/nts/cookie.h"
#include "server/clocks.h"
#include "server/shard.h"

namespace {

using namespace timeball;

struct Options {
  unsigned rounds = 5;
  double seconds = 1;
  std::size_t associations = 1000;
  std::vector<std::size_t> windows = {1, 256};  // requests under way
  std::vector<std::string> backends = {"mmsg", "io_uring"};
  unsigned server_cpu = 0;
  unsigned client_cpu = 1;
  bool veth = false;
  bool scaling = false;
  bool steer = false;
};

const std::map<std::string, net::IoBackend> kBackends = {{"auto", net::IoBackend::kAuto},
                                                         {"mmsg", net::IoBackend::kMmsg},
                                                         {"io_uring", net::IoBackend::kIoUring}};

void pin(unsigned cpu) {
  if (pin_to_cpu(cpu)) return;
  throw std::runtime_error("there is no CPU " + std::to_string(cpu) + " to pin a thread to");
}

Duration cpu_time(pthread_t thread) {
  clockid_t clock{};
  pthread_getcpuclockid(thread, &clock);
  return Duration(server::read_clock_ns(clock));
}

// All but idle and iowait of one CPU, in seconds; the kernel counts in ticks.
double busy_time(unsigned cpu) {
  std::ifstream stat("/proc/stat");
  const std::string wanted = "cpu" + std::to_string(cpu);
  for (std::string name; stat >> name; std::getline(stat, name)) {
    if (name != wanted) continue;
    std::array<double, 8> ticks{};  // user nice system idle iowait irq softirq steal
    for (double& t : ticks) stat >> t;
    const double busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
    return busy / static_cast<double>(sysconf(_SC_CLK_TCK));
  }
  return 0;
}

nts::MasterKeySecret master_key(std::uint8_t fill) {
  std::array<std::uint8_t, nts::kMasterKeyLength> octets{};
  octets.fill(fill);
  return nts::MasterKeySecret(octets);
}

// What the shard serves from, and the requests of its clients.
struct World {
  explicit World(std::size_t associations) {
    ClockState state;
    state.as_of = state.reference_time = server::read_kernel_time();
    state.leap = LeapIndicator::kNone;
    state.stratum = 1;
    clock.store(state);
    crypto::Engine engine;
    for (std::size_t i = 0; i < associations; ++i) {
      nts::ClientAssociation a;
      random.fill(a.keys.c2s.resize(32));
      random.fill(a.keys.s2c.resize(32));
      std::vector<std::uint8_t> cookie(nts::cookie_length(a.keys.aead));
      nts::SealCookieJob job{&a.keys, cookie};
      if (!nts::seal_cookies(*keys.current(), engine, random, {&job, 1})) std::abort();
      a.cookies.push_back(cookie);
      requests.push_back(or_throw(nts::make_nts_request(a, {}, engine, random)).packet);
    }
  }

  crypto::RandomGenerator random{std::array<std::uint8_t, crypto::kSeedLength>{3}};
  Seqlock<ClockState> clock{ClockState{}};
  Published<nts::KeyRing> keys{
      std::make_shared<const nts::KeyRing>(nts::KeyRing::create(1, master_key(1), master_key(2)))};
  Published<server::AccessPolicy> access{std::make_shared<const server::AccessPolicy>()};
  std::vector<std::vector<std::uint8_t>> requests;
};

// Keeps `window` requests under way.
class Client {
 public:
  Client(const World& world, const net::Endpoint& server, std::size_t window)
      : requests_(world.requests),
        server_(server),
        window_(window),
        batch_(or_throw(net::make_udp_batch(or_throw(net::open_client_socket(AF_INET)),
                                            net::IoBackend::kMmsg))) {}

  // Until `end`. Returns the replies received. With more than one under way it never sleeps: to
  // wake it would be part of the server's send, and tens of microseconds on a virtual machine.
  std::uint64_t run(MonotonicTime end, bench::Histogram& t3_to_wire) {
    constexpr int kPatience_ms = 20;
    std::uint64_t replies = 0;
    while (server::read_monotonic_time() < end) {
      pollfd handle{batch_->wait_handle(), POLLIN, 0};
      if (window_ == 1 && under_way_ == 1) poll(&handle, 1, kPatience_ms);
      replies += turn(t3_to_wire);
    }
    return replies;
  }

  // Takes the replies that are there, and sends as many requests. Never waits.
  std::size_t turn(bench::Histogram& t3_to_wire) {
    constexpr Duration kLost = std::chrono::milliseconds(20);
    const auto got = batch_->receive();
    for (const net::Datagram& d : got) note(d, t3_to_wire);
    const std::size_t replies = got.size();
    under_way_ -= std::min(under_way_, replies);
    const MonotonicTime now = server::read_monotonic_time();
    if (replies > 0) last_reply_ = now;
    if (now - last_reply_ > kLost) {
      under_way_ = 0;
      last_reply_ = now;
    }
    send(window_ - under_way_);
    under_way_ = window_;
    return replies;
  }

 private:
  void send(std::size_t count) {
    while (count > 0) {
      const auto part = batch_->compose(std::min(count, net::kBatchCapacity));
      for (net::Datagram& d : part) {
        const Bytes request = requests_[next_++ % requests_.size()];
        std::ranges::copy(request, d.reply_room.begin());
        d.reply_length = request.size();
        d.peer = server_;
      }
      batch_->send(part);
      count -= part.size();
    }
  }

  // The echo's T3 is no time at all, and its figure means nothing.
  static void note(const net::Datagram& d, bench::Histogram& t3_to_wire) {
    const NtpTimestamp t3{load_be64(d.request.data() + ntp::kTransmitOffset)};
    const UtcTime arrived{d.receive_time.ns};
    t3_to_wire.record(arrived - t3.utc_near(arrived));
  }

  const std::vector<std::vector<std::uint8_t>>& requests_;
  net::Endpoint server_;
  std::size_t window_;
  std::size_t next_ = 0;
  std::size_t under_way_ = 0;
  MonotonicTime last_reply_;
  std::unique_ptr<net::UdpBatch> batch_;
};

struct Figures {
  double per_second = 0;
  double cpu_us = 0;                                // of the serving thread, a reply
  double busy_us = 0;                               // of its CPU, a reply
  double first_us = 0, median_us = 0, last_us = 0;  // T3 to wire: 1st, 50th, 99th percentile
};

double us(Duration d) {
  return static_cast<double>(d.count()) / 1000;
}

Figures measure(const Options& options, Client& client, pthread_t server) {
  const auto length = Duration(static_cast<std::int64_t>(options.seconds * 1e9));
  bench::Histogram warming_up;
  client.run(server::read_monotonic_time() + length / 4, warming_up);

  bench::Histogram t3_to_wire;
  const Duration cpu = cpu_time(server);
  const double busy = busy_time(options.server_cpu);
  const auto replies = client.run(server::read_monotonic_time() + length, t3_to_wire);
  if (replies == 0) throw std::runtime_error("no reply came");
  const auto n = static_cast<double>(replies);
  return {n / options.seconds,
          us(cpu_time(server) - cpu) / n,
          (busy_time(options.server_cpu) - busy) * 1e6 / n,
          us(t3_to_wire.quantile(0.01)),
          us(t3_to_wire.quantile(0.5)),
          us(t3_to_wire.quantile(0.99))};
}

// A server that runs while `body` does, on a thread of its own.
using Served = std::function<Figures(pthread_t)>;

Figures with_echo(const Options&, const net::Endpoint& local, net::IoBackend backend,
                  const Served& body) {
  auto batch = or_throw(net::make_udp_batch(or_throw(net::open_udp_socket(local)), backend));
  std::atomic<bool> stop{false};
  std::thread thread([&] {
    pthread_setname_np(pthread_self(), "echo");
    bench::echo(*batch, stop);
    batch.reset();  // by its owner
  });
  const struct Stop {
    std::atomic<bool>& stop;
    std::thread& thread;
    ~Stop() {
      stop = true;
      thread.join();
    }
  } at_end{stop, thread};
  return body(thread.native_handle());
}

Figures with_shard(const Options& options, const net::Endpoint& local, net::IoBackend backend,
                   const World& world, const Served& body) {
  server::ShardOptions shard_options;
  shard_options.listen = {local};
  shard_options.io = backend;
  shard_options.cpu = options.server_cpu;
  server::Shard shard(shard_options, {world.clock, world.keys, world.access});
  shard.start();
  return body(shard.thread());
}

void print(const char* server, const std::string& backend, std::size_t window, const Figures& f) {
  std::printf("%-6s %-9s %6zu %11.0f %9.3f %9.3f", server, backend.c_str(), window, f.per_second,
              f.cpu_us, f.busy_us);
  if (server[0] == 's') std::printf(" %9.2f %8.2f %8.2f", f.first_us, f.median_us, f.last_us);
  std::printf("\n");
  std::fflush(stdout);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void run(const Options& options) {
  const World world(options.associations);
  const bench::NetworkNamespaces networks(options.veth);
  std::map<std::string, std::vector<double>> ratios;
  std::printf(
      "server backend   window   replies/s  CPU us/r busy us/r  T3-wire 1%%      50%%      99%%\n");
  for (unsigned round = 0; round < options.rounds; ++round) {
    for (const std::string& backend : options.backends) {
      for (const std::size_t window : options.windows) {
        std::uint16_t port = 20123;
        const auto serve = [&](const auto& with, auto&&... more) {
          // The threads of the server begin where this one is.
          networks.enter_server();
          pin(options.server_cpu);
          const net::Endpoint local{networks.server_address(), port++, 0};
          return with(options, local, kBackends.at(backend), more..., [&](pthread_t thread) {
            networks.enter_client();
            pin(options.client_cpu);
            Client client(world, local, window);
            return measure(options, client, thread);
          });
        };
        const Figures echo = serve(with_echo);
        print("echo", backend, window, echo);
        const Figures shard = serve(with_shard, world);
        print("shard", backend, window, shard);
        ratios[backend + ", window " + std::to_string(window)].push_back(shard.cpu_us /
                                                                         echo.cpu_us);
      }
    }
  }
  for (const auto& [name, of] : ratios) {
    std::printf("%s: shard / echo, CPU a reply: min %.3f, median %.3f of %zu\n", name.c_str(),
                std::ranges::min(of), median(of), of.size());
  }
}

// ---- As many shards as CPUs beside one.

// Clients of many flows on one CPU, until `end`; they share it with a shard.
std::uint64_t crowd(const World& world, const net::Endpoint& server, unsigned cpu,
                    MonotonicTime end) {
  constexpr std::size_t kFlows = 16;
  constexpr std::size_t kWindow = 16;
  pin(cpu);
  std::vector<std::unique_ptr<Client>> clients(kFlows);
  for (auto& client : clients) client = std::make_unique<Client>(world, server, kWindow);
  bench::Histogram unused;
  std::uint64_t replies = 0;
  while (server::read_monotonic_time() < end) {
    std::size_t came = 0;
    for (auto& client : clients) came += client->turn(unused);
    if (came == 0) sched_yield();
    replies += came;
  }
  return replies;
}

// CPU time of the shards' threads for each reply, in us, under the same crowd on both CPUs.
double shards_cost(const Options& options, const World& world, const net::Endpoint& local,
                   net::IoBackend backend, unsigned count) {
  const std::array<unsigned, 2> cpus = {options.server_cpu, options.client_cpu};
  std::vector<std::unique_ptr<server::Shard>> shards;
  for (unsigned i = 0; i < count; ++i) {
    server::ShardOptions shard_options;
    shard_options.listen = {local};
    shard_options.io = backend;
    shard_options.cpu = cpus[i];
    if (options.steer) shard_options.steer_by_cpu.assign(cpus.begin(), cpus.begin() + count);
    shards.push_back(std::make_unique<server::Shard>(
        shard_options, server::Publications{world.clock, world.keys, world.access}));
  }
  for (const auto& shard : shards) shard->start();
  const auto length = Duration(static_cast<std::int64_t>(options.seconds * 1e9));
  const MonotonicTime end = server::read_monotonic_time() + length;
  std::uint64_t other = 0;
  std::thread thread([&] { other = crowd(world, local, cpus[1], end); });
  const std::uint64_t replies = crowd(world, local, cpus[0], end);
  thread.join();
  if (replies + other == 0) throw std::runtime_error("no reply came");
  Duration cpu{};
  for (const auto& shard : shards) cpu += cpu_time(shard->thread());
  return us(cpu) / static_cast<double>(replies + other);
}

void run_scaling(const Options& options) {
  const World world(options.associations);
  std::uint16_t port = 20123;
  for (const std::string& backend : options.backends) {
    std::vector<double> ratios;
    for (unsigned round = 0; round < options.rounds; ++round) {
      std::array<double, 2> cost{};
      for (unsigned count : {1U, 2U}) {
        const net::Endpoint local{net::IpAddress::from_v4(INADDR_LOOPBACK), port++, 0};
        cost[count - 1] = shards_cost(options, world, local, kBackends.at(backend), count);
      }
      std::printf("%s: CPU us a reply: one shard %.3f, two %.3f\n", backend.c_str(), cost[0],
                  cost[1]);
      ratios.push_back(cost[1] / cost[0]);
    }
    std::printf("%s: two shards / one, CPU a reply: min %.3f, median %.3f of %zu\n",
                backend.c_str(), std::ranges::min(ratios), median(ratios), ratios.size());
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"serving: the cost of a shard beside the bare echo, and from T3 to the wire."};
  app.add_option("--rounds", options.rounds)->capture_default_str();
  app.add_option("--seconds", options.seconds, "of each run")->capture_default_str();
  app.add_option("--associations", options.associations)->capture_default_str();
  app.add_option("--windows", options.windows, "requests under way; 1: one at a time")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--backends", options.backends)
      ->delimiter(',')
      ->check(CLI::IsMember(kBackends))
      ->capture_default_str();
  app.add_option("--server-cpu", options.server_cpu)->capture_default_str();
  app.add_option("--client-cpu", options.client_cpu)->capture_default_str();
  app.add_flag("--veth", options.veth, "over a veth pair between two network namespaces");
  app.add_flag("--scaling", options.scaling,
               "instead: two shards, one on each CPU, beside one shard, clients on both CPUs");
  app.add_flag("--steer", options.steer, "with --scaling: requests go to the shard on their CPU");
  CLI11_PARSE(app, argc, argv);
  try {
    options.scaling ? run_scaling(options) : run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "serving: %s\n", error.what());
    return 1;
  }
  return 0;
}
