#include "server/ke_service.h"

#include <netinet/tcp.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>
#include <variant>

#include "common/base/counter.h"
#include "common/base/log.h"
#include "common/crypto/entropy.h"
#include "common/crypto/random.h"
#include "common/nts/ke_record.h"
#include "server/cpus.h"

namespace timeball::server {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kAcceptRetry = 50ms;
// For the client to take the response and close, after which the socket goes without a reset.
constexpr auto kLinger = 1s;
constexpr std::size_t kMaxDrained = 65'536;  // of what a client sends after its request

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// How many connections are open, in all and per address. Any thread.
class Connections {
 public:
  Connections(unsigned max_total, unsigned max_per_address)
      : max_total_(max_total), max_per_address_(max_per_address) {}

  // Nothing: admitted, and to be released.
  std::optional<KeOutcome> admit(const net::IpAddress& key) {
    const std::lock_guard lock(mutex_);
    if (open() >= max_total_) return KeOutcome::kRefusedTotal;
    unsigned& count = by_address_[key];
    if (count >= max_per_address_) return KeOutcome::kRefusedAddress;
    ++count;
    open_.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
  }
  void release(const net::IpAddress& key) {
    const std::lock_guard lock(mutex_);
    const auto entry = by_address_.find(key);
    if (--entry->second == 0) by_address_.erase(entry);
    open_.fetch_sub(1, std::memory_order_relaxed);
  }
  unsigned open() const { return open_.load(std::memory_order_relaxed); }

 private:
  const unsigned max_total_;
  const unsigned max_per_address_;
  std::atomic<unsigned> open_{0};
  std::mutex mutex_;
  std::map<net::IpAddress, unsigned> by_address_;
};

// One place among the open connections, given back at the end.
class Lease {
 public:
  Lease(Connections& connections, const net::IpAddress& key)
      : connections_(&connections), key_(key) {}
  Lease(Lease&& other) noexcept
      : connections_(std::exchange(other.connections_, nullptr)), key_(other.key_) {}
  Lease& operator=(Lease&&) = delete;
  ~Lease() {
    if (connections_ != nullptr) connections_->release(key_);
  }

 private:
  Connections* connections_;
  net::IpAddress key_;
};

// What the threads have in common.
struct Shared {
  const nts::KePolicy& policy_for(const net::IpAddress& peer) const {
    return peer.is_v4() ? policy_v4 : policy_v6;
  }

  const NtsKeConfig config;
  const nts::KePolicy policy_v4;
  const nts::KePolicy policy_v6;
  const Published<TlsContext>& tls;
  const Published<nts::KeyRing>& keys;
  Connections connections;
};

struct Counters {
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

class Session;

// One thread: its listeners and its sessions.
class Worker {
 public:
  explicit Worker(Shared& shared);

  // Control thread, before run(). Throws std::runtime_error. Returns where it listens.
  net::Endpoint listen(const net::Endpoint& endpoint);
  // The thread's whole life.
  void run();
  // Any thread.
  void stop();

  Shared& shared() { return shared_; }
  Counters& counters() { return counters_; }
  asio::io_context& context() { return context_; }
  void enter(Session& session) { sessions_.insert(&session); }
  void leave(Session& session) { sessions_.erase(&session); }
  void ended(const net::IpAddress& peer, KeOutcome outcome);
  // The whole response; decision may turn into kInternalServerError.
  std::vector<std::uint8_t> respond(const net::IpAddress& peer, const nts::KeDecision& decision,
                                    const nts::AssociationKeys& keys);

 private:
  struct Listener {
    explicit Listener(asio::io_context& context) : acceptor(context), retry(context) {}
    tcp::acceptor acceptor;
    asio::steady_timer retry;
  };

  awaitable<void> accept_loop(Listener& listener);
  awaitable<error_code> accept_one(Listener& listener);
  void begin(tcp::socket socket, const tcp::endpoint& peer);
  void stop_here();

