#include "server/tls_key_schedule.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <strings.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "common/base/bytes.h"
#include "common/base/openssl_handle.h"
#include "common/base/secret.h"

namespace timeball::server {
namespace {

constexpr std::size_t kMaxDigestLength = 48;  // SHA-384
constexpr std::size_t kMaxBlockLength = 128;  // of its input

using Digest = Secret<kMaxDigestLength>;

// A digest of TLS 1.3's cipher suites, looked up once.
struct Hash {
  explicit Hash(const char* name) : digest(EVP_MD_fetch(nullptr, name, nullptr)) {
    if (!digest) return;
    const auto size = static_cast<std::size_t>(EVP_MD_get_size(digest.get()));
    block = static_cast<std::size_t>(EVP_MD_get_block_size(digest.get()));
    if (EVP_Digest(nullptr, 0, of_nothing.resize(size).data(), nullptr, digest.get(), nullptr) == 1)
      length = size;
  }
  const OpenSsl<EVP_MD, EVP_MD_free> digest;
  Digest of_nothing;
  std::size_t length = 0;  // 0: not to be had
  std::size_t block = 0;
};

// Null: not one of TLS 1.3's, or not to be had.
const Hash* hash_of(std::string_view name) {
  static const Hash kSha256("SHA2-256");
  static const Hash kSha384("SHA2-384");
  const auto is = [&](std::string_view other) {
    return name.size() == other.size() && strncasecmp(name.data(), other.data(), name.size()) == 0;
  };
  const Hash* hash = nullptr;
  if (is("SHA2-256") || is("SHA256")) hash = &kSha256;
  if (is("SHA2-384") || is("SHA384")) hash = &kSha384;
  return hash != nullptr && hash->length != 0 ? hash : nullptr;
}

// ---- HMAC (RFC 2104) and HKDF (RFC 5869) over one hash; each false when OpenSSL is out of memory.

class Hmac {
 public:
  explicit Hmac(const Hash& hash) : hash_(hash), context_(EVP_MD_CTX_new()) {}

  // The code of all the parts, one after the other, under a key of at most one block.
  template <class... Parts>
  bool operator()(Bytes key, Digest& code, const Parts&... parts) {
    Digest inner;
    return digest(key, 0x36, inner, parts...) && digest(key, 0x5c, code, Bytes(inner.bytes()));
  }

 private:
  template <class... Parts>
  bool digest(Bytes key, std::uint8_t pad, Digest& out, const Parts&... parts) {
    Secret<kMaxBlockLength> padded(key);
    for (std::uint8_t& octet : padded.resize(hash_.block)) octet ^= pad;
    return context_ && EVP_DigestInit_ex2(context_.get(), hash_.digest.get(), nullptr) == 1 &&
           update(padded.bytes()) && (update(parts) && ...) &&
           EVP_DigestFinal_ex(context_.get(), out.resize(hash_.length).data(), nullptr) == 1;
  }
  bool update(Bytes part) {
    return EVP_DigestUpdate(context_.get(), part.data(), part.size()) == 1;
  }

