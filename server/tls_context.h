// One certificate chain with its key, and the TLS rules of NTS-KE (RFC 8915, section 3) around
// them: TLS 1.3 only, ALPN "ntske/1" only, no tickets, no resumption, no early data, no key log.
//
// A client without TLS 1.3 gets the alert protocol_version; one that does not offer "ntske/1", or
// no ALPN at all, gets no_application_protocol. Immutable once made; Published<TlsContext> carries
// it to the NTS-KE threads. A renewed certificate is a new TlsContext; sessions already begun keep
// theirs. Any thread.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <string>

#include "common/base/error.h"
#include "common/base/openssl_handle.h"

namespace timeball::server {

class TlsContext {
 public:
  // Reads both files (PEM; the chain leaf first). Errors: a file that cannot be read or holds no
  // PEM, a key with a passphrase, a key that is not the certificate's. Whether the certificate has
  // expired is the caller's question: this reads no clock.
  static Result<std::shared_ptr<const TlsContext>> make(const std::string& certificate_path,
                                                        const std::string& private_key_path);

  // A server's side of one connection, without its BIOs; null when memory is short.
  OpenSsl<SSL, SSL_free> new_session() const;

  std::int64_t not_after_s() const { return not_after_s_; }  // of the leaf, seconds since 1970
  const std::string& subject() const { return subject_; }    // of the leaf, RFC 2253
  bool same_certificate(const TlsContext& other) const;      // the same leaf

 private:
  using Handle = OpenSsl<SSL_CTX, SSL_CTX_free>;
  TlsContext(Handle context, std::int64_t not_after_s, std::string subject);

  Handle context_;
  std::int64_t not_after_s_;
  std::string subject_;
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
