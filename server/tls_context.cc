#include "server/tls_context.h"

#include <openssl/err.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "common/base/bytes.h"
#include "common/nts/ke_record.h"
#include "server/tls_key_schedule.h"

namespace timeball::server {
namespace {

// AES-128-GCM first: the cheapest here, and NTS-KE's keys protect one short exchange.
constexpr const char* kCipherSuites =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
constexpr const char* kGroups = "X25519:P-256:P-384";

// A protocol as ALPN writes it (length, name), and what becomes of who offers only others.
struct Protocol {
  Bytes name;
  int otherwise;
};
constexpr unsigned char kNtsKeName[] = {7, 'n', 't', 's', 'k', 'e', '/', '1'};
static_assert(std::size(kNtsKeName) == nts::kAlpn.size() + 1);
constexpr unsigned char kHttpName[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
constexpr Protocol kNtsKe{kNtsKeName, SSL_TLSEXT_ERR_ALERT_FATAL};
// It may speak this one all the same.
constexpr Protocol kHttp{kHttpName, SSL_TLSEXT_ERR_NOACK};

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
                unsigned int in_size, void* protocol) {
  const auto& [name, otherwise] = *static_cast<const Protocol*>(protocol);
  unsigned char* chosen = nullptr;
  const int found = SSL_select_next_proto(&chosen, out_size, name.data(),
                                          static_cast<unsigned>(name.size()), in, in_size);
  if (found != OPENSSL_NPN_NEGOTIATED) return otherwise;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

bool set_rules(SSL_CTX* context, TlsUse use) {
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  if (use == TlsUse::kNtsKe) SSL_CTX_set_client_hello_cb(context, on_client_hello, nullptr);
  const Protocol& protocol = use == TlsUse::kNtsKe ? kNtsKe : kHttp;
  SSL_CTX_set_alpn_select_cb(context, select_alpn, const_cast<Protocol*>(&protocol));
  return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_ciphersuites(context, kCipherSuites) == 1 &&
         SSL_CTX_set1_groups_list(context, kGroups) == 1 &&
         SSL_CTX_set_num_tickets(context, 0) == 1 && SSL_CTX_set_max_early_data(context, 0) == 1;
}

using Handle = OpenSsl<SSL_CTX, SSL_CTX_free>;
using Certificates = TlsContext::Certificates;

// What a key signs with in TLS 1.3 (RFC 8446, section 4.2.3), in the order of our preference.
struct Signature {
  int key_type;
  int key_bits;  // 0: any
  const char* algorithms;
};
constexpr Signature kSignatures[] = {
    {EVP_PKEY_EC, 256, "ecdsa_secp256r1_sha256"},
    {EVP_PKEY_ED25519, 0, "ed25519"},
    {EVP_PKEY_EC, 384, "ecdsa_secp384r1_sha384"},
    {EVP_PKEY_EC, 521, "ecdsa_secp521r1_sha512"},
    {EVP_PKEY_ED448, 0, "ed448"},
    {EVP_PKEY_RSA, 0, "rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512"},
    {EVP_PKEY_RSA_PSS, 0, "rsa_pss_pss_sha256:rsa_pss_pss_sha384:rsa_pss_pss_sha512"},
};

// No more than the certificates need: OpenSSL tries all that it may use, at each handshake.
bool set_signatures(SSL_CTX* context, const Certificates& certificates) {
  std::string list;
  for (const Signature& signature : kSignatures) {
    const bool needed = std::ranges::any_of(certificates, [&](const auto& certificate) {
      const EVP_PKEY* const key = X509_get0_pubkey(certificate->leaf());
      return certificate->key_type() == signature.key_type &&
             (signature.key_bits == 0 || EVP_PKEY_get_bits(key) == signature.key_bits);
    });
    if (needed) list.append(list.empty() ? "" : ":").append(signature.algorithms);
  }
  return list.empty() || SSL_CTX_set1_sigalgs_list(context, list.c_str()) == 1;
}

// Null when OpenSSL cannot have it so.
Handle make_context(const Certificates& certificates, TlsUse use) {
  Handle context(SSL_CTX_new_ex(nullptr, prefer_key_schedule(), TLS_server_method()));
  if (!context || !set_rules(context.get(), use) || !set_signatures(context.get(), certificates)) {
    return nullptr;
  }
  for (const auto& certificate : certificates) {
    if (!certificate->put_into(context.get())) return nullptr;
  }
  return context;
}

// ---- Several certificates.

// Contexts by what clients may call the server, in lower case; null: the default.
using Names = std::map<std::string, SSL_CTX*, std::less<>>;

struct OtherContexts {
  std::vector<Handle> contexts;
  Names names;
};

void free_others(void*, void* others, CRYPTO_EX_DATA*, int, long, void*) {
  delete static_cast<OtherContexts*>(others);
}

// Where the default context keeps the others: sessions outlive the TlsContext they began with, but
// not its SSL_CTX.
int others_index() {
  static const int kIndex = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, free_others);
  return kIndex;
}

// A name from the wire, or else the wildcard over it. Null: the default.
SSL_CTX* find(const Names& names, std::string_view name) {
  std::array<char, TLSEXT_MAXLEN_host_name> buffer;
  if (name.size() > buffer.size()) return nullptr;
  const auto end = std::ranges::transform(name, buffer.begin(), [](unsigned char c) {
                     return static_cast<char>(std::tolower(c));
                   }).out;
  if (const auto found = names.find(std::string_view(buffer.begin(), end)); found != names.end()) {
    return found->second;
  }
  const auto dot = std::find(buffer.begin(), end, '.');
  if (dot == buffer.begin() || dot == end) return nullptr;
  *(dot - 1) = '*';
  const auto found = names.find(std::string_view(dot - 1, end));
  return found != names.end() ? found->second : nullptr;
}

// OpenSSL asks before it chooses a certificate. After a HelloRetryRequest it asks again, when the
// choice has been made: then the context has no others.
int choose_by_name(SSL* ssl, int*, void*) {
  const auto* others =
      static_cast<const OtherContexts*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), others_index()));
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  SSL_CTX* const context = others && name ? find(others->names, name) : nullptr;
  if (context == nullptr) return SSL_TLSEXT_ERR_NOACK;
  SSL_set_SSL_CTX(ssl, context);  // without memory: the default goes on
  return SSL_TLSEXT_ERR_OK;
}

