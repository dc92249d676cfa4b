// Random octets from an explicit seed: AES-256-CTR keystream, the same for the same seed.
//
// Pure code takes one of these by reference; whoever owns it seeds it, from getrandom(2) in the
// daemon (common/crypto/entropy.h), by hand in tests. Old output cannot be recomputed from the
// present state: the key is replaced at every refill, and what has been drawn is wiped.
//
// Thread rules: one thread. Never copied, never carried across fork.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "common/base/bytes.h"

namespace timeball::crypto {

inline constexpr std::size_t kSeedLength = 32;
inline constexpr std::uint64_t kReseedOctets = 1 << 26;
inline constexpr std::int64_t kReseedInterval_ns = 600'000'000'000;

class Aes;

class RandomGenerator {
 public:
  // seed: kSeedLength octets. Throws std::runtime_error when OpenSSL lacks AES-256-CTR; so do all
  // the others if it fails to encrypt, because octets that are not random must not be given out.
  explicit RandomGenerator(Bytes seed);
  ~RandomGenerator();
  RandomGenerator(const RandomGenerator&) = delete;
  RandomGenerator& operator=(const RandomGenerator&) = delete;

  void fill(MutableBytes out);
  std::uint32_t u32();
  // Mixes fresh entropy (kSeedLength octets) in: the state afterwards depends on both.
  void reseed(Bytes seed);
  // Whether so much has been drawn, or so much time has passed, since the seed or the last
  // reseed(). Time counts from the first question after either. An owner that lives long asks
  // between its batches, with CLOCK_MONOTONIC (common/crypto/entropy.h: reseed_if_due).
  bool reseed_due(std::int64_t monotonic_ns);

 private:
  void refill();
  void rekey(Bytes seed);

  std::unique_ptr<Aes> cipher_;  // holds the key
  std::array<std::uint8_t, 4096> buffer_{};
  std::size_t used_ = sizeof(buffer_);
  std::uint64_t refilled_ = 0;  // octets, since the seed
  std::optional<std::int64_t> asked_first_ns_;
};

}  // namespace timeball::crypto
