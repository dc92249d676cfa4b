#include "server/ke_service.h"

#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <iterator>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/cpus.h"
#include "common/crypto/entropy.h"
#include "server/ke_worker.h"

namespace timeball::server {
namespace {

// An address in record 6 goes only to clients of its own family (RFC 8915, section 4.1.7).
nts::KePolicy policy_of_family(nts::KePolicy policy, bool v4) {
  std::erase_if(policy.servers, [&](const nts::NtpServer& server) {
    const auto address = net::IpAddress::parse(server.name);
    return address && address->is_v4() != v4;
  });
  return policy;
}

std::uint64_t random_hash_key() {
  crypto::RandomGenerator random = crypto::seeded_generator();
  return (std::uint64_t{random.u32()} << 32) | random.u32();
}

// How many more descriptors the process may open, those aside that the rest of it may come to need.
std::size_t descriptors_to_spare() {
  constexpr std::size_t kForOthers = 24;  // scrapes, commands, key files, devices that come back
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const std::filesystem::directory_iterator open("/proc/self/fd");
  const auto taken = static_cast<std::size_t>(std::distance(begin(open), end(open))) + kForOthers;
  return limit.rlim_cur > taken ? limit.rlim_cur - taken : 0;
}

}  // namespace

std::string_view name(KeOutcome outcome) {
  constexpr std::array<std::string_view, kKeOutcomes> kNames = {"completed",
                                                                "no_common_protocol",
                                                                "no_common_aead",
                                                                "bad_request",
                                                                "unrecognized_critical",
                                                                "internal_error",
                                                                "no_alpn",
                                                                "tls_version",
                                                                "refused_by_client",
                                                                "tls_failure",
                                                                "deadline",
                                                                "closed_early",
                                                                "evicted",
                                                                "refused_total",
                                                                "refused_address",
                                                                "refused_rate",
                                                                "refused_address_rate",
                                                                "refused_wait",
                                                                "accept_error"};
  return kNames[static_cast<std::size_t>(outcome)];
}

struct KeService::Impl {
  // A connection that has no descriptor cannot even be refused: better fewer places.
  void keep_within_descriptors() {
    const unsigned wanted = shared.config.max_connections;
    const std::size_t most = std::max<std::size_t>(descriptors_to_spare(), 1);
    if (wanted <= most) return;
    spdlog::warn(
        "nts_ke.max_connections = {}: there are descriptors for {}; raise LimitNOFILE (ulimit -n)",
        wanted, most);
    shared.admission.lower_total(static_cast<unsigned>(most));
  }

  KeShared shared;
  std::vector<std::unique_ptr<KeWorker>> workers;
  std::vector<std::thread> threads;
  std::vector<net::Endpoint> endpoints;
};

KeService::KeService(const NtsKeConfig& config, const nts::KePolicy& policy,
                     const Published<TlsContext>& tls, const Published<nts::KeyRing>& keys,
                     crypto::Implementation implementation)
    : impl_(new Impl{{config,
                      policy_of_family(policy, true),
                      policy_of_family(policy, false),
                      implementation,
                      tls,
                      keys,
                      {config, random_hash_key()}},
                     {},
                     {},
                     {}}) {
  const unsigned threads = config.threads != 0 ? config.threads : usable_cpus();
  for (unsigned i = 0; i < threads; ++i) {
    impl_->workers.push_back(std::make_unique<KeWorker>(impl_->shared));
  }
}

KeService::~KeService() {
  stop();
}

void KeService::listen() {
  for (const net::Endpoint& endpoint : impl_->shared.config.listen) require_tcp_port_free(endpoint);
  for (net::Endpoint endpoint : impl_->shared.config.listen) {
    // The first thread learns the port where the kernel chooses it.
    for (const auto& worker : impl_->workers) endpoint = worker->listen(endpoint);
    impl_->endpoints.push_back(endpoint);
  }
  impl_->keep_within_descriptors();
}

void KeService::start() {
  for (const auto& worker : impl_->workers) {
    impl_->threads.emplace_back([&worker, niceness = impl_->shared.config.nice] {
      be_nice(niceness);  // or as nice as whoever started us is already
      ::pthread_setname_np(::pthread_self(), "nts-ke");
      worker->run();
    });
  }
}

void KeService::stop() {
  for (const auto& worker : impl_->workers) worker->stop();
  for (std::thread& thread : impl_->threads) thread.join();
  impl_->threads.clear();
}

const std::vector<net::Endpoint>& KeService::endpoints() const {
  return impl_->endpoints;
}

std::uint64_t KeService::count(KeOutcome outcome) const {
  std::uint64_t sum = 0;
  for (const auto& worker : impl_->workers) {
    sum += worker->counters().outcomes[static_cast<std::size_t>(outcome)].value();
  }
  return sum;
}

KeHandshakeTimes KeService::handshake_times() const {
  KeHandshakeTimes times;
  for (const auto& worker : impl_->workers) {
    const KeCounters& counters = worker->counters();
    for (std::size_t i = 0; i < times.counts.size(); ++i) {
      times.counts[i] += counters.handshakes[i].value();
    }
    times.sum += std::chrono::nanoseconds(counters.handshake_ns.value());
  }
  return times;
}

unsigned KeService::open_connections() const {
  return impl_->shared.admission.open();
}

}  // namespace timeball::server
