#include "server/tls_context.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <spdlog/fmt/fmt.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <utility>

#include "common/base/bytes.h"
#include "common/nts/ke_record.h"

namespace timeball::server {
namespace {

// AES-128-GCM first: the cheapest here, and NTS-KE's keys protect one short exchange.
constexpr const char* kCipherSuites =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
constexpr const char* kGroups = "X25519:P-256:P-384";

// "ntske/1" as ALPN writes it: length, name.
constexpr std::array<unsigned char, 8> kAlpnName = {7, 'n', 't', 's', 'k', 'e', '/', '1'};
static_assert(kAlpnName.size() == nts::kAlpn.size() + 1);

// Whether the client offers TLS 1.3 in supported_versions (RFC 8446, section 4.2.1).
bool offers_tls13(SSL* ssl) {
  const unsigned char* data = nullptr;
  std::size_t size = 0;
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_versions, &data, &size) != 1)
    return false;
  ByteReader reader({data, size});
  reader.u8();
  while (reader.remaining() >= 2) {
    if (reader.u16() == TLS1_3_VERSION) return true;
  }
  return false;
}

// OpenSSL asks select_alpn() only when the client sends ALPN: the client that sends none is caught
// here. The version goes first: a client without TLS 1.3 gets OpenSSL's protocol_version.
int on_client_hello(SSL* ssl, int* alert, void*) {
  const unsigned char* data = nullptr;
  std::size_t size = 0;
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &data,
                                &size) == 1 ||
      !offers_tls13(ssl)) {
    return SSL_CLIENT_HELLO_SUCCESS;
  }
  *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
  return SSL_CLIENT_HELLO_ERROR;
}

int select_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                unsigned int in_size, void*) {
  unsigned char* chosen = nullptr;
  const int found =
      SSL_select_next_proto(&chosen, out_size, kAlpnName.data(), kAlpnName.size(), in, in_size);
  if (found != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

// A daemon has nobody to ask for a passphrase.
int no_passphrase(char*, int, int, void*) {
  return -1;
}

// Whether this error is in the queue, which it empties.
bool queued(int library, int reason) {
  bool found = false;
  while (const unsigned long error = ERR_get_error()) {
    found = found || (ERR_GET_LIB(error) == library && ERR_GET_REASON(error) == reason);
  }
  return found;
}

using Bio = OpenSsl<BIO, BIO_free_all>;

Result<Bio> open_pem(const char* what, const std::string& path) {
  // The error queue has errno too, but in words for programmers.
  errno = 0;
  Bio file(BIO_new_file(path.c_str(), "r"));
  const int error = errno;
  ERR_clear_error();
  if (!file) return fail(fmt::format("{} {}: {}", what, path, std::strerror(error)));
  return file;
}

Result<void> use_certificate(SSL_CTX* context, const std::string& path) {
  if (auto readable = open_pem("certificate", path); !readable)
    return fail(readable.error().message);
  if (SSL_CTX_use_certificate_chain_file(context, path.c_str()) == 1) return {};
  const std::string reason =
      queued(ERR_LIB_PEM, PEM_R_NO_START_LINE) ? "holds no PEM certificate" : "cannot be used";
  return fail(fmt::format("certificate {} {}. It must be the chain in PEM, the server's own first",
                          path, reason));
}

Result<void> use_private_key(SSL_CTX* context, const std::string& path) {
  auto file = open_pem("private key", path);
  if (!file) return fail(file.error().message);
  const OpenSsl<EVP_PKEY, EVP_PKEY_free> key(
      PEM_read_bio_PrivateKey(file->get(), nullptr, no_passphrase, nullptr));
  if (!key) {
    return fail(fmt::format("private key {} {}", path,
                            queued(ERR_LIB_PEM, PEM_R_BAD_PASSWORD_READ)
                                ? "has a passphrase. Store it without one, mode 0600"
                                : "holds no PEM private key that can be read"));
  }
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1) {
    return fail(fmt::format("private key {} does not belong to the certificate", path));
  }
  return {};
}

bool set_rules(SSL_CTX* context) {
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_client_hello_cb(context, on_client_hello, nullptr);
  SSL_CTX_set_alpn_select_cb(context, select_alpn, nullptr);
  return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_ciphersuites(context, kCipherSuites) == 1 &&
         SSL_CTX_set1_groups_list(context, kGroups) == 1 &&
         SSL_CTX_set_num_tickets(context, 0) == 1 && SSL_CTX_set_max_early_data(context, 0) == 1;
}

std::int64_t not_after(const X509* certificate) {
  std::tm time{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &time) != 1) return 0;
  return ::timegm(&time);
}

std::string subject_of(const X509* certificate) {
  const Bio text(BIO_new(BIO_s_mem()));
  if (!text ||
      X509_NAME_print_ex(text.get(), X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) < 0) {
    return {};
  }
  char* data = nullptr;
  const long size = BIO_get_mem_data(text.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

}  // namespace

Result<std::shared_ptr<const TlsContext>> TlsContext::make(const std::string& certificate_path,
                                                           const std::string& private_key_path) {
  ERR_clear_error();
  Handle context(SSL_CTX_new(TLS_server_method()));
  if (!context || !set_rules(context.get())) {
    return fail(fmt::format("OpenSSL cannot serve TLS 1.3 here: {}",
                            ERR_reason_error_string(ERR_peek_last_error())));
  }
  auto used = use_certificate(context.get(), certificate_path);
  if (used) used = use_private_key(context.get(), private_key_path);
  ERR_clear_error();
  if (!used) return fail(used.error().message);
  const X509* leaf = SSL_CTX_get0_certificate(context.get());
  const std::int64_t not_after_s = not_after(leaf);
  return std::shared_ptr<const TlsContext>(
      new TlsContext(std::move(context), not_after_s, subject_of(leaf)));
}

TlsContext::TlsContext(Handle context, std::int64_t not_after_s, std::string subject)
    : context_(std::move(context)), not_after_s_(not_after_s), subject_(std::move(subject)) {}

bool TlsContext::same_certificate(const TlsContext& other) const {
  return X509_cmp(SSL_CTX_get0_certificate(context_.get()),
                  SSL_CTX_get0_certificate(other.context_.get())) == 0;
}

OpenSsl<SSL, SSL_free> TlsContext::new_session() const {
  OpenSsl<SSL, SSL_free> session(SSL_new(context_.get()));
  if (session) SSL_set_accept_state(session.get());
  return session;
}

TlsFailure take_tls_failure() {
  const unsigned long error = ERR_peek_error();
  ERR_clear_error();
  if (ERR_GET_LIB(error) != ERR_LIB_SSL) return TlsFailure::kOther;
  switch (const int reason = ERR_GET_REASON(error)) {
    case SSL_R_UNSUPPORTED_PROTOCOL:
      return TlsFailure::kProtocolVersion;
    case SSL_R_NO_APPLICATION_PROTOCOL:
    case SSL_R_CALLBACK_FAILED:  // on_client_hello, the only callback that fails
      return TlsFailure::kNoAlpn;
    default:
      return reason > SSL_AD_REASON_OFFSET ? TlsFailure::kRefusedByClient : TlsFailure::kOther;
  }
}

}  // namespace timeball::server
