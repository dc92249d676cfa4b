// AES of OpenSSL in the modes the portable rows are built from. Internal to common/crypto.
//
// One object is one cipher context: fetched once, keyed anew for every job. It holds the last key's
// schedule until forget(), the next key, or its end.
//
// Thread rules: one thread. No allocation of ours after construction.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "common/base/bytes.h"

namespace timeball::crypto {

inline constexpr std::size_t kBlockLength = 16;
using Block = std::array<std::uint8_t, kBlockLength>;

class Aes {
 public:
  enum class Mode { kEcb, kCbc, kCtr };

  // key_length: 16, 24 or 32 octets. Throws std::runtime_error when OpenSSL has no such cipher.
  Aes(Mode mode, std::size_t key_length);

  // Starts a new stream; ECB ignores the vector. key must have key_length octets.
  [[nodiscard]] bool start(Bytes key, const Block& initial_vector = {});
  // Encrypts the stream's next octets: whole blocks, except in CTR. `out` may be where `in` is.
  // Both return false only when the library failed (out of memory).
  [[nodiscard]] bool encrypt(Bytes in, std::uint8_t* out);
  // Puts a key of zeros in the place of the last one.
  void forget();

 private:
  struct FreeContext {
    void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
  };
  std::unique_ptr<EVP_CIPHER_CTX, FreeContext> context_;
};

// OpenSSL leaves round keys in vector registers, and so in the stack where the dynamic linker saved
// them. Wipes both; rows call it at the end of each burst.
void forget_aes();

}  // namespace timeball::crypto