  Shared& shared_;
  asio::io_context context_{1};
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::unordered_set<Session*> sessions_;
  Subscription<TlsContext> tls_;
  Subscription<nts::KeyRing> keys_;
  crypto::Engine engine_;
  crypto::RandomGenerator random_;
  Counters counters_;
  LogLimiter trouble_;
  LogLimiter chatter_{100ms, 50};
};

// One connection. Lives as long as its coroutine.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(Worker& worker, tcp::socket socket, Lease lease, OpenSsl<SSL, SSL_free> ssl,
          const net::IpAddress& peer);
  ~Session() { worker_.leave(*this); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  awaitable<void> run();
  void abort();

 private:
  enum class Arrival { kOctets, kEnd, kGone };
  enum class RequestEnd { kWhole, kTooLong, kCutShort, kTimeUp, kGone, kTlsFailure };

  void arm(std::chrono::nanoseconds time);
  awaitable<Arrival> fill();
  awaitable<bool> flush();
  awaitable<void> drain();
  awaitable<KeOutcome> exchange();
  awaitable<std::optional<KeOutcome>> handshake();
  awaitable<KeOutcome> end_failed_tls();
  void acknowledge();
  awaitable<RequestEnd> read_request();
  int decrypt();
  awaitable<KeOutcome> answer(nts::KeDecision decision);
  bool export_keys(const nts::KeAgreement& agreement, nts::AssociationKeys& keys);
  KeOutcome gone() const { return time_up_ ? KeOutcome::kDeadline : KeOutcome::kClosedEarly; }

  Worker& worker_;
  tcp::socket socket_;
  asio::steady_timer timer_;
  const Lease lease_;
  const OpenSsl<SSL, SSL_free> ssl_;
  BIO* received_;  // ciphertext, owned by ssl_
  BIO* to_send_;
  const net::IpAddress peer_;
  const steady_clock::time_point begun_ = steady_clock::now();
  bool time_up_ = false;
  bool parting_ = false;  // our last words are sent, and the client should get to read them
  std::vector<std::uint8_t> request_;
  std::array<std::uint8_t, 2048> arrived_;
};

KeOutcome outcome_of(TlsFailure failure) {
  switch (failure) {
    case TlsFailure::kProtocolVersion:
      return KeOutcome::kTlsVersion;
    case TlsFailure::kNoAlpn:
      return KeOutcome::kNoAlpn;
    case TlsFailure::kRefusedByClient:
      return KeOutcome::kRefusedByClient;
    case TlsFailure::kOther:
      break;
  }
  return KeOutcome::kTlsFailure;
}

KeOutcome outcome_of(nts::KeError error) {
  switch (error) {
    case nts::KeError::kUnrecognizedCriticalRecord:
      return KeOutcome::kUnrecognizedCritical;
    case nts::KeError::kBadRequest:
      return KeOutcome::kBadRequest;
    case nts::KeError::kInternalServerError:
      break;
  }
  return KeOutcome::kInternalError;
}

KeOutcome outcome_of(const nts::KeDecision& decision, Bytes response) {
  if (const auto* error = std::get_if<nts::KeError>(&decision)) return outcome_of(*error);
  if (std::holds_alternative<nts::KeNoCommonProtocol>(decision)) {
    return KeOutcome::kNoCommonProtocol;
  }
  if (std::holds_alternative<nts::KeNoCommonAead>(decision)) return KeOutcome::kNoCommonAead;
  ByteReader reader(response);
  const auto first = nts::read_record(reader);
  return first && first->is(nts::RecordType::kError) ? KeOutcome::kInternalError
                                                     : KeOutcome::kCompleted;
}

// A switch that Asio has no name for, on. Returns what setsockopt() does.
int set_option(auto& socket, int level, int name) {
  const int on = 1;
  return ::setsockopt(socket.native_handle(), level, name, &on, sizeof(on));
}

Session::Session(Worker& worker, tcp::socket socket, Lease lease, OpenSsl<SSL, SSL_free> ssl,
                 const net::IpAddress& peer)
    : worker_(worker),
      socket_(std::move(socket)),
      timer_(worker.context()),
      lease_(std::move(lease)),
      ssl_(std::move(ssl)),
      received_(BIO_new(BIO_s_mem())),
      to_send_(BIO_new(BIO_s_mem())),
      peer_(peer) {
  SSL_set_bio(ssl_.get(), received_, to_send_);  // takes both, null or not
  if (received_ == nullptr || to_send_ == nullptr) throw std::bad_alloc();
  worker_.enter(*this);
}

awaitable<void> Session::run() {
  worker_.ended(peer_, co_await exchange());
  if (parting_) co_await drain();
}

void Session::abort() {
  error_code ignored;
  socket_.close(ignored);
  timer_.cancel();
}

// From now on, `time` until time_up_ and an end to all waiting.
void Session::arm(std::chrono::nanoseconds time) {
  time_up_ = false;
  timer_.expires_after(time);
  timer_.async_wait([weak = weak_from_this()](const error_code& cancelled) {
    const auto self = weak.lock();
    // A handler of an earlier arm() may have been on its way already.
    if (cancelled || !self || self->timer_.expiry() > steady_clock::now()) return;
    self->time_up_ = true;
    error_code ignored;
    self->socket_.cancel(ignored);
  });
}

// Waits for octets and hands them to OpenSSL.
awaitable<Session::Arrival> Session::fill() {
  if (time_up_) co_return Arrival::kGone;
  const auto [error, size] = co_await socket_.async_read_some(asio::buffer(arrived_), kAwait);
  if (error == asio::error::eof) co_return Arrival::kEnd;
  if (error || time_up_) co_return Arrival::kGone;
  if (BIO_write(received_, arrived_.data(), static_cast<int>(size)) != static_cast<int>(size)) {
    throw std::bad_alloc();
  }
  co_return Arrival::kOctets;
}

// Sends what OpenSSL has written. False: the client is gone, or time is up.
awaitable<bool> Session::flush() {
  char* data = nullptr;
  const long size = BIO_get_mem_data(to_send_, &data);
  if (size <= 0) co_return true;
  if (time_up_) co_return false;
  const auto [error, sent] = co_await asio::async_write(
      socket_, asio::buffer(data, static_cast<std::size_t>(size)), kAwait);
  (void)BIO_reset(to_send_);
  co_return !error;
}

// Says that nothing more comes, and takes what the client still sends: closing over unread octets
// would reset the connection and could take our last words from the client.
awaitable<void> Session::drain() {
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
  for (std::size_t total = 0; total < kMaxDrained && !time_up_;) {
    const auto [error, size] = co_await socket_.async_read_some(asio::buffer(arrived_), kAwait);
    if (error) co_return;
    total += size;
  }
}

awaitable<KeOutcome> Session::exchange() {
  arm(worker_.shared().config.deadline);
  if (const auto failure = co_await handshake()) co_return *failure;
  worker_.counters().add_handshake(steady_clock::now() - begun_);
  const RequestEnd end = co_await read_request();
  if (end == RequestEnd::kGone) co_return KeOutcome::kClosedEarly;
  if (end == RequestEnd::kTlsFailure) co_return co_await end_failed_tls();
  nts::KeDecision decision = nts::KeError::kBadRequest;
  if (end == RequestEnd::kWhole)
    decision = nts::negotiate(request_, worker_.shared().policy_for(peer_));
  const KeOutcome outcome = co_await answer(decision);
  if (end == RequestEnd::kTimeUp) co_return KeOutcome::kDeadline;
  co_return end == RequestEnd::kCutShort&& request_.empty() ? KeOutcome::kClosedEarly : outcome;
}

// Nothing: done.
awaitable<std::optional<KeOutcome>> Session::handshake() {
  for (;;) {
    ERR_clear_error();
    const int error = SSL_get_error(ssl_.get(), SSL_do_handshake(ssl_.get()));
    if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ) {
      co_return co_await end_failed_tls();
    }
    if (!co_await flush()) co_return gone();
    if (error == SSL_ERROR_NONE) co_return std::nullopt;
    if (co_await fill() != Arrival::kOctets) co_return gone();
  }
}

