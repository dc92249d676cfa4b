// The bare transport echo as a server of its own: timeballd's sockets and batches, nothing else.
#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "bench/echo_server.h"
#include "common/base/cpus.h"
#include "common/net/udp_batch.h"

namespace {

using namespace timeball;

std::atomic<bool> stop{false};

struct Options {
  std::string listen = "127.0.0.1:11123";
  net::IoBackend backend = net::IoBackend::kMmsg;
  unsigned threads = 1;
  std::vector<unsigned> cpus;
};

int serve(const Options& options) {
  const auto local = net::Endpoint::parse(options.listen);
  if (!local) {
    std::fprintf(stderr, "echo: %s\n", local.error().message.c_str());
    return 1;
  }
  std::vector<std::unique_ptr<net::UdpBatch>> batches;
  for (unsigned i = 0; i < options.threads; ++i) {
    auto batch = net::open_udp_socket(*local).and_then(
        [&](int socket) { return net::make_udp_batch(socket, options.backend); });
    if (!batch) {
      std::fprintf(stderr, "echo: %s\n", batch.error().message.c_str());
      return 1;
    }
    batches.push_back(std::move(*batch));
  }
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < options.threads; ++i) {
    threads.emplace_back([&, i] {
      if (!options.cpus.empty()) pin_to_cpu(options.cpus[i % options.cpus.size()]);
      bench::echo(*batches[i], stop);
      batches[i].reset();
    });
  }
  std::printf("echo on %s\n", local->to_string().c_str());
  std::fflush(stdout);
  for (std::thread& thread : threads) thread.join();
  return 0;
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
  CLI11_PARSE(app, argc, argv);
  struct sigaction action {};
  action.sa_handler = [](int) { stop = true; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  return serve(options);
}
