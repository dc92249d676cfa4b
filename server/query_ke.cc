#include "server/query_ke.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "common/base/openssl_handle.h"
#include "common/base/printable.h"
#include "server/query_certificate.h"
#include "server/query_socket.h"

namespace timeball::server {
namespace {

using std::chrono::steady_clock;
using Context = OpenSsl<SSL_CTX, SSL_CTX_free>;
using Session = OpenSsl<SSL, SSL_free>;

constexpr std::array<unsigned char, 8> kAlpnList = {7, 'n', 't', 's', 'k', 'e', '/', '1'};
constexpr std::size_t kMaxResponse = 65536;  // octets we are willing to hold

tl::unexpected<QueryFailure> failure(QueryStatus status, std::string cause, std::string cure) {
  return tl::unexpected(QueryFailure{status, std::move(cause), std::move(cure)});
}

tl::unexpected<QueryFailure> openssl_failure(const std::string& doing) {
  const char* reason = ERR_reason_error_string(ERR_get_error());
  return failure(
      QueryStatus::kLocal,
      "cannot " + doing + ": " + (reason != nullptr ? reason : "OpenSSL gives no reason"),
      "check this machine's OpenSSL and its configuration");
}

// As browsers and curl do: the session's secrets, for Wireshark, in the file SSLKEYLOGFILE names.
void log_key(const SSL*, const char* line) {
  const int fd =
      ::open(std::getenv("SSLKEYLOGFILE"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return;
  ::dprintf(fd, "%s\n", line);
  ::close(fd);
}

QueryResult<Context> make_context(const QueryOptions& options) {
  Context context(SSL_CTX_new(TLS_client_method()));
  if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_alpn_protos(context.get(), kAlpnList.data(), kAlpnList.size()) != 0)
    return openssl_failure("set up TLS");
  // The handshake ends whatever the certificate is, so that it can be described. Nothing is sent
  // over the session before SSL_get_verify_result() has been looked at.
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  if (std::getenv("SSLKEYLOGFILE") != nullptr) SSL_CTX_set_keylog_callback(context.get(), log_key);
  const char* ca = options.ca_file.c_str();
  if (!options.ca_file.empty() && SSL_CTX_load_verify_file(context.get(), ca) != 1) {
    return failure(QueryStatus::kLocal, "cannot read CA certificates from " + options.ca_file,
                   "--ca takes a file of PEM certificates");
  }
  if (options.ca_file.empty() && SSL_CTX_set_default_verify_paths(context.get()) != 1)
    return openssl_failure("load the system's CAs");
  return context;
}

// An address is looked for among the certificate's addresses, a name among its names; never in the
// subject. Addresses are not sent as server name (RFC 6066, section 3).
bool expect_host(SSL* ssl, const std::string& host) {
  X509_VERIFY_PARAM* parameters = SSL_get0_param(ssl);
  if (X509_VERIFY_PARAM_set1_ip_asc(parameters, host.c_str()) == 1) return true;
  X509_VERIFY_PARAM_set_hostflags(
      parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  return X509_VERIFY_PARAM_set1_host(parameters, host.c_str(), host.size()) == 1 &&
         SSL_set_tlsext_host_name(ssl, host.c_str()) == 1;
}

enum class Io { kDone, kTimeout, kClosed, kFailed };

// Repeats an SSL_ operation until it is done. After kFailed, OpenSSL's error queue says why, or
// else errno does.
template <class Operation>
Io drive(SSL* ssl, Deadline deadline, Operation operation) {
  for (;;) {
    ERR_clear_error();
    errno = 0;
    const int result = operation();
    if (result > 0) return Io::kDone;
    switch (SSL_get_error(ssl, result)) {
      case SSL_ERROR_WANT_READ:
        if (!wait_for(SSL_get_fd(ssl), POLLIN, deadline)) return Io::kTimeout;
        break;
      case SSL_ERROR_WANT_WRITE:
        if (!wait_for(SSL_get_fd(ssl), POLLOUT, deadline)) return Io::kTimeout;
        break;
      case SSL_ERROR_ZERO_RETURN:
        return Io::kClosed;
      default:
        return Io::kFailed;
    }
  }
}

// The TLS version that a server without 1.3 does speak, if any: a second connection, thrown away.
std::string probe_older_tls(const net::Endpoint& server, Deadline deadline) {
  const Context context(SSL_CTX_new(TLS_client_method()));
  const QueryResult<TcpConnection> tcp = connect_tcp({server}, deadline);
  if (!context || !tcp) return {};
  SSL_CTX_set_security_level(context.get(), 0);
  SSL_CTX_set_min_proto_version(context.get(), TLS1_VERSION);
  SSL_CTX_set_max_proto_version(context.get(), TLS1_2_VERSION);
  const Session ssl(SSL_new(context.get()));
  if (!ssl || SSL_set_fd(ssl.get(), tcp->socket.fd()) != 1) return {};
  if (drive(ssl.get(), deadline, [&] { return SSL_connect(ssl.get()); }) != Io::kDone) return {};
  return SSL_get_version(ssl.get());
}

bool may_be_too_old(int reason) {
  return reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION || reason == SSL_R_UNSUPPORTED_PROTOCOL ||
         reason == SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE ||
         reason == SSL_R_TLSV1_ALERT_INSUFFICIENT_SECURITY;
}

QueryFailure explain_alert(int reason) {
  switch (reason) {
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    case SSL_R_UNSUPPORTED_PROTOCOL:
      return {QueryStatus::kTls, "TLS too old: the server does not speak TLS 1.3",
              "NTS needs TLS 1.3: update the server's TLS library or its configuration"};
    case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL:
      return {QueryStatus::kTls, "the server refuses the ALPN protocol ntske/1",
              "this is a TLS server for something else: is it the right port (--ke-port)?"};
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
      return {QueryStatus::kTls, "the server does not speak TLS on this port",
              "NTS-KE is TLS on TCP port 4460: is it the right port (--ke-port)?"};
    case SSL_R_TLSV1_UNRECOGNIZED_NAME:
      return {QueryStatus::kTls, "the server has no certificate for this name (unrecognized_name)",
              "query it by a name it serves, or give it a certificate for this one"};
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
      return {
          QueryStatus::kTls, "the server closed the connection during the TLS handshake",
          "it may deny this address, be at its connection limit or have no certificate: see its "
          "log"};
    default:
      const char* text = ERR_reason_error_string(ERR_PACK(ERR_LIB_SSL, 0, reason));
      return {
          QueryStatus::kTls,
          std::string("the TLS handshake failed: ") + (text != nullptr ? text : "unknown reason"),
          "see the server's log; `openssl s_client -alpn ntske/1` shows more"};
  }
}

// After a failed SSL_ operation.
QueryFailure explain_tls_failure(Io io, const net::Endpoint& server, Deadline deadline) {
  const int error = errno;
  if (io == Io::kTimeout) {
    return {QueryStatus::kTls,
            "the server accepts TCP but does not finish the TLS handshake in time",
            "it may be overloaded or hung, or something between delays large packets (path MTU)"};
  }
  const unsigned long queued = ERR_peek_error();
  if (queued == 0 || ERR_GET_LIB(queued) != ERR_LIB_SSL) {
    QueryFailure closed = explain_alert(SSL_R_UNEXPECTED_EOF_WHILE_READING);
    if (error != 0) closed.cause += std::string(": ") + std::strerror(error);
    return closed;
  }
  const int reason = ERR_GET_REASON(queued);
  if (!may_be_too_old(reason)) return explain_alert(reason);
  const std::string version = probe_older_tls(server, deadline);
  if (version.empty()) return explain_alert(reason);
  QueryFailure too_old = explain_alert(SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
  too_old.cause += ", only " + version;
  return too_old;
}

QueryResult<Session> shake_hands(SSL_CTX* context, const QueryOptions& options,
                                 const TcpConnection& tcp, Deadline deadline) {
  Session session(SSL_new(context));
  SSL* ssl = session.get();
  if (ssl == nullptr || SSL_set_fd(ssl, tcp.socket.fd()) != 1 || !expect_host(ssl, options.host))
    return openssl_failure("set up TLS");
  const Io io = drive(ssl, deadline, [&] { return SSL_connect(ssl); });
  if (io != Io::kDone) return tl::unexpected(explain_tls_failure(io, tcp.server, deadline));
  return session;
}

std::string selected_alpn(SSL* ssl) {
  const unsigned char* name = nullptr;
  unsigned length = 0;
  SSL_get0_alpn_selected(ssl, &name, &length);
  return printable({reinterpret_cast<const char*>(name), length});
}

// Describes the session, and says whether it will do.
QueryResult<void> inspect_session(SSL* ssl, const QueryOptions& options, QueryReport& report,
                                  const QueryProgress& progress) {
  TlsFacts& facts = report.tls.emplace();
  facts.version = SSL_get_version(ssl);
  facts.cipher = SSL_get_cipher_name(ssl);
  facts.alpn = selected_alpn(ssl);
  if (X509* certificate = SSL_get0_peer_certificate(ssl); certificate != nullptr)
    facts.certificate = describe_certificate(certificate);
  std::optional<QueryFailure> problem;
  if (const long result = SSL_get_verify_result(ssl); result != X509_V_OK) {
    problem = explain_certificate_problem(result, facts.certificate, options);
    facts.certificate.problem = problem->cause;
  }
  progress(report, QueryStep::kTls);
  if (problem && !options.insecure) return tl::unexpected(*problem);
  if (facts.alpn != nts::kAlpn) {
    return failure(QueryStatus::kTls,
                   "no ALPN: the server speaks TLS 1.3 but did not select ntske/1",
                   "this TLS server is not for NTS-KE (a proxy in front of it?): is it the right "
                   "port (--ke-port)?");
  }
  return {};
}

QueryFailure explain_read_failure(Io io, std::size_t received) {
  const std::string so_far =
      received == 0 ? "any record"
                    : "its End of Message record (" + std::to_string(received) + " octets came)";
  if (io == Io::kTimeout) {
    return {QueryStatus::kKe, "the NTS-KE server did not send " + so_far + " in time",
            "it may be overloaded or hung: see its log"};
  }
  if (io == Io::kFailed && ERR_GET_REASON(ERR_peek_error()) >= SSL_AD_REASON_OFFSET &&
      ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_SSL)
    return explain_alert(ERR_GET_REASON(ERR_peek_error()));
  return {QueryStatus::kKe, "the NTS-KE server closed the connection before " + so_far,
          "it may have failed, or have refused the request: see its log"};
}

// One whole message.
QueryResult<std::vector<std::uint8_t>> exchange_records(SSL* ssl, Bytes request,
                                                        Deadline deadline) {
  const Io sent = drive(ssl, deadline, [&] {
    return SSL_write(ssl, request.data(), static_cast<int>(request.size()));
  });
  if (sent != Io::kDone) return tl::unexpected(explain_read_failure(sent, 0));
  std::vector<std::uint8_t> response(kMaxResponse);
  std::size_t size = 0;
  while (size < response.size()) {
    int got = 0;
    const Io io = drive(ssl, deadline, [&] {
      return got = SSL_read(ssl, response.data() + size, static_cast<int>(response.size() - size));
    });
    if (io != Io::kDone) return tl::unexpected(explain_read_failure(io, size));
    size += static_cast<std::size_t>(got);
    if (const auto whole = nts::message_length(Bytes(response).first(size)); whole) {
      response.resize(*whole);
      SSL_shutdown(ssl);
      return response;
    }
  }
  return failure(QueryStatus::kKe, "the NTS-KE response has no end within 65536 octets",
                 "the server is faulty");
}

std::vector<RecordFacts> list_records(Bytes message) {
  std::vector<RecordFacts> records;
  ByteReader reader(message);
  while (const auto record = nts::read_record(reader))
    records.push_back({record->critical, record->type, record->body.size()});
  return records;
}

QueryFailure explain_error_record(std::uint16_t code) {
  const std::string cause = "the NTS-KE server answers Error " + std::to_string(code);
  switch (static_cast<nts::KeError>(code)) {
    case nts::KeError::kUnrecognizedCriticalRecord:
      return {QueryStatus::kKe, cause + " (unrecognized critical record)",
              "it does not know a record that every server must: the server is faulty"};
    case nts::KeError::kBadRequest:
      return {QueryStatus::kKe, cause + " (bad request)",
              "it finds our request malformed, or it came too late for it: see its log"};
    case nts::KeError::kInternalServerError:
      return {QueryStatus::kKe, cause + " (internal server error)",
              "it has no master keys yet, or cannot make cookies: see its log"};
  }
  return {QueryStatus::kKe, cause, "an unknown code: see the server's log"};
}

QueryFailure explain_ke_failure(const nts::KeFailure& refusal, const QueryOptions& options) {
  using Kind = nts::KeFailure::Kind;
  std::string offered;
  for (const std::uint16_t aead : options.ke.aeads)
    offered += (offered.empty() ? "" : ", ") + std::to_string(aead);
  switch (refusal.kind) {
    case Kind::kErrorRecord:
      return explain_error_record(refusal.error_code.value_or(0xffff));
    case Kind::kNoCommonProtocol:
      return {QueryStatus::kKe, "the NTS-KE server does not offer NTPv4",
              "it serves another protocol only: check its configuration"};
    case Kind::kNoCommonAead:
      return {QueryStatus::kKe,
              "no common AEAD: the server supports none of those offered (" + offered + ")",
              "every server must support 15: try without --aead, or enable it on the server"};
    case Kind::kMalformed:
      break;
  }
  return {QueryStatus::kKe, "malformed NTS-KE response: " + printable(refusal.detail),
          "the server breaks RFC 8915, section 4: report it to its maker"};
}

bool export_key(SSL* ssl, std::uint16_t context_aead, bool server_to_client, MutableBytes out) {
  const std::array<std::uint8_t, 5> context = nts::exporter_context(context_aead, server_to_client);
  return SSL_export_keying_material(ssl, out.data(), out.size(), nts::kExporterLabel.data(),
                                    nts::kExporterLabel.size(), context.data(), context.size(),
                                    1) == 1;
}

QueryResult<KeSession> make_session(SSL* ssl, const nts::KeResponse& response,
                                    const net::Endpoint& server) {
  KeSession session{{}, server, response.server, response.port};
  nts::AssociationKeys& keys = session.association.keys;
  keys.aead = response.aead;
  const std::size_t key_length = crypto::parameters(response.aead).key_length;
  if (!export_key(ssl, response.exporter_aead, false, keys.c2s.resize(key_length)) ||
      !export_key(ssl, response.exporter_aead, true, keys.s2c.resize(key_length)))
    return openssl_failure("export keys from TLS");
  session.association.cookies.assign(response.cookies.begin(), response.cookies.end());
  return session;
}

}  // namespace

QueryResult<KeSession> establish_keys(const QueryOptions& options, QueryReport& report,
                                      const QueryProgress& progress) {
  const Deadline deadline = steady_clock::now() + options.timeout;
  const auto endpoints = resolve(options.host, options.ke_port, options.family, SOCK_STREAM);
  if (!endpoints) return tl::unexpected(endpoints.error());
  const auto context = make_context(options);
  if (!context) return tl::unexpected(context.error());
  const auto connecting = steady_clock::now();
  const auto tcp = connect_tcp(*endpoints, deadline);
  if (!tcp) return tl::unexpected(tcp.error());
  report.tcp = TcpFacts{tcp->server, steady_clock::now() - connecting};
  progress(report, QueryStep::kTcp);

  const auto session = shake_hands(context->get(), options, *tcp, deadline);
  if (!session) return tl::unexpected(session.error());
  SSL* ssl = session->get();
  if (const auto fit = inspect_session(ssl, options, report, progress); !fit)
    return tl::unexpected(fit.error());

  const auto message = exchange_records(ssl, nts::make_ke_request(options.ke), deadline);
  if (!message) return tl::unexpected(message.error());
  KeFacts& facts = report.ke.emplace();
  facts.records = list_records(*message);
  const auto response = nts::parse_ke_response(*message, options.ke);
  if (response) facts.response = *response;
  progress(report, QueryStep::kKe);
  if (!response) return tl::unexpected(explain_ke_failure(response.error(), options));
  return make_session(ssl, *response, tcp->server);
}

}  // namespace timeball::server