// Sends OpenSSL's alert, if it has one.
awaitable<KeOutcome> Session::end_failed_tls() {
  const KeOutcome outcome = outcome_of(take_tls_failure());
  if (BIO_pending(to_send_) > 0) {
    arm(kLinger);
    parting_ = co_await flush();
  }
  co_return outcome;
}

// Acknowledges at once what has come. A client that leaves Nagle's algorithm on holds its request
// back until its Finished is acknowledged, and with nothing to send the kernel here would take 40
// ms.
void Session::acknowledge() {
  set_option(socket_, IPPROTO_TCP, TCP_QUICKACK);
}

awaitable<Session::RequestEnd> Session::read_request() {
  for (;;) {
    const int error = decrypt();
    if (const auto length = nts::message_length(request_)) {
      request_.resize(*length);  // what follows End of Message is ignored
      co_return RequestEnd::kWhole;
    }
    if (request_.size() >= nts::kMaxKeRequestLength) co_return RequestEnd::kTooLong;
    if (error == SSL_ERROR_ZERO_RETURN) co_return RequestEnd::kCutShort;
    if (error != SSL_ERROR_WANT_READ) co_return RequestEnd::kTlsFailure;
    acknowledge();
    // OpenSSL may have a key update to answer.
    const Arrival arrival = co_await flush() ? co_await fill() : Arrival::kGone;
    if (arrival == Arrival::kEnd) co_return RequestEnd::kCutShort;
    if (arrival == Arrival::kGone) {
      co_return time_up_ ? RequestEnd::kTimeUp : RequestEnd::kGone;
    }
  }
}

