#include "bench/ke_exchange.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>

#include "common/net/asio_endpoint.h"
#include "common/nts/ke_record.h"

namespace timeball::bench {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using asio::ip::tcp;
using boost::system::error_code;
using namespace std::chrono_literals;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

constexpr std::array<unsigned char, 8> kAlpnList = {7, 'n', 't', 's', 'k', 'e', '/', '1'};
static_assert(kAlpnList.size() == nts::kAlpn.size() + 1);
constexpr std::size_t kMaxResponse = 65536;  // octets we are willing to hold

constexpr std::array<KeOutcomeRow, kKeOutcomes> kOutcomes = {{
    {"done", "NTS-KE done"},
    {"connect_refused", "TCP: connection refused"},
    {"connect_failed", "TCP: no route, reset, or another error"},
    {"connect_timeout", "TCP: not connected in time"},
    {"tls_alert", "TLS: the server sent an alert"},
    {"tls_failed", "TLS: the handshake failed otherwise"},
    {"certificate", "TLS: the certificate does not verify"},
    {"no_alpn", "TLS: the server did not select ntske/1"},
    {"closed", "the server closed or reset before its response was whole"},
    {"timeout", "connected, but no whole response in time"},
    {"ke_unrecognized_critical", "NTS-KE: Error 0, unrecognized critical record"},
    {"ke_bad_request", "NTS-KE: Error 1, bad request"},
    {"ke_internal_error", "NTS-KE: Error 2, internal server error"},
    {"ke_other_error", "NTS-KE: an Error record with an unknown code"},
    {"no_common_protocol", "NTS-KE: the server does not offer NTPv4"},
    {"no_common_aead", "NTS-KE: the server supports none of the AEADs offered"},
    {"bad_record", "NTS-KE: the response breaks RFC 8915"},
    {"local", "this machine: out of ports, descriptors or memory"},
}};

std::string reason_text(unsigned long error) {
  const char* text = ERR_reason_error_string(error);
  return text != nullptr ? text : "OpenSSL gives no reason";
}

tl::unexpected<Error> cannot(const std::string& what) {
  const std::string reason = reason_text(ERR_peek_error());
  ERR_clear_error();
  return fail("cannot " + what + ": " + reason);
}

// Errors of socket() and connect() that are this machine's doing.
bool is_local(const error_code& error) {
  switch (error.value()) {
    case EADDRNOTAVAIL:  // no port left
    case EAGAIN:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EPERM:  // this machine's firewall
      return true;
    default:
      return false;
  }
}

KeOutcome outcome_of(const nts::KeFailure& failure) {
  using Kind = nts::KeFailure::Kind;
  switch (failure.kind) {
    case Kind::kNoCommonProtocol:
      return KeOutcome::kNoCommonProtocol;
    case Kind::kNoCommonAead:
      return KeOutcome::kNoCommonAead;
    case Kind::kMalformed:
      return KeOutcome::kBadRecord;
    case Kind::kErrorRecord:
      break;
  }
  switch (static_cast<nts::KeError>(failure.error_code.value_or(0xffff))) {
    case nts::KeError::kUnrecognizedCriticalRecord:
      return KeOutcome::kErrorUnrecognizedCritical;
    case nts::KeError::kBadRequest:
      return KeOutcome::kErrorBadRequest;
    case nts::KeError::kInternalServerError:
      return KeOutcome::kErrorInternal;
  }
  return KeOutcome::kErrorOther;
}

}  // namespace

const KeOutcomeRow& outcome_row(KeOutcome outcome) {
  return kOutcomes[static_cast<std::size_t>(outcome)];
}

KeTls::KeTls(const KeClientOptions& options, const LoadTarget& target)
    : options_(options),
      host_(target.host.substr(0, target.host.find('%'))),
      host_is_address_(net::IpAddress::parse(host_).has_value()),
      server_(net::to_asio(target.endpoint)),
      request_(nts::make_ke_request(options.request)),
      context_(SSL_CTX_new(TLS_client_method())) {}

Result<std::unique_ptr<KeTls>> KeTls::make(const KeClientOptions& options,
                                           const LoadTarget& target) {
  std::unique_ptr<KeTls> tls(new KeTls(options, target));
  if (const auto ready = tls->set_up(); !ready) return tl::unexpected(ready.error());
  return tls;
}