// The first of each type of key among those that are fit.
template <class Fit>
Certificates one_of_each_type(const Certificates& certificates, Fit fit) {
  Certificates chosen;
  for (const auto& certificate : certificates) {
    const bool taken = std::ranges::any_of(
        chosen, [&](const auto& other) { return other->key_type() == certificate->key_type(); });
    if (!taken && fit(*certificate)) chosen.push_back(certificate);
  }
  return chosen;
}

// Contexts for the names that the default does not serve; null when OpenSSL cannot have it so.
std::unique_ptr<OtherContexts> make_others(const Certificates& certificates,
                                           const Certificates& by_default, TlsUse use) {
  auto others = std::make_unique<OtherContexts>();
  std::map<Certificates, SSL_CTX*> made{{by_default, nullptr}};
  for (const auto& certificate : certificates) {
    for (const std::string& name : certificate->names()) {
      const Certificates chosen = one_of_each_type(certificates, [&](const TlsCertificate& c) {
        return std::ranges::binary_search(c.names(), name);
      });
      const auto [entry, is_new] = made.emplace(chosen, nullptr);
      if (is_new) {
        others->contexts.push_back(make_context(chosen, use));
        entry->second = others->contexts.back().get();
        if (entry->second == nullptr) return nullptr;
      }
      others->names.emplace(name, entry->second);
    }
  }
  return others;
}

// Whether the default context now knows the others. Where there are none, OpenSSL is not told to
// ask.
bool add_others(SSL_CTX* context, std::unique_ptr<OtherContexts> others) {
  if (!others) return false;
  if (others->contexts.empty()) return true;
  if (SSL_CTX_set_ex_data(context, others_index(), others.get()) != 1) return false;
  (void)others.release();
  return SSL_CTX_set_tlsext_servername_callback(context, choose_by_name) == 1;
}

}  // namespace

Result<std::shared_ptr<const TlsContext>> TlsContext::make(const Certificates& certificates,
                                                           TlsUse use) {
  ERR_clear_error();
  const auto& first_names = certificates.front()->names();
  const Certificates by_default = one_of_each_type(certificates, [&](const TlsCertificate& c) {
    return &c == certificates.front().get() || std::ranges::includes(c.names(), first_names);
  });
  Handle context = make_context(by_default, use);
  const bool made =
      context && add_others(context.get(), make_others(certificates, by_default, use));
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  if (made) return std::shared_ptr<const TlsContext>(new TlsContext(std::move(context)));
  return fail(fmt::format("OpenSSL cannot serve TLS 1.3 here: {}",
                          reason != nullptr ? reason : "out of memory"));
}

Result<std::shared_ptr<const TlsContext>> TlsContext::read(const CertificateFiles& files) {
  auto certificate = TlsCertificate::read(files);
  if (!certificate) return fail(certificate.error().message);
  return make({std::move(*certificate)});
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