// Appends to request_ what has arrived, up to its limit. Returns why there is no more for now.
int Session::decrypt() {
  std::array<std::uint8_t, 4096> chunk;
  while (request_.size() < nts::kMaxKeRequestLength) {
    ERR_clear_error();
    const std::size_t room = nts::kMaxKeRequestLength - request_.size();
    std::size_t size = 0;
    const int result = SSL_read_ex(ssl_.get(), chunk.data(), std::min(chunk.size(), room), &size);
    if (result != 1) return SSL_get_error(ssl_.get(), result);
    request_.insert(request_.end(), chunk.begin(), chunk.begin() + size);
  }
  return SSL_ERROR_NONE;
}

// The response in one TLS record, as old clients read no further, and close_notify behind it.
awaitable<KeOutcome> Session::answer(nts::KeDecision decision) {
  nts::AssociationKeys keys;
  const auto* agreement = std::get_if<nts::KeAgreement>(&decision);
  if (agreement != nullptr && !export_keys(*agreement, keys)) {
    decision = nts::KeError::kInternalServerError;
  }
  const std::vector<std::uint8_t> response = worker_.respond(peer_, decision, keys);
  arm(kLinger);
  ERR_clear_error();
  if (SSL_write(ssl_.get(), response.data(), static_cast<int>(response.size())) <= 0) {
    co_return co_await end_failed_tls();
  }
  SSL_shutdown(ssl_.get());
  parting_ = co_await flush();
  co_return parting_ ? outcome_of(decision, response) : KeOutcome::kClosedEarly;
}

// RFC 8915, section 5.1.
bool Session::export_keys(const nts::KeAgreement& agreement, nts::AssociationKeys& keys) {
  keys.aead = agreement.aead;
  const std::size_t length = crypto::parameters(agreement.aead).key_length;
  const auto export_one = [&](bool server_to_client, MutableBytes out) {
    const auto context = nts::exporter_context(agreement.exporter_aead, server_to_client);
    return SSL_export_keying_material(ssl_.get(), out.data(), out.size(),
                                      nts::kExporterLabel.data(), nts::kExporterLabel.size(),
                                      context.data(), context.size(), 1) == 1;
  };
  return export_one(false, keys.c2s.resize(length)) && export_one(true, keys.s2c.resize(length));
}

