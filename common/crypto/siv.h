// AES-SIV (RFC 5297) from OpenSSL's AES-CBC and AES-CTR, portable to wherever OpenSSL runs.
// Internal to common/crypto: the rest of the program uses aead.h.
//
// Thread rules: one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "common/base/bytes.h"
#include "common/crypto/aead.h"
#include "common/crypto/aes.h"

namespace timeball::crypto {

// AES-CMAC (RFC 4493), keyed anew for every job.
class Cmac {
 public:
  explicit Cmac(std::size_t key_length) : cbc_(Aes::Mode::kCbc, key_length) {}

  [[nodiscard]] bool start(Bytes key);
  // CMAC of the message; with an end mask (message of 16 octets or more) of `message xorend
  // *end_mask`.
  [[nodiscard]] bool digest(Bytes message, const Block* end_mask, Block& mac);
  // Wipes what was derived from the key, the context's own schedule apart.
  void forget();
  // The schedule, which takes as long as to begin another job.
  void forget_key() { cbc_.forget(); }

 private:
  std::size_t load_chunk(Bytes message, std::size_t offset, const Block* end_mask);

  Aes cbc_;
  Block k1_{};     // for a last block that is complete
  Block k2_{};     // for one that is padded
  Block chain_{};  // the last block that AES-CBC gave
  std::array<std::uint8_t, 32 * kBlockLength> buffer_{};
};

// RFC 5297 with any number (up to 126) of S2V components before the plaintext. RFC 5116's form,
// which NTS uses, has two: the associated data, then the nonce; or only the first, when there is no
// nonce.
class Siv {
 public:
  // key_length: 32, 48 or 64 octets, the S2V key and the CTR key together.
  explicit Siv(std::size_t key_length);

  // ciphertext: plaintext.size() + kTagLength octets, no overlap. False only when OpenSSL failed.
  [[nodiscard]] bool seal(Bytes key, std::span<const Bytes> components, Bytes plaintext,
                          MutableBytes ciphertext);
  // True when authentic; otherwise the plaintext has been zeroed.
  [[nodiscard]] bool open(Bytes key, std::span<const Bytes> components, Bytes ciphertext,
                          MutableBytes plaintext);
  // Wipes the key of the last job, which takes as long as to begin another.
  void forget();

 private:
  bool s2v(Bytes key, std::span<const Bytes> components, Bytes plaintext, Block& v);
  bool s2v_keyed(std::span<const Bytes> components, Bytes plaintext, Block& d, Block& v);
  bool crypt(Bytes key, const Block& v, Bytes in, MutableBytes out);

  Cmac cmac_;
  Aes ctr_;
};

// kAesSivCmac256, 384 or 512.
std::unique_ptr<Row> make_portable_siv_row(AeadId id);

}  // namespace timeball::crypto