Result<void> KeTls::set_up() {
  SSL_CTX* context = context_.get();
  ERR_clear_error();
  if (context == nullptr || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_alpn_protos(context, kAlpnList.data(), kAlpnList.size()) != 0)
    return cannot("set up TLS");
  if (SSL_CTX_set1_groups_list(context, options_.groups.c_str()) != 1)
    return cannot("use the groups \"" + options_.groups + "\" (write X25519:P-256)");
  if (SSL_CTX_set_ciphersuites(context, options_.cipher_suites.c_str()) != 1)
    return cannot("use the cipher suites \"" + options_.cipher_suites +
                  "\" (write TLS_AES_128_GCM_SHA256)");
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  if (!options_.verify) {
    // SSL_VERIFY_NONE alone builds the chain all the same, only to ignore what it finds.
    SSL_CTX_set_cert_verify_callback(
        context, [](X509_STORE_CTX*, void*) { return 1; }, nullptr);
    return {};
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  if (!options_.ca_file.empty() && SSL_CTX_load_verify_file(context, options_.ca_file.c_str()) != 1)
    return cannot("read CA certificates from " + options_.ca_file + " (--ca takes a PEM file)");
  if (options_.ca_file.empty() && SSL_CTX_set_default_verify_paths(context) != 1)
    return cannot("load the system's CAs");
  return {};
}

// An address is looked for among the certificate's addresses and not sent as server name (RFC 6066,
// section 3), a name among its names.
OpenSsl<SSL, SSL_free> KeTls::new_session() const {
  OpenSsl<SSL, SSL_free> session(SSL_new(context_.get()));
  if (!session) return session;
  SSL_set_connect_state(session.get());
  bool ready = host_is_address_ || SSL_set_tlsext_host_name(session.get(), host_.c_str()) == 1;
  if (options_.verify) {
    X509_VERIFY_PARAM* expected = SSL_get0_param(session.get());
    X509_VERIFY_PARAM_set_hostflags(
        expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    ready = ready && (host_is_address_ ? X509_VERIFY_PARAM_set1_ip_asc(expected, host_.c_str()) == 1
                                       : X509_VERIFY_PARAM_set1_host(expected, host_.c_str(),
                                                                     host_.size()) == 1);
  }
  if (!ready) session.reset();
  return session;
}

KeExchange::KeExchange(asio::io_context& context, const KeTls& tls)
    : tls_(tls), socket_(context), timer_(context), ssl_(tls.new_session()) {}

// From now on, `time` until time_up_ and an end to all waiting.
void KeExchange::arm(Duration time) {
  time_up_ = false;
  timer_.expires_after(time);
  timer_.async_wait([weak = weak_from_this()](const error_code& cancelled) {
    const auto self = weak.lock();
    // A handler of an earlier arm() may have been on its way already.
    if (cancelled || !self || self->timer_.expiry() > Clock::now()) return;
    self->time_up_ = true;
    error_code ignored;
    self->socket_.cancel(ignored);
  });
}

awaitable<KeOutcome> KeExchange::run() {
  arm(tls_.options().timeout);
  if (!prepare()) co_return KeOutcome::kLocal;
  if (const KeOutcome end = co_await connect(); end != KeOutcome::kDone) co_return end;
  if (const KeOutcome end = co_await shake_hands(); end != KeOutcome::kDone) co_return end;
  co_return co_await exchange();
}

bool KeExchange::prepare() {
  if (!ssl_) return false;
  received_ = BIO_new(BIO_s_mem());
  to_send_ = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl_.get(), received_, to_send_);  // takes both, null or not
  return received_ != nullptr && to_send_ != nullptr;
}

awaitable<KeOutcome> KeExchange::connect() {
  error_code error;
  socket_.open(tls_.server().protocol(), error);
  if (!error) error = std::get<0>(co_await socket_.async_connect(tls_.server(), kAwait));
  if (!error) co_return KeOutcome::kDone;
  detail_ = error.message();
  if (time_up_) co_return KeOutcome::kConnectTimeout;
  if (is_local(error)) co_return KeOutcome::kLocal;
  co_return error == asio::error::connection_refused ? KeOutcome::kConnectRefused
                                                     : KeOutcome::kConnectFailed;
}

// Leaves the client's Finished in to_send_, where the request joins it.
awaitable<KeOutcome> KeExchange::shake_hands() {
  for (;;) {
    ERR_clear_error();
    const int error = SSL_get_error(ssl_.get(), SSL_do_handshake(ssl_.get()));
    if (error == SSL_ERROR_NONE) break;
    const KeOutcome failure = error == SSL_ERROR_WANT_READ ? KeOutcome::kDone : tls_failure();
    if (!co_await flush() && failure == KeOutcome::kDone) co_return cut_off();
    if (failure != KeOutcome::kDone) co_return failure;
    if (!co_await fill()) co_return cut_off();
  }
  shaken_hands_ = Clock::now();
  const unsigned char* alpn = nullptr;
  unsigned length = 0;
  SSL_get0_alpn_selected(ssl_.get(), &alpn, &length);
  co_return length != 0 ? KeOutcome::kDone : KeOutcome::kNoAlpn;
}

awaitable<KeOutcome> KeExchange::exchange() {
  ERR_clear_error();
  const std::vector<std::uint8_t>& request = tls_.request();
  if (SSL_write(ssl_.get(), request.data(), static_cast<int>(request.size())) <= 0)
    co_return tls_failure();
  while (message_.size() < kMaxResponse) {
    if (!co_await flush() || !co_await fill()) co_return cut_off();
    std::array<std::uint8_t, 4096> chunk;
    std::size_t size = 0;
    ERR_clear_error();
    int result = 0;
    while ((result = SSL_read_ex(ssl_.get(), chunk.data(), chunk.size(), &size)) == 1)
      message_.insert(message_.end(), chunk.begin(), chunk.begin() + size);
    const int error = SSL_get_error(ssl_.get(), result);  // before anything else may fail
    if (const auto length = nts::message_length(message_))
      co_return accept(Bytes(message_).first(*length));
    if (error == SSL_ERROR_ZERO_RETURN) co_return cut_off();
    if (error != SSL_ERROR_WANT_READ) co_return tls_failure();
  }
  detail_ = "no end within " + std::to_string(kMaxResponse) + " octets";
  co_return KeOutcome::kBadRecord;
}

KeOutcome KeExchange::accept(Bytes message) {
  auto response = nts::parse_ke_response(message, tls_.options().request);
  if (response) {
    response_ = std::move(*response);
    return KeOutcome::kDone;
  }
  detail_ = response.error().detail;
  return outcome_of(response.error());
}

bool KeExchange::export_keys(nts::AssociationKeys& keys) const {
  keys.aead = response_.aead;
  const std::size_t length = crypto::parameters(response_.aead).key_length;
  const auto export_one = [&](bool server_to_client, MutableBytes out) {
    const auto context = nts::exporter_context(response_.exporter_aead, server_to_client);
    return SSL_export_keying_material(ssl_.get(), out.data(), out.size(),
                                      nts::kExporterLabel.data(), nts::kExporterLabel.size(),
                                      context.data(), context.size(), 1) == 1;
  };
  return export_one(false, keys.c2s.resize(length)) && export_one(true, keys.s2c.resize(length));
}

awaitable<void> KeExchange::part(KeFarewell how) {
  error_code ignored;
  if (how == KeFarewell::kAbrupt) socket_.set_option(tcp::socket::linger(true, 0), ignored);
  if (how == KeFarewell::kNotify) {
    SSL_shutdown(ssl_.get());
    co_await flush();
  }
  timer_.cancel();
  while (how == KeFarewell::kKeep) {
    const auto [error, size] = co_await socket_.async_read_some(asio::buffer(arrived_), kAwait);
    if (error) break;
  }
  socket_.close(ignored);
}

awaitable<bool> KeExchange::dribble() {
  arm(tls_.options().timeout);
  if (!prepare() || co_await connect() != KeOutcome::kDone) co_return false;
  ERR_clear_error();
  SSL_do_handshake(ssl_.get());
  char* hello = nullptr;
  const long size = BIO_get_mem_data(to_send_, &hello);
  for (long i = 0; i < size; ++i) {
    error_code error;
    socket_.write_some(asio::buffer(hello + i, 1), error);
    if (error) co_return true;
    arm(1s);  // time_up_ is when the next octet is due
    if (!co_await fill() && !time_up_) co_return true;
  }
  timer_.cancel();
  time_up_ = false;
  while (co_await fill()) {
  }
  co_return true;
}

// Waits for octets and hands them to OpenSSL. False: the server is gone, or time is up.
awaitable<bool> KeExchange::fill() {
  if (time_up_) co_return false;
  const auto [error, size] = co_await socket_.async_read_some(asio::buffer(arrived_), kAwait);
  if (error && !time_up_) detail_ = error.message();
  if (error || time_up_) co_return false;
  co_return BIO_write(received_, arrived_.data(), static_cast<int>(size)) == static_cast<int>(size);
}

// Sends what OpenSSL has written.
awaitable<bool> KeExchange::flush() {
  char* data = nullptr;
  const long size = BIO_get_mem_data(to_send_, &data);
  if (size <= 0) co_return true;
  if (time_up_) co_return false;
  const auto [error, sent] = co_await asio::async_write(
      socket_, asio::buffer(data, static_cast<std::size_t>(size)), kAwait);
  if (error && !time_up_) detail_ = error.message();
  (void)BIO_reset(to_send_);
  co_return !error;
}

KeOutcome KeExchange::cut_off() {
  return time_up_ ? KeOutcome::kTimeout : KeOutcome::kClosed;
}

// After an SSL_ operation failed.
KeOutcome KeExchange::tls_failure() {
  const unsigned long error = ERR_peek_error();
  ERR_clear_error();
  const int reason = ERR_GET_REASON(error);
  if (ERR_GET_LIB(error) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET) {
    detail_ = SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET);
    return KeOutcome::kTlsAlert;
  }
  if (const long verdict = SSL_get_verify_result(ssl_.get());
      tls_.options().verify && verdict != X509_V_OK) {
    detail_ = X509_verify_cert_error_string(verdict);
    return KeOutcome::kCertificate;
  }
  detail_ = reason_text(error);
  return KeOutcome::kTlsFailed;
}

}  // namespace timeball::bench
