// One NTS-KE thread: its listeners, its sessions, its counters, and what it shares with the others.
//
// Inside of the NTS-KE service; others use server/ke_service.h.
#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "common/base/counter.h"
#include "common/base/log.h"
#include "common/base/published.h"
#include "common/crypto/aead.h"
#include "common/crypto/random.h"
#include "common/net/address.h"
#include "common/nts/ke_negotiation.h"
#include "common/nts/key_ring.h"
#include "server/config.h"
#include "server/file.h"
#include "server/ke_admission.h"
#include "server/ke_service.h"
#include "server/tls_context.h"

namespace timeball::server {

// What the threads have in common.
struct KeShared {
  const nts::KePolicy& policy_for(const net::IpAddress& peer) const {
    return peer.is_v4() ? policy_v4 : policy_v6;
  }

  const NtsKeConfig config;
  const nts::KePolicy policy_v4;
  const nts::KePolicy policy_v6;
  const crypto::Implementation implementation;
  const Published<TlsContext>& tls;
  const Published<nts::KeyRing>& keys;
  KeAdmission admission;
};

struct KeCounters {
  std::array<Counter, kKeOutcomes> outcomes;
  std::array<Counter, KeHandshakeTimes::kBounds.size() + 1> handshakes;
  Counter handshake_ns;

  void add(KeOutcome outcome) { outcomes[static_cast<std::size_t>(outcome)].add(); }
  void add_handshake(std::chrono::nanoseconds took) {
    std::size_t bucket = 0;
    while (bucket < KeHandshakeTimes::kBounds.size() && took > KeHandshakeTimes::kBounds[bucket]) {
      ++bucket;
    }
    handshakes[bucket].add();
    handshake_ns.add(static_cast<std::uint64_t>(took.count()));
  }
};

class KeSession;

// One thread: its listeners and its sessions.
class KeWorker {
 public:
  explicit KeWorker(KeShared& shared);

  // Control thread, before run(). Throws std::runtime_error. Returns where it listens.
  net::Endpoint listen(const net::Endpoint& endpoint);
  // The thread's whole life.
  void run();
  // Any thread.
  void stop();

  KeShared& shared() { return shared_; }
  KeCounters& counters() { return counters_; }
  boost::asio::io_context& context() { return context_; }
  std::uint64_t next_number() { return ++last_number_; }
  // A session stands among the others from its construction to its end.
  void enter(KeSession& session);
  void leave(KeSession& session);
  void ended(const net::IpAddress& peer, KeOutcome outcome);
  // The whole response; decision may turn into kInternalServerError.
  std::vector<std::uint8_t> respond(const net::IpAddress& peer, const nts::KeDecision& decision,
                                    const nts::AssociationKeys& keys);

 private:
  struct Listener {
    Listener(boost::asio::io_context& context, const NtsKeConfig& config)
        : acceptor(context), retry(context), queue(config) {}
    boost::asio::ip::tcp::acceptor acceptor;
    boost::asio::steady_timer retry;
    KeQueueLimit queue;
    unsigned backlog = KeQueueLimit::kMost;
  };

  boost::asio::awaitable<void> accept_loop(Listener& listener);
  boost::system::error_code accept_one(Listener& listener);
  static void set_backlog(Listener& listener);
  bool begin(Descriptor accepted, const boost::asio::ip::tcp::endpoint& peer, KeQueueLimit& queue);
  std::optional<KeOutcome> admit(const net::IpAddress& prefix, Duration waited,
                                 KeQueueLimit& queue);
  bool evict_one();
  bool evict_one_of(const net::IpAddress& prefix);
  bool evict(KeSession& session);
  void stop_here();

  KeShared& shared_;
  boost::asio::io_context context_{1};
  std::vector<std::unique_ptr<Listener>> listeners_;
  // In the order in which they give way, in all and within a prefix.
  std::map<KeSeniority, KeSession*> sessions_;
  std::map<std::pair<net::IpAddress, KeSeniority>, KeSession*> by_prefix_;
  std::uint64_t last_number_ = 0;
  Subscription<TlsContext> tls_;
  crypto::Engine engine_;
  crypto::RandomGenerator random_;
  KeCounters counters_;
  LogLimiter trouble_;
  LogLimiter chatter_{std::chrono::milliseconds(100), 50};
};

// Throws std::runtime_error when another process listens there already. Without SO_REUSEPORT,
// because with it the kernel would share the port between two daemons of one user.
void require_tcp_port_free(const net::Endpoint& endpoint);

}  // namespace timeball::server
