// NTS cookies (RFC 8915, section 6): the client's keys, sealed under a master key, for a server
// that remembers nothing.
//
//   octets  0..3   master key identifier (also the associated data)
//           4..19  nonce
//          20..    AEAD_AES_SIV_CMAC_256 of C2S key || S2C key
//
// The length tells the algorithm the keys are for, and is sealed with them: 68 (30), 100 (15),
// 132 (16), 164 (17). One length per algorithm, for ever: replies may not outgrow requests.
// Pure: nonces come from the caller's generator. Burst forms, so that rows may interleave.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "common/base/bytes.h"
#include "common/base/secret.h"
#include "common/crypto/aead.h"
#include "common/crypto/random.h"
#include "common/nts/key_ring.h"

namespace timeball::nts {

inline constexpr std::size_t kCookieKeyIdLength = 4;
inline constexpr std::size_t kCookieNonceLength = 16;
inline constexpr std::size_t kMaxCookieLength = 164;

// The pair of keys an NTS association uses, and the algorithm they are for.
struct AssociationKeys {
  crypto::AeadId aead = crypto::AeadId::kAesSivCmac256;
  Secret<crypto::kMaxKeyLength> c2s;  // client to server
  Secret<crypto::kMaxKeyLength> s2c;  // server to client

  bool operator==(const AssociationKeys&) const = default;
};

constexpr std::size_t cookie_length(std::size_t key_length) {
  return kCookieKeyIdLength + kCookieNonceLength + crypto::kTagLength + 2 * key_length;
}
std::size_t cookie_length(crypto::AeadId aead);
// Nothing: no cookie of ours has this length.
std::optional<crypto::AeadId> aead_of_cookie_length(std::size_t length);
// Requires cookie.size() >= kCookieKeyIdLength.
std::uint32_t cookie_key_id(Bytes cookie);

struct SealCookieJob {
  const AssociationKeys* keys = nullptr;
  MutableBytes cookie;  // cookie_length(keys->aead) octets
};
// Seals a burst under the ring's current key, each cookie with a nonce of its own.
// Requires !ring.empty(). False only when the cryptographic library failed.
[[nodiscard]] bool seal_cookies(const KeyRing& ring, crypto::Engine& engine,
                                crypto::RandomGenerator& random, std::span<SealCookieJob> burst);

enum class CookieStatus : std::uint8_t {
  kOpened,
  kWrongLength,   // not of ours
  kUnknownKey,    // another server's, or its key has been erased
  kNewerKey,      // KeyRing::may_lack() its key
  kNotAuthentic,  // tampered with
};
struct OpenCookieJob {
  Bytes cookie;
  AssociationKeys keys;  // valid when kOpened
  CookieStatus status = CookieStatus::kWrongLength;
  // A fresh cookie with the same keys, as long as `cookie`: cheap while that is being opened. Valid
  // when `renewed`, which needs a cookie that is sealed under the ring's current key.
  bool renewed = false;
  std::array<std::uint8_t, kMaxCookieLength> fresh;
};
// Opens a burst and renews it, each fresh cookie with a nonce of its own.
void open_cookies(const KeyRing& ring, crypto::Engine& engine, crypto::RandomGenerator& random,
                  std::span<OpenCookieJob> burst);

}  // namespace timeball::nts