  const Hash& hash_;
  const OpenSsl<EVP_MD_CTX, EVP_MD_CTX_free> context_;
};

// HKDF-Extract.
bool extract(const Hash& hash, Bytes salt, Bytes key, Digest& out) {
  return salt.size() <= hash.block && Hmac(hash)(salt, out, key);
}

// HKDF-Expand-Label; the label comes in two parts, "tls13 " and its own.
bool expand_label(const Hash& hash, Bytes secret, Bytes prefix, Bytes label, Bytes context,
                  MutableBytes out) {
  const std::size_t label_length = prefix.size() + label.size();
  if (secret.size() > hash.block || label_length > 255 || context.size() > 255 ||
      out.size() > 255 * hash.length) {
    return false;
  }
  const std::array<std::uint8_t, 3> head = {static_cast<std::uint8_t>(out.size() >> 8),
                                            static_cast<std::uint8_t>(out.size()),
                                            static_cast<std::uint8_t>(label_length)};
  const std::array<std::uint8_t, 1> context_length = {static_cast<std::uint8_t>(context.size())};
  Hmac hmac(hash);
  Digest block;
  for (std::array<std::uint8_t, 1> number = {1}; !out.empty(); ++number[0]) {
    const Digest previous = block;
    if (!hmac(secret, block, previous.bytes(), Bytes(head), prefix, label, Bytes(context_length),
              context, Bytes(number))) {
      return false;
    }
    const std::size_t size = std::min(out.size(), block.size());
    std::copy_n(block.bytes().begin(), size, out.begin());
    out = out.subspan(size);
  }
  return true;
}

// ---- The provider.

// What OpenSSL says of one derivation. Octets are OpenSSL's.
struct Request {
  explicit Request(const OSSL_PARAM* given) {
    for (; given != nullptr && given->key != nullptr; ++given) {
      const std::string_view name = given->key;
      const Bytes octets(static_cast<const std::uint8_t*>(given->data), given->data_size);
      if (name == OSSL_KDF_PARAM_MODE) OSSL_PARAM_get_int(given, &mode);
      if (name == OSSL_KDF_PARAM_DIGEST) hash = hash_of(text_of(*given));
      if (name == OSSL_KDF_PARAM_KEY) key = octets;
      if (name == OSSL_KDF_PARAM_SALT) salt = octets;
      if (name == OSSL_KDF_PARAM_PREFIX) prefix = octets;
      if (name == OSSL_KDF_PARAM_LABEL) label = octets;
      if (name == OSSL_KDF_PARAM_DATA) data = octets;
    }
  }
  static std::string_view text_of(const OSSL_PARAM& given) {
    const char* text = nullptr;
    return OSSL_PARAM_get_utf8_string_ptr(&given, &text) == 1 ? text : std::string_view();
  }
  int mode = -1;
  const Hash* hash = nullptr;
  Bytes key, salt, prefix, label, data;
};

// The next of the schedule's three secrets: what was before, expanded and of no messages, is the
// salt. The first has nothing before it, and where TLS has no input it takes zeros.
bool next_secret(const Request& request, MutableBytes out) {
  const Hash& hash = *request.hash;
  static constexpr std::array<std::uint8_t, kMaxDigestLength> kZeros{};
  Digest salt, secret;
  if (!request.salt.empty() && !expand_label(hash, request.salt, request.prefix, request.label,
                                             hash.of_nothing.bytes(), salt.resize(hash.length))) {
    return false;
  }
  const Bytes input = request.key.empty() ? Bytes(kZeros).first(hash.length) : request.key;
  if (out.size() != hash.length || !extract(hash, salt.bytes(), input, secret)) return false;
  std::ranges::copy(secret.bytes(), out.begin());
  return true;
}

// OpenSSL hands over everything with the call that derives: there is nothing to keep between calls.
int derive(void*, unsigned char* out, std::size_t size, const OSSL_PARAM* params) {
  const Request request(params);
  if (request.hash == nullptr) return 0;
  if (request.mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY) {
    return next_secret(request, {out, size}) ? 1 : 0;
  }
  return request.mode == EVP_KDF_HKDF_MODE_EXPAND_ONLY &&
                 expand_label(*request.hash, request.key, request.prefix, request.label,
                              request.data, {out, size})
             ? 1
             : 0;
}

void* new_context(void*) {
  static char nothing;
  return &nothing;
}
void free_context(void*) {}

template <class Function>
constexpr OSSL_DISPATCH entry(int id, Function* function) {
  return {id, reinterpret_cast<void (*)()>(function)};
}

const OSSL_ALGORITHM* query(void*, int operation, int* no_cache) {
  static const OSSL_DISPATCH kFunctions[] = {entry(OSSL_FUNC_KDF_NEWCTX, new_context),
                                             entry(OSSL_FUNC_KDF_FREECTX, free_context),
                                             entry(OSSL_FUNC_KDF_DERIVE, derive),
                                             {0, nullptr}};
  static const OSSL_ALGORITHM kAlgorithms[] = {
      {OSSL_KDF_NAME_TLS1_3_KDF, "provider=timeball", kFunctions, "TLS 1.3's key schedule"},
      {nullptr, nullptr, nullptr, nullptr}};
  *no_cache = 0;
  return operation == OSSL_OP_KDF ? kAlgorithms : nullptr;
}

int start(const OSSL_CORE_HANDLE*, const OSSL_DISPATCH*, const OSSL_DISPATCH** functions, void**) {
  static const OSSL_DISPATCH kFunctions[] = {entry(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query),
                                             {0, nullptr}};
  *functions = kFunctions;
  return 1;
}

}  // namespace

const char* prefer_key_schedule() {
  // Beside those that OpenSSL loads by itself, not in their place; until the process ends.
  static const OpenSsl<OSSL_PROVIDER, OSSL_PROVIDER_unload> kProvider(
      OSSL_PROVIDER_add_builtin(nullptr, "timeball", start) == 1
          ? OSSL_PROVIDER_try_load(nullptr, "timeball", 1)
          : nullptr);
  return kProvider ? "?provider=timeball" : nullptr;
}

}  // namespace timeball::server
