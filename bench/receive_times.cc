// How much earlier an XDP program sees a datagram than its socket's receive timestamp says: both of
// the same datagrams, over a veth pair, in native and in generic mode. Takes root.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <stdexcept>
#include <vector>

#include "bench/network_namespaces.h"
#include "bench/receive_times.skel.h"
#include "common/net/tai_offset.h"
#include "common/net/udp_batch.h"

namespace {

using namespace timeball;

constexpr std::uint16_t kPort = 10123;
constexpr std::size_t kSockets = 64;

struct Probe {
  explicit Probe(const char* device, bool generic) : program(receive_times__open_and_load()) {
    if (program == nullptr) throw std::runtime_error("cannot load the XDP program: run it as root");
    bpf_link_create_opts with{};
    with.sz = sizeof with;
    with.flags = generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;
    link = bpf_link_create(bpf_program__fd(program->progs.note),
                           static_cast<int>(if_nametoindex(device)), BPF_XDP, &with);
    if (link < 0) throw std::runtime_error("cannot attach the XDP program");
  }
  ~Probe() {
    close(link);
    receive_times__destroy(program);
  }
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  receive_times* program;
  int link = -1;
};

// Socket minus XDP, in nanoseconds.
std::vector<std::int64_t> measure(std::size_t count, bool generic) {
  const bench::NetworkNamespaces namespaces(true);
  namespaces.enter_client();
  std::vector<int> clients;
  const net::Endpoint to{namespaces.server_address(), kPort, 0};
  sockaddr_storage address;
  const socklen_t length = to.to_sockaddr(address);
  for (std::size_t i = 0; i < kSockets; ++i) {
    clients.push_back(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  }
  namespaces.enter_server();
  const Probe probe("server", generic);
  const auto server = net::open_udp_socket(to);
  if (!server) throw std::runtime_error(server.error().message);
  const auto batch = net::make_udp_batch(*server, net::IoBackend::kMmsg).value();
  std::vector<std::int64_t> later;
  for (std::size_t sent = 0; later.size() < count && sent < 2 * count; ++sent) {
    sendto(clients[sent % kSockets], "time?", 5, 0, reinterpret_cast<const sockaddr*>(&address),
           length);
    pollfd p{*server, POLLIN, 0};
    if (poll(&p, 1, 100) != 1) continue;
    for (const net::Datagram& d : batch->receive()) {
      const auto seen = static_cast<std::int64_t>(probe.program->bss->seen[d.peer.port]);
      later.push_back(d.receive_time.ns - (seen - net::tai_offset().count()));
    }
  }
  for (const int client : clients) close(client);
  std::ranges::sort(later);
  return later;
}

void report(const char* mode, const std::vector<std::int64_t>& sorted) {
  const auto at = [&](double q) {
    return static_cast<double>(sorted[static_cast<std::size_t>(q * (double(sorted.size()) - 1))]) *
           1e-3;
  };
  std::printf("| %s | %zu | %.2f | %.2f | %.2f | %.2f | %.2f |\n", mode, sorted.size(), at(0),
              at(0.01), at(0.5), at(0.99), at(1));
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t count = 20'000;
  CLI::App app{"How much earlier XDP sees a datagram than its socket's timestamp says"};
  app.add_option("--datagrams", count, "so many in each mode")->check(CLI::Range(100, 10'000'000));
  CLI11_PARSE(app, argc, argv);
  try {
    std::printf(
        "| socket - XDP, us | datagrams | min | 1 %% | median | 99 %% | max "
        "|\n|---|---|---|---|---|---|---|\n");
    for (const bool generic : {false, true}) {
      const std::vector<std::int64_t> later = measure(count, generic);
      if (later.empty()) throw std::runtime_error("nothing arrived");
      report(generic ? "generic" : "native", later);
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "receive_times: %s\n", error.what());
    return 1;
  }
}
