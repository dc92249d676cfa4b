// A certificate chain with its private key, as two PEM files hold them.
//
// Immutable once read; any thread. Whether it has expired is the caller's question: this reads no
// clock. Errors are one sentence that names the file and says what to do.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/base/openssl_handle.h"

namespace timeball::server {

using X509Handle = OpenSsl<X509, X509_free>;
using PkeyHandle = OpenSsl<EVP_PKEY, EVP_PKEY_free>;

struct CertificateFiles {
  std::string certificate;  // the chain in PEM, leaf first
  std::string private_key;  // PEM, without a passphrase
  bool operator==(const CertificateFiles&) const = default;
};

// Every certificate of a PEM file, in its order; at least one.
Result<std::vector<X509Handle>> read_chain(const std::string& path);
Result<PkeyHandle> read_private_key(const std::string& path);
// "2026-03-01 12:00:00 UTC".
std::string print_time(const ASN1_TIME* time);

class TlsCertificate {
 public:
  static Result<std::shared_ptr<const TlsCertificate>> read(const CertificateFiles& files);
  // files: for the messages. Errors: the key is not the first certificate's, or OpenSSL would not
  // serve the pair, because a key is too short, say.
  static Result<std::shared_ptr<const TlsCertificate>> make(std::vector<X509Handle> chain,
                                                            PkeyHandle key,
                                                            const CertificateFiles& files);

  // Of the leaf.
  X509* leaf() const { return chain_.front().get(); }
  std::int64_t not_before_s() const { return not_before_s_; }  // since 1970
  std::int64_t not_after_s() const { return not_after_s_; }
  const std::string& subject() const { return subject_; }  // RFC 2253
  // Its subject alternative names, DNS names in lower case (also "*.example.org") and addresses as
  // text; sorted, each once.
  const std::vector<std::string>& names() const { return names_; }
  int key_type() const;  // EVP_PKEY_EC, EVP_PKEY_RSA ...
  bool same_leaf(const TlsCertificate& other) const;

  // Adds the pair to what the context serves, in the place of one of the same type of key. False:
  // OpenSSL does not take it.
  bool put_into(SSL_CTX* context) const;

 private:
  TlsCertificate(std::vector<X509Handle> chain, PkeyHandle key);

  std::vector<X509Handle> chain_;
  PkeyHandle key_;
  std::int64_t not_before_s_;
  std::int64_t not_after_s_;
  std::string subject_;
  std::vector<std::string> names_;
};

}  // namespace timeball::server
