// The key schedule of TLS 1.3 (RFC 8446, section 7.1) as OpenSSL asks for it, without the detours:
// OpenSSL 3.0 looks its HMAC and its digest up by name, and allocates for them, at each of some 25
// derivations of a handshake. Here they are a few lines over its SHA-256 and SHA-384, held on to.
//
// It goes to OpenSSL as a built-in provider that has this one algorithm, "TLS13-KDF".
#pragma once

namespace timeball::server {

// What SSL_CTX_new_ex() is to be told so that a context prefers this key schedule; everything else,
// and this one too where the machine's OpenSSL configuration demands another (fips=yes), comes from
// where it did before. Null: OpenSSL does not take the provider, and uses its own. Any thread.
const char* prefer_key_schedule();

}  // namespace timeball::server