crypto::RandomGenerator seeded_generator() {
  Secret<crypto::kSeedLength> seed;
  if (auto filled = crypto::read_entropy(seed.resize(crypto::kSeedLength)); !filled) {
    throw std::runtime_error("NTS-KE has no randomness: " + filled.error().message);
  }
  return crypto::RandomGenerator(seed.bytes());
}

Worker::Worker(Shared& shared)
    : shared_(shared), tls_(shared.tls), keys_(shared.keys), random_(seeded_generator()) {}

tcp::endpoint to_asio(const net::Endpoint& endpoint) {
  sockaddr_storage address{};
  const socklen_t size = endpoint.to_sockaddr(address);
  tcp::endpoint out;
  std::memcpy(out.data(), &address, size);
  out.resize(size);
  return out;
}

// An acceptor that is bound, not yet listening. IPv6 ones take no IPv4.
void bind(tcp::acceptor& acceptor, const tcp::endpoint& endpoint, bool share_port) {
  acceptor.open(endpoint.protocol());
  acceptor.set_option(tcp::acceptor::reuse_address(true));
  if (endpoint.protocol() == tcp::v6()) acceptor.set_option(asio::ip::v6_only(true));
  if (share_port && set_option(acceptor, SOL_SOCKET, SO_REUSEPORT) != 0) {
    throw boost::system::system_error(errno, boost::system::system_category());
  }
  acceptor.bind(endpoint);
}

std::runtime_error cannot_listen(const net::Endpoint& endpoint, const error_code& why) {
  return std::runtime_error(fmt::format("nts_ke.listen: cannot listen on {} (TCP): {}",
                                        endpoint.to_string(), why.message()));
}

// Throws when somebody listens there already. Without SO_REUSEPORT, because with it the kernel
// would share the port between two daemons of one user.
void require_free(const net::Endpoint& endpoint) {
  if (endpoint.port == 0) return;
  asio::io_context context;
  tcp::acceptor probe(context);
  try {
    bind(probe, to_asio(endpoint), false);
  } catch (const boost::system::system_error& error) {
    throw cannot_listen(endpoint, error.code());
  }
}

net::Endpoint Worker::listen(const net::Endpoint& endpoint) {
  auto listener = std::make_unique<Listener>(context_);
  try {
    bind(listener->acceptor, to_asio(endpoint), true);
    listener->acceptor.listen();
    const tcp::endpoint local = listener->acceptor.local_endpoint();
    listeners_.push_back(std::move(listener));
    return net::Endpoint::from_sockaddr(local.data());
  } catch (const boost::system::system_error& error) {
    throw cannot_listen(endpoint, error.code());
  }
}

void Worker::run() {
  for (const auto& listener : listeners_) {
    asio::co_spawn(context_, accept_loop(*listener), [](const std::exception_ptr& error) {
      if (error) std::rethrow_exception(error);
    });
  }
  context_.run();
}

void Worker::stop() {
  asio::post(context_, [this] { stop_here(); });
}

void Worker::stop_here() {
  for (const auto& listener : listeners_) {
    error_code ignored;
    listener->acceptor.close(ignored);
    listener->retry.cancel();
  }
  for (Session* session : sessions_) session->abort();
}

