#include "server/cluster_document.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <new>
#include <optional>
#include <utility>

#include "common/base/hex.h"
#include "common/base/openssl_handle.h"
#include "common/crypto/aead.h"
#include "server/file.h"

namespace timeball::server {
namespace {

constexpr std::size_t kIdDigits = 8;
constexpr std::size_t kNonceLength = 12;
constexpr std::size_t kTagLength = 16;
constexpr std::string_view kIdLabel = "timeball cluster key identifier";

using Cipher = OpenSsl<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;

Bytes octets(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::string id_of(Bytes secret) {
  std::vector<std::uint8_t> labelled(kIdLabel.begin(), kIdLabel.end());
  labelled.reserve(labelled.size() + secret.size());
  labelled.insert(labelled.end(), secret.begin(), secret.end());
  std::array<std::uint8_t, SHA256_DIGEST_LENGTH> digest{};
  SHA256(labelled.data(), labelled.size(), digest.data());
  wipe(labelled);
  std::string id;
  append_hex(id, Bytes(digest).first(kIdDigits / 2));
  return id;
}

// All that is authenticated and not sealed.
std::string header(std::uint64_t sequence, std::string_view cluster, std::string_view key_id) {
  return fmt::format("timeball-cluster-keys 1\ncluster {}\nsequence {}\naead {}\nsealed {} ",
                     cluster, sequence, static_cast<unsigned>(crypto::AeadId::kAesSivCmac256),
                     key_id);
}

int length_of(std::size_t size) {
  return static_cast<int>(size);
}

// AES-256-GCM in one call; out: ciphertext and tag. Memory may run out, nothing else.
std::vector<std::uint8_t> seal(Bytes key, Bytes nonce, Bytes associated, Bytes plaintext) {
  std::vector<std::uint8_t> out(plaintext.size() + kTagLength);
  const Cipher cipher(EVP_CIPHER_CTX_new());
  int n = 0;
  const bool done = cipher &&
                    EVP_EncryptInit_ex2(cipher.get(), EVP_aes_256_gcm(), key.data(), nonce.data(),
                                        nullptr) == 1 &&
                    EVP_EncryptUpdate(cipher.get(), nullptr, &n, associated.data(),
                                      length_of(associated.size())) == 1 &&
                    EVP_EncryptUpdate(cipher.get(), out.data(), &n, plaintext.data(),
                                      length_of(plaintext.size())) == 1 &&
                    EVP_EncryptFinal_ex(cipher.get(), out.data() + n, &n) == 1 &&
                    EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_AEAD_GET_TAG, kTagLength,
                                        out.data() + plaintext.size()) == 1;
  if (!done) throw std::bad_alloc();
  return out;
}

// False: not authentic; what stands in out is worthless then.
bool open(Bytes key, Bytes nonce, Bytes associated, Bytes sealed, MutableBytes out) {
  const Cipher cipher(EVP_CIPHER_CTX_new());
  std::array<std::uint8_t, kTagLength> tag{};
  std::ranges::copy(sealed.last(kTagLength), tag.begin());
  int n = 0;
  return cipher &&
         EVP_DecryptInit_ex2(cipher.get(), EVP_aes_256_gcm(), key.data(), nonce.data(), nullptr) ==
             1 &&
         EVP_DecryptUpdate(cipher.get(), nullptr, &n, associated.data(),
                           length_of(associated.size())) == 1 &&
         EVP_DecryptUpdate(cipher.get(), out.data(), &n, sealed.data(), length_of(out.size())) ==
             1 &&
         EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_AEAD_SET_TAG, kTagLength, tag.data()) == 1 &&
         EVP_DecryptFinal_ex(cipher.get(), out.data() + n, &n) == 1;
}

// The rest of the line that begins with name; takes it off the front.
std::optional<std::string_view> take_line(std::string_view& text, std::string_view name) {
  const std::size_t end = text.find('\n');
  if (end == text.npos || !text.substr(0, end).starts_with(name)) return std::nullopt;
  const std::string_view value = text.substr(name.size(), end - name.size());
  text.remove_prefix(end + 1);
  return value;
}

std::optional<std::uint64_t> parse_sequence(std::string_view digits) {
  std::uint64_t sequence = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), sequence);
  // Exactly as header() writes it.
  if (sequence == 0 || std::to_string(sequence) != digits) return std::nullopt;
  return sequence;
}

