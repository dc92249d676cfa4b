// AEAD_AES_128_GCM_SIV (RFC 8452) from OpenSSL's AES-ECB and a POLYVAL of our own, portable to
// wherever OpenSSL runs. Internal to common/crypto: the rest of the program uses aead.h.
//
// Thread rules: one thread.
#pragma once

#include <cstdint>
#include <memory>

#include "common/base/bytes.h"
#include "common/crypto/aead.h"
#include "common/crypto/aes.h"

namespace timeball::crypto {

// POLYVAL (RFC 8452, section 3). Constant time: no branch and no address depends on the key or the
// data. Wipes itself.
class Polyval {
 public:
  explicit Polyval(const Block& key);
  ~Polyval();
  Polyval(const Polyval&) = delete;
  Polyval& operator=(const Polyval&) = delete;

  // Takes these octets, padded with zeros to whole blocks.
  void update(Bytes bytes);
  Block result() const;

 private:
  // An operand of the carry-less product, with what Karatsuba's three products and their upper
  // halves need of it: low, high, low ^ high, and each of them with its bits in reverse.
  struct Factor {
    explicit Factor(std::uint64_t low_half, std::uint64_t high_half);
    std::uint64_t low, high, sum;
    std::uint64_t low_reversed, high_reversed, sum_reversed;
  };
  void absorb(const std::uint8_t* block);

  Factor h_;
  std::uint64_t low_ = 0;
  std::uint64_t high_ = 0;
};

std::unique_ptr<Row> make_portable_gcm_siv_row();

}  // namespace timeball::crypto
