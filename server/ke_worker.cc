#include "server/ke_worker.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
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
constexpr KeSeniority kFirstSilent{.has_spoken = false, .number = 0};
constexpr KeSeniority kFirstSpoken{.has_spoken = true, .number = 0};
constexpr int kAcceptedInATurn = 64;  // most of them to be refused
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

struct Arrival {
  bool gone = false;  // the client has closed already
  Duration waited{};  // since it last sent something, in the milliseconds that the kernel counts
};

Arrival arrival_of(int socket) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return {};
  return {info.tcpi_state != TCP_ESTABLISHED, std::chrono::milliseconds(info.tcpi_last_data_recv)};
}

// accept() without descriptors fails whether anybody waits or not.
bool has_waiting(int listener) {
  pollfd state{.fd = listener, .events = POLLIN, .revents = 0};
  return ::poll(&state, 1, 0) == 1;
}

bool is_refusal(KeOutcome outcome) {
  return outcome >= KeOutcome::kEvicted && outcome <= KeOutcome::kRefusedWait;
}

// Then nothing is left behind in the kernel, and the client knows at once.
void reset_at_close(int socket) {
  const linger none{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
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
  auto listener = std::make_unique<Listener>(context_, shared_.config);
  try {
    bind(listener->acceptor, to_asio(endpoint), true);
    listener->acceptor.set_option(tcp::no_delay(true));  // what is accepted inherits it
    listener->acceptor.listen(listener->backlog);
    listener->acceptor.non_blocking(true);
    const tcp::endpoint local = listener->acceptor.local_endpoint();
    listeners_.push_back(std::move(listener));
    return net::Endpoint::from_sockaddr(local.data());
  } catch (const boost::system::system_error& error) {
    throw cannot_listen(endpoint, error.code());
  }
}

void KeWorker::run() {
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
  for (const auto& [seniority, session] : sessions_) session->abort();
}

// Nothing ends it but stop(): an error, whatever it is, may pass.
awaitable<void> KeWorker::accept_loop(Listener& listener) {
  listener.queue.was_empty(read_monotonic_time());  // or as good as: nobody has looked before
  while (listener.acceptor.is_open()) {
    std::string trouble;
    try {
      const error_code error = accept_one(listener);
      if (error && error != asio::error::would_block) trouble = std::strerror(error.value());
      if (error == asio::error::would_block) {
        co_await listener.acceptor.async_wait(tcp::acceptor::wait_read, kAwait);
        listener.queue.was_empty(read_monotonic_time());
      } else if (!error) {
        set_backlog(listener);
        co_await asio::post(context_, asio::use_awaitable);
      }
    } catch (const std::exception& error) {
      trouble = error.what();
    }
    if (trouble.empty()) continue;
    counters_.add(KeOutcome::kAcceptError);
    if (trouble_.admit(steady_clock::now().time_since_epoch())) {
      spdlog::warn("NTS-KE cannot take a connection, tries again: {} ({} such lines left out)",
                   trouble, trouble_.suppressed());
    }
    listener.retry.expires_after(kAcceptRetry);
    co_await listener.retry.async_wait(kAwait);
  }
}

void KeWorker::set_backlog(Listener& listener) {
  const unsigned wanted = listener.queue.length(read_monotonic_time());
  if (wanted == listener.backlog) return;
  ::listen(listener.acceptor.native_handle(), static_cast<int>(wanted));
  listener.backlog = wanted;
}

// One that is served, and those before it that are refused. Then it is the sessions' turn: what is
// begun goes on, however many come.
error_code KeWorker::accept_one(Listener& listener) {
  for (int i = 0; i < kAcceptedInATurn; ++i) {
    tcp::endpoint peer;
    auto size = static_cast<socklen_t>(peer.capacity());
    Descriptor accepted(::accept4(listener.acceptor.native_handle(), peer.data(), &size,
                                  SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (accepted.open()) {
      if (begin(std::move(accepted), peer, listener.queue)) return {};
      continue;
    }
    const error_code error(errno, boost::system::system_category());
    if (error.value() == ECONNABORTED) continue;
    if (error.value() != EMFILE && error.value() != ENFILE) return error;
    if (!has_waiting(listener.acceptor.native_handle())) return asio::error::would_block;
    if (!evict_one()) return error;
  }
  return {};
}

// Whether it is served. Before that is known, nothing is made but the descriptor.
bool KeWorker::begin(Descriptor accepted, const tcp::endpoint& peer, KeQueueLimit& queue) {
  const net::IpAddress address = net::Endpoint::from_sockaddr(peer.data()).address;
  const net::IpAddress prefix = shared_.admission.prefix_of(address);
  const Arrival arrival = arrival_of(accepted.get());
  const auto refused =
      arrival.gone ? KeOutcome::kClosedEarly : admit(prefix, arrival.waited, queue);
  if (refused) {
    reset_at_close(accepted.get());
    ended(address, *refused);
    return false;
  }
  KeLease lease(shared_.admission, prefix);
  queue.served();
  tls_.refresh();
  auto ssl = tls_->new_session();
  if (!ssl) throw std::bad_alloc();
  tcp::socket socket(context_, peer.protocol(), accepted.get());
  accepted.release();
  const auto session = std::make_shared<KeSession>(*this, std::move(socket), std::move(lease),
                                                   std::move(ssl), address);
  asio::co_spawn(context_, session->run(),
                 [this, session, address](const std::exception_ptr& error) {
                   if (error) ended(address, KeOutcome::kInternalError);
                 });
  return true;
}

// Nothing: it has a place.
std::optional<KeOutcome> KeWorker::admit(const net::IpAddress& prefix, Duration waited,
                                         KeQueueLimit& queue) {
  KeAdmission& admission = shared_.admission;
  const MonotonicTime now = read_monotonic_time();
  if (!queue.admits(now, waited)) return KeOutcome::kRefusedWait;
  if (const auto refused = admission.refuse(prefix, now, waited)) return refused;
  const auto full = admission.enter(prefix);
  if (!full) return std::nullopt;
  const bool room = full == KeOutcome::kRefusedAddress ? evict_one_of(prefix) : evict_one();
  return room ? admission.enter(prefix) : full;
}

void KeWorker::enter(KeSession& session) {
  const auto place = sessions_.emplace(session.seniority(), &session).first;
  try {
    by_prefix_.emplace(std::pair(session.prefix(), session.seniority()), &session);
  } catch (...) {  // in neither, then
    sessions_.erase(place);
    throw;
  }
}

void KeWorker::leave(KeSession& session) {
  sessions_.erase(session.seniority());
  by_prefix_.erase({session.prefix(), session.seniority()});
}

bool KeWorker::evict_one() {
  const auto try_from = [this](const KeSeniority& least) {
    const auto first = sessions_.lower_bound(least);
    return first != sessions_.end() && evict(*first->second);
  };
  return try_from(kFirstSilent) || try_from(kFirstSpoken);
}

bool KeWorker::evict_one_of(const net::IpAddress& prefix) {
  const auto try_from = [&](const KeSeniority& least) {
    const auto first = by_prefix_.lower_bound({prefix, least});
    return first != by_prefix_.end() && first->first.first == prefix && evict(*first->second);
  };
  return try_from(kFirstSilent) || try_from(kFirstSpoken);
}

// False: it stays.
bool KeWorker::evict(KeSession& session) {
  const Duration age = steady_clock::now() - session.begun();
  if (!shared_.admission.gives_way(age, session.seniority().has_spoken)) return false;
  session.evict();
  return true;
}

void KeWorker::ended(const net::IpAddress& peer, KeOutcome outcome) {
  counters_.add(outcome);
  const bool ours = is_refusal(outcome) || outcome == KeOutcome::kInternalError;
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