// Nothing ends it but stop(): an error, whatever it is, may pass.
awaitable<void> Worker::accept_loop(Listener& listener) {
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

awaitable<error_code> Worker::accept_one(Listener& listener) {
  tcp::endpoint peer;
  auto [error, socket] = co_await listener.acceptor.async_accept(peer, kAwait);
  if (!error && listener.acceptor.is_open()) begin(std::move(socket), peer);
  co_return error;
}

void Worker::begin(tcp::socket socket, const tcp::endpoint& peer) {
  const net::IpAddress address = net::Endpoint::from_sockaddr(peer.data()).address;
  const net::IpAddress key = address.is_v4() ? address : address.masked(64);
  if (const auto refused = shared_.connections.admit(key)) {
    ended(address, *refused);
    return;
  }
  Lease lease(shared_.connections, key);
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  tls_.refresh();
  auto ssl = tls_->new_session();
  if (!ssl) throw std::bad_alloc();
  const auto session = std::make_shared<Session>(*this, std::move(socket), std::move(lease),
                                                 std::move(ssl), address);
  asio::co_spawn(context_, session->run(),
                 [this, session, address](const std::exception_ptr& error) {
                   if (error) ended(address, KeOutcome::kInternalError);
                 });
}

void Worker::ended(const net::IpAddress& peer, KeOutcome outcome) {
  counters_.add(outcome);
  const bool ours = outcome == KeOutcome::kRefusedTotal || outcome == KeOutcome::kRefusedAddress ||
                    outcome == KeOutcome::kInternalError;
  const auto level = ours ? spdlog::level::warn : spdlog::level::debug;
  LogLimiter& limiter = ours ? trouble_ : chatter_;
  if (!spdlog::should_log(level) || !limiter.admit(steady_clock::now().time_since_epoch())) return;
  spdlog::log(level, "NTS-KE with {}: {} ({} such lines left out)", peer.to_string(), name(outcome),
              limiter.suppressed());
}

std::vector<std::uint8_t> Worker::respond(const net::IpAddress& peer,
                                          const nts::KeDecision& decision,
                                          const nts::AssociationKeys& keys) {
  keys_.refresh();
  return nts::make_response(decision, shared_.policy_for(peer), keys, *keys_, engine_, random_);
}

// An address in record 6 goes only to clients of its own family (RFC 8915, section 4.1.7).
nts::KePolicy policy_of_family(nts::KePolicy policy, bool v4) {
  const auto address = net::IpAddress::parse(policy.server);
  if (address && address->is_v4() != v4) policy.server.clear();
  return policy;
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
                                                                "refused_total",
                                                                "refused_address",
                                                                "accept_error"};
  return kNames[static_cast<std::size_t>(outcome)];
}

struct KeService::Impl {
  Shared shared;
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<std::thread> threads;
  std::vector<net::Endpoint> endpoints;
};

KeService::KeService(const NtsKeConfig& config, const nts::KePolicy& policy,
                     const Published<TlsContext>& tls, const Published<nts::KeyRing>& keys)
    : impl_(new Impl{{config,
                      policy_of_family(policy, true),
                      policy_of_family(policy, false),
                      tls,
                      keys,
                      {config.max_connections, config.max_connections_per_address}},
                     {},
                     {},
                     {}}) {
  const unsigned threads = config.threads != 0 ? config.threads : usable_cpus();
  for (unsigned i = 0; i < threads; ++i) {
    impl_->workers.push_back(std::make_unique<Worker>(impl_->shared));
  }
}

KeService::~KeService() {
  stop();
}

void KeService::start() {
  for (const net::Endpoint& endpoint : impl_->shared.config.listen) require_free(endpoint);
  for (net::Endpoint endpoint : impl_->shared.config.listen) {
    // The first thread learns the port where the kernel chooses it.
    for (const auto& worker : impl_->workers) endpoint = worker->listen(endpoint);
    impl_->endpoints.push_back(endpoint);
  }
  for (const auto& worker : impl_->workers) {
    impl_->threads.emplace_back([&worker] { worker->run(); });
    ::pthread_setname_np(impl_->threads.back().native_handle(), "nts-ke");
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
    const Counters& counters = worker->counters();
    for (std::size_t i = 0; i < times.counts.size(); ++i) {
      times.counts[i] += counters.handshakes[i].value();
    }
    times.sum += std::chrono::nanoseconds(counters.handshake_ns.value());
  }
  return times;
}

unsigned KeService::open_connections() const {
  return impl_->shared.connections.open();
}

}  // namespace timeball::server
