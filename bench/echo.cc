// The bare transport echo as a server of its own: timeballd's sockets, AF_XDP and batches, nothing
// else.
#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "bench/echo_server.h"
#include "common/base/cpus.h"
#include "common/net/udp_batch.h"
#include "common/net/xdp_interface.h"

namespace {

using namespace timeball;

std::atomic<bool> stop{false};

struct Options {
  std::string listen = "127.0.0.1:11123";
  net::IoBackend backend = net::IoBackend::kMmsg;
  unsigned threads = 1;
  std::vector<unsigned> cpus;
  std::string xdp_interface;
  bool ntp = false;
};

void serve(const Options& options) {
  constexpr auto kTick = std::chrono::seconds(1);
  const auto local = or_throw(net::Endpoint::parse(options.listen));
  std::vector<std::unique_ptr<net::UdpBatch>> batches;
  for (unsigned i = 0; i < options.threads; ++i) {
    batches.push_back(
        or_throw(net::make_udp_batch(or_throw(net::open_udp_socket(local)), options.backend)));
  }
  std::unique_ptr<net::XdpInterface> xdp;
  if (!options.xdp_interface.empty()) {
    xdp = or_throw(net::XdpInterface::open({options.xdp_interface, net::XdpMode::kAuto, {local}}));
    for (auto& batch : xdp->batches()) batches.push_back(std::move(batch));
  }
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < batches.size(); ++i) {
    threads.emplace_back([&, i] {
      if (!options.cpus.empty()) pin_to_cpu(options.cpus[i % options.cpus.size()]);
      bench::echo(*batches[i], stop, options.ntp ? bench::answer_as_ntp : bench::copy_request);
      batches[i].reset();
    });
  }
  std::printf("echo on %s\n", local.to_string().c_str());
  std::fflush(stdout);
  while (xdp && !stop) {
    std::this_thread::sleep_for(kTick);
    xdp->tick();
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  const std::map<std::string, net::IoBackend> backends = {{"auto", net::IoBackend::kAuto},
                                                          {"mmsg", net::IoBackend::kMmsg},
                                                          {"io_uring", net::IoBackend::kIoUring}};
  CLI::App app{"echo: sends every UDP datagram back, until SIGTERM or SIGINT."};
  app.add_option("--listen", options.listen, "IP:PORT")->capture_default_str();
  app.add_option("--backend", options.backend, "auto, mmsg or io_uring")
      ->transform(CLI::CheckedTransformer(backends));
  app.add_option("--threads", options.threads, "each with a socket of its own")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--cpus", options.cpus, "CPUs to pin the threads to, in turn")->delimiter(',');
  app.add_option("--xdp", options.xdp_interface,
                 "past the sockets on this interface, a thread for each of its queues");
  app.add_flag("--ntp", options.ntp, "send the least NTP reply there is instead");
  CLI11_PARSE(app, argc, argv);
  struct sigaction action {};
  action.sa_handler = [](int) { stop = true; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  try {
    serve(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "echo: %s\n", error.what());
    return 1;
  }
  return 0;
}