struct Parts {
  std::uint64_t sequence = 0;
  std::string_view cluster;
  std::string_view key_id;
  std::array<std::uint8_t, kNonceLength> nonce{};
  std::vector<std::uint8_t> sealed;
};

std::optional<Parts> parse_parts(std::string_view text) {
  Parts parts;
  const auto version = take_line(text, "timeball-cluster-keys ");
  const auto cluster = take_line(text, "cluster ");
  const auto sequence = take_line(text, "sequence ");
  const auto aead = take_line(text, "aead ");
  const auto sealed = take_line(text, "sealed ");
  if (version != "1" || !cluster || !sequence || aead != "15" || !sealed || !text.empty()) {
    return std::nullopt;
  }
  const auto number = parse_sequence(*sequence);
  constexpr std::size_t kNonceAt = kIdDigits + 1;
  constexpr std::size_t kSealedAt = kNonceAt + 2 * kNonceLength + 1;
  if (!number || sealed->size() < kSealedAt + 2 * kTagLength || (*sealed)[kNonceAt - 1] != ' ' ||
      (*sealed)[kSealedAt - 1] != ' ') {
    return std::nullopt;
  }
  parts.sequence = *number;
  parts.cluster = *cluster;
  parts.key_id = sealed->substr(0, kIdDigits);
  parts.sealed.resize((sealed->size() - kSealedAt) / 2);
  if (!parse_hex(sealed->substr(kNonceAt, 2 * kNonceLength), parts.nonce) ||
      !parse_hex(sealed->substr(kSealedAt), parts.sealed)) {
    return std::nullopt;
  }
  return parts;
}

}  // namespace

Result<ClusterKeys> parse_cluster_keys(std::string_view text) {
  ClusterKeys keys;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.empty()) continue;
    ClusterKey key;
    if (!parse_hex(line, key.secret.resize(kClusterKeyLength))) {
      return fail(
          "write each cluster key as 64 hexadecimal digits (0-9, a-f) on a line of its own, as "
          "openssl rand -hex 32 makes them");
    }
    key.id = id_of(key.secret.bytes());
    keys.push_back(std::move(key));
  }
  if (keys.empty()) return fail("it holds no cluster key; openssl rand -hex 32 makes one");
  return keys;
}

Result<std::string> seal_document(const ClusterDocument& document, std::string_view cluster,
                                  const ClusterKey& key, const EntropySource& entropy) {
  std::array<std::uint8_t, kNonceLength> nonce{};
  if (auto filled = entropy(nonce); !filled) return fail(filled.error().message);
  std::string text = header(document.sequence, cluster, key.id);
  const SecretText plaintext = format_key_file(document.keys);
  const auto sealed = seal(key.secret.bytes(), nonce, octets(text), octets(plaintext));
  append_hex(text, nonce);
  text += ' ';
  append_hex(text, sealed);
  text += '\n';
  return text;
}

Result<ClusterDocument> open_document(std::string_view text, std::string_view cluster,
                                      std::span<const ClusterKey> keys) {
  if (text.size() > kMaxDocumentLength) return fail("it is too long");
  const std::optional<Parts> parts = parse_parts(text);
  if (!parts) return fail("it is not a timeball-cluster-keys 1 document");
  if (parts->cluster != cluster) {
    return fail(fmt::format("it is of another cluster than \"{}\"", cluster));
  }
  const auto key = std::ranges::find(keys, parts->key_id, &ClusterKey::id);
  if (key == keys.end()) return fail("it is sealed under a cluster key that is not held here");
  SecretText plaintext(parts->sealed.size() - kTagLength, '\0');
  const MutableBytes out(reinterpret_cast<std::uint8_t*>(plaintext.data()), plaintext.size());
  if (!open(key->secret.bytes(), parts->nonce,
            octets(header(parts->sequence, cluster, parts->key_id)), parts->sealed, out)) {
    return fail("it is not authentic: changed, or sealed under another key");
  }
  Result<KeyFile> file = parse_key_file(plaintext);
  if (!file) return fail(file.error().message);
  return ClusterDocument{parts->sequence, *std::move(file)};
}

}  // namespace timeball::server
