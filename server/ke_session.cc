#include "server/ke_session.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <new>
#include <tuple>
#include <utility>
#include <variant>

#include "common/nts/ke_record.h"
#include "server/ke_worker.h"
#include "server/tls_context.h"

namespace timeball::server {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::steady_clock;
using namespace std::chrono_literals;

// For the client to take the response and close, after which the socket goes without a reset.
constexpr auto kLinger = 1s;
// What a client may send before the handshake is done; those there are send some 2,000 octets.
constexpr std::size_t kMaxHandshakeLength = 16'384;
constexpr std::size_t kMaxDrained = 65'536;  // of what a client sends after its request

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

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

}  // namespace

KeSession::KeSession(KeWorker& worker, tcp::socket socket, KeLease lease,
                     OpenSsl<SSL, SSL_free> ssl, const net::IpAddress& peer)
    : worker_(worker),
      lease_(std::move(lease)),
      socket_(std::move(socket)),
      timer_(worker.context()),
      ssl_(std::move(ssl)),
      received_(BIO_new(BIO_s_mem())),
      to_send_(BIO_new(BIO_s_mem())),
      peer_(peer),
      seniority_{.number = worker.next_number()} {
  SSL_set_bio(ssl_.get(), received_, to_send_);  // takes both, null or not
  socket_.non_blocking(true);
  worker_.enter(*this);
}

KeSession::~KeSession() {
  worker_.leave(*this);
}

awaitable<void> KeSession::run() {
  if (received_ == nullptr || to_send_ == nullptr) throw std::bad_alloc();
  const KeOutcome outcome = co_await exchange();
  worker_.ended(peer_, evicted_ ? KeOutcome::kEvicted : outcome);
  if (parting_) co_await drain();
}

void KeSession::evict() {
  evicted_ = true;
  error_code ignored;
  socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  abort();
  lease_.end();
  worker_.leave(*this);
}

void KeSession::abort() {
  error_code ignored;
  socket_.close(ignored);
  timer_.cancel();
}

// From now on, `time` until time_up_ and an end to all waiting.
void KeSession::arm(std::chrono::nanoseconds time) {
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
awaitable<KeSession::Arrival> KeSession::fill() {
  if (time_up_) co_return Arrival::kGone;
  const auto [error, size] = co_await socket_.async_read_some(asio::buffer(arrived_), kAwait);
  if (error == asio::error::eof) co_return Arrival::kEnd;
  if (error || time_up_) co_return Arrival::kGone;
  if (BIO_write(received_, arrived_.data(), static_cast<int>(size)) != static_cast<int>(size)) {
    throw std::bad_alloc();
  }
  received_octets_ += size;
  co_return Arrival::kOctets;
}

// Sends what OpenSSL has written; our last words go with the end of the stream, which drain() adds.
// False: the client is gone, or time is up.
awaitable<bool> KeSession::flush(Words words) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(to_send_, &data);
  if (size <= 0) co_return true;
  if (time_up_) co_return false;
  asio::const_buffer rest(data, static_cast<std::size_t>(size));
  error_code error;
  rest += socket_.send(rest, words == Words::kLast ? MSG_MORE : 0, error);
  if (error == asio::error::would_block || (!error && rest.size() > 0)) {
    std::tie(error, std::ignore) = co_await asio::async_write(socket_, rest, kAwait);
  }
  (void)BIO_reset(to_send_);
  co_return !error;
}

// Says that nothing more comes, and takes what the client still sends: closing over unread octets
// would reset the connection and could take our last words from the client.
awaitable<void> KeSession::drain() {
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
  for (std::size_t total = 0; total < kMaxDrained && !time_up_;) {
    const auto [error, size] = co_await socket_.async_read_some(asio::buffer(arrived_), kAwait);
    if (error) co_return;
    total += size;
  }
}

awaitable<KeOutcome> KeSession::exchange() {
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

// Nothing: done. Until the client has said something OpenSSL is left alone: its buffers are made at
// its first call.
awaitable<std::optional<KeOutcome>> KeSession::handshake() {
  for (int error = SSL_ERROR_WANT_READ; error != SSL_ERROR_NONE;) {
    if (received_octets_ >= kMaxHandshakeLength) co_return KeOutcome::kTlsFailure;
    if (co_await fill() != Arrival::kOctets) co_return gone();
    ERR_clear_error();
    error = SSL_get_error(ssl_.get(), SSL_do_handshake(ssl_.get()));
    if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ) {
      co_return co_await end_failed_tls();
    }
    if (BIO_pending(to_send_) > 0) has_spoken();
    if (!co_await flush()) co_return gone();
  }
  co_return std::nullopt;
}

// It has sent a whole ClientHello, and gives way later.
void KeSession::has_spoken() {
  if (evicted_ || seniority_.has_spoken) return;
  worker_.leave(*this);
  seniority_.has_spoken = true;
  worker_.enter(*this);
}

// Sends OpenSSL's alert, if it has one.
awaitable<KeOutcome> KeSession::end_failed_tls() {
  const KeOutcome outcome = outcome_of(take_tls_failure());
  if (BIO_pending(to_send_) > 0) {
    arm(kLinger);
    parting_ = co_await flush(Words::kLast);
  }
  co_return outcome;
}

// Acknowledges at once what has come. A client that leaves Nagle's algorithm on holds its request
// back until its Finished is acknowledged, and with nothing to send the kernel here would take 40
// ms.
void KeSession::acknowledge() {
  const int on = 1;
  ::setsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}

awaitable<KeSession::RequestEnd> KeSession::read_request() {
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
int KeSession::decrypt() {
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
awaitable<KeOutcome> KeSession::answer(nts::KeDecision decision) {
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
  parting_ = co_await flush(Words::kLast);
  co_return parting_ ? outcome_of(decision, response) : KeOutcome::kClosedEarly;
}

// RFC 8915, section 5.1.
bool KeSession::export_keys(const nts::KeAgreement& agreement, nts::AssociationKeys& keys) {
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

}  // namespace timeball::server
