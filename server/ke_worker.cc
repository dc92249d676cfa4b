#include "server/ke_worker.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "common/base/cpus.h"
#include "common/crypto/entropy.h"
#include "common/net/asio_endpoint.h"
#include "server/clocks.h"
#include "server/ke_session.h"

namespace timeball::server {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kAcceptRetry = 50ms;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// An acceptor that is bound, not yet listening. IPv6 ones take no IPv4.
void bind(tcp::acceptor& acceptor, const tcp::endpoint& endpoint, bool share_port) {
  acceptor.open(endpoint.protocol());
  acceptor.set_option(tcp::acceptor::reuse_address(true));
  if (endpoint.protocol() == tcp::v6()) acceptor.set_option(asio::ip::v6_only(true));
  const int on = 1;
  if (share_port &&
      ::setsockopt(acceptor.native_handle(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) {
    throw boost::system::system_error(errno, boost::system::system_category());
  }
  acceptor.bind(endpoint);
}

std::runtime_error cannot_listen(const net::Endpoint& endpoint, const error_code& why) {
  return std::runtime_error(fmt::format("nts_ke.listen: cannot listen on {} (TCP): {}",
                                        endpoint.to_string(), why.message()));
}

}  // namespace

KeWorker::KeWorker(KeShared& shared)
    : shared_(shared),
      tls_(shared.tls),
      engine_(shared.implementation),
      random_(crypto::seeded_generator()) {}

void require_tcp_port_free(const net::Endpoint& endpoint) {
  if (endpoint.port == 0) return;
  asio::io_context context;
  tcp::acceptor probe(context);
  try {
    bind(probe, to_asio(endpoint), false);
  } catch (const boost::system::system_error& error) {
    throw cannot_listen(endpoint, error.code());
  }
}

net::Endpoint KeWorker::listen(const net::Endpoint& endpoint) {
  auto listener = std::make_unique<Listener>(context_);
  try {
    bind(listener->acceptor, to_asio(endpoint), true);
    listener->acceptor.set_option(tcp::no_delay(true));  // what is accepted inherits it
    listener->acceptor.listen();
    const tcp::endpoint local = listener->acceptor.local_endpoint();
    listeners_.push_back(std::move(listener));
    return net::Endpoint::from_sockaddr(local.data());
  } catch (const boost::system::system_error& error) {
    throw cannot_listen(endpoint, error.code());
  }
}

void KeWorker::run() {
  be_nice(shared_.config.nice);  // or as nice as whoever started us is already
  for (const auto& listener : listeners_) {
    asio::co_spawn(context_, accept_loop(*listener), [](const std::exception_ptr& error) {
      if (error) std::rethrow_exception(error);
    });
  }
  context_.run();
}

void KeWorker::stop() {
  asio::post(context_, [this] { stop_here(); });
}

void KeWorker::stop_here() {
  for (const auto& listener : listeners_) {
    error_code ignored;
    listener->acceptor.close(ignored);
    listener->retry.cancel();
  }
  for (KeSession* session : sessions_) session->abort();
}

// Nothing ends it but stop(): an error, whatever it is, may pass.
awaitable<void> KeWorker::accept_loop(Listener& listener) {
  while (listener.acceptor.is_open()) {
    std::string trouble;
    try {
      if (const error_code error = co_await accept_one(listener))
        trouble = std::strerror(error.value());
    } catch (const std::exception& error) {
      trouble = error.what();
    }
    if (trouble.empty() || !listener.acceptor.is_open()) continue;
    counters_.add(KeOutcome::kAcceptError);
    if (trouble_.admit(steady_clock::now().time_since_epoch())) {
      spdlog::warn("NTS-KE cannot take a connection, tries again: {} ({} such lines left out)",
                   trouble, trouble_.suppressed());
    }
    listener.retry.expires_after(kAcceptRetry);
    co_await listener.retry.async_wait(kAwait);
  }
}

awaitable<error_code> KeWorker::accept_one(Listener& listener) {
  tcp::endpoint peer;
  auto [error, socket] = co_await listener.acceptor.async_accept(peer, kAwait);
  if (!error && listener.acceptor.is_open()) begin(std::move(socket), peer);
  co_return error;
}

void KeWorker::begin(tcp::socket socket, const tcp::endpoint& peer) {
  const net::IpAddress address = net::Endpoint::from_sockaddr(peer.data()).address;
  const net::IpAddress key = address.is_v4() ? address : address.masked(64);
  if (const auto refused = shared_.connections.admit(key)) {
    ended(address, *refused);
    return;
  }
  KeLease lease(shared_.connections, key);
  tls_.refresh();
  auto ssl = tls_->new_session();
  if (!ssl) throw std::bad_alloc();
  const auto session = std::make_shared<KeSession>(*this, std::move(socket), std::move(lease),
                                                   std::move(ssl), address);
  asio::co_spawn(context_, session->run(),
                 [this, session, address](const std::exception_ptr& error) {
                   if (error) ended(address, KeOutcome::kInternalError);
                 });
}

void KeWorker::ended(const net::IpAddress& peer, KeOutcome outcome) {
  counters_.add(outcome);
  const bool ours = outcome == KeOutcome::kRefusedTotal || outcome == KeOutcome::kRefusedAddress ||
                    outcome == KeOutcome::kInternalError;
  const auto level = ours ? spdlog::level::warn : spdlog::level::debug;
  LogLimiter& limiter = ours ? trouble_ : chatter_;
  if (!spdlog::should_log(level) || !limiter.admit(steady_clock::now().time_since_epoch())) return;
  spdlog::log(level, "NTS-KE with {}: {} ({} such lines left out)", peer.to_string(), name(outcome),
              limiter.suppressed());
}

std::vector<std::uint8_t> KeWorker::respond(const net::IpAddress& peer,
                                            const nts::KeDecision& decision,
                                            const nts::AssociationKeys& keys) {
  // Not held between two sessions: an idle worker would keep keys that have retired.
  const std::shared_ptr<const nts::KeyRing> ring = shared_.keys.current();
  try {
    (void)crypto::reseed_if_due(random_, read_monotonic_time().ns);  // or again at the next
    return nts::make_response(decision, shared_.policy_for(peer), keys, *ring, engine_, random_);
  } catch (const std::runtime_error&) {  // the generator: no randomness, no cookies
    return nts::make_error_response(nts::KeError::kInternalServerError);
  }
}

}  // namespace timeball::server
