// The certificates in use, and the TLS rules of NTS-KE (RFC 8915, section 3) around them: TLS 1.3
// only, ALPN "ntske/1" only, no tickets, no resumption, no early data, no key log. For HTTP the
// same, but for ALPN: "http/1.1", or none.
//
// A client that names the server (RFC 6066, section 3) gets a certificate that has that name, or
// else one that has the wildcard in its place; of several, the first whose type of key its
// signature algorithms allow, as OpenSSL prefers them (ECDSA to RSA). A client that names none, or
// one that nobody has, gets the first certificate, or one with another type of key and all names of
// the first.
//
// A client without TLS 1.3 gets the alert protocol_version; one that does not offer "ntske/1", or
// no ALPN at all, gets no_application_protocol. Immutable once made; Published<TlsContext> carries
// it to the NTS-KE threads. A renewed certificate is a new TlsContext; sessions already begun keep
// theirs. Any thread.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "common/base/error.h"
#include "common/base/openssl_handle.h"
#include "server/tls_certificate.h"

namespace timeball::server {

enum class TlsUse : std::uint8_t { kNtsKe, kHttp };

class TlsContext {
 public:
  using Certificates = std::vector<std::shared_ptr<const TlsCertificate>>;

  // At least one certificate. The error: OpenSSL cannot have it so, most likely for lack of memory.
  static Result<std::shared_ptr<const TlsContext>> make(const Certificates& certificates,
                                                        TlsUse use = TlsUse::kNtsKe);
  // Of one certificate, whose files it reads.
  static Result<std::shared_ptr<const TlsContext>> read(const CertificateFiles& files);

  // A server's side of one connection, without its BIOs; null when memory is short.
  OpenSsl<SSL, SSL_free> new_session() const;

 private:
  using Handle = OpenSsl<SSL_CTX, SSL_CTX_free>;
  explicit TlsContext(Handle context) : context_(std::move(context)) {}

  const Handle context_;  // of the first certificate; owns the others
};

// Why a handshake failed, for the counters.
enum class TlsFailure : std::uint8_t {
  kProtocolVersion,  // the client has no TLS 1.3
  kNoAlpn,           // the client does not offer "ntske/1"
  kRefusedByClient,  // the client sent an alert: most often it does not trust the certificate
  kOther,
};
// Reads and empties this thread's OpenSSL error queue, after a call on a new_session() failed.
TlsFailure take_tls_failure();

}  // namespace timeball::server
