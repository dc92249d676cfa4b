#include "common/crypto/gcm_siv.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "common/base/secret.h"

namespace timeball::crypto {
namespace {

constexpr std::size_t kKeyLength = 16;
constexpr std::size_t kNonceLength = 12;
constexpr std::size_t kHalf = kBlockLength / 2;  // of a derived key: what one block gives
constexpr std::uint64_t kEveryFourth = 0x1111111111111111;  // bit

std::uint64_t load_le64(const std::uint8_t* p) {
  return __builtin_bswap64(load_be64(p));
}
void store_le64(std::uint8_t* p, std::uint64_t v) {
  store_be64(p, __builtin_bswap64(v));
}
std::uint32_t load_le32(const std::uint8_t* p) {
  return __builtin_bswap32(load_be32(p));
}
void store_le32(std::uint8_t* p, std::uint32_t v) {
  store_be32(p, __builtin_bswap32(v));
}

std::uint64_t reverse_bits(std::uint64_t x) {
  const auto swap = [&x](std::uint64_t mask, int by) {
    x = ((x & mask) << by) | ((x >> by) & mask);
  };
  swap(0x5555555555555555, 1);
  swap(0x3333333333333333, 2);
  swap(0x0f0f0f0f0f0f0f0f, 4);
  return __builtin_bswap64(x);
}

// The lower 64 bits of the carry-less product, by integer multiplication of operands of which only
// every fourth bit is kept: up to 15 terms add up at a position before a carry would reach the next
// kept bit, and the sixteenth comes only at the top, where its carry falls off.
std::uint64_t multiply_low(std::uint64_t x, std::uint64_t y) {
  std::uint64_t product = 0;
  for (unsigned residue = 0; residue < 4; ++residue) {
    std::uint64_t sum = 0;
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned j = (residue - i) & 3;
      sum ^= (x & (kEveryFourth << i)) * (y & (kEveryFourth << j));
    }
    product |= sum & (kEveryFourth << residue);
  }
  return product;
}

// The upper 64 bits: reversing the operands reverses the 127-bit product.
std::uint64_t multiply_high(std::uint64_t x_reversed, std::uint64_t y_reversed) {
  return reverse_bits(multiply_low(x_reversed, y_reversed)) >> 1;
}

}  // namespace

Polyval::Factor::Factor(std::uint64_t low_half, std::uint64_t high_half)
    : low(low_half),
      high(high_half),
      sum(low ^ high),
      low_reversed(reverse_bits(low)),
      high_reversed(reverse_bits(high)),
      sum_reversed(low_reversed ^ high_reversed) {}

Polyval::Polyval(const Block& key) : h_(load_le64(key.data()), load_le64(key.data() + 8)) {}

Polyval::~Polyval() {
  wipe({reinterpret_cast<std::uint8_t*>(this), sizeof(*this)});
}

void Polyval::update(Bytes bytes) {
  for (; bytes.size() >= kBlockLength; bytes = bytes.subspan(kBlockLength)) absorb(bytes.data());
  if (bytes.empty()) return;
  Block last{};
  std::copy(bytes.begin(), bytes.end(), last.begin());
  absorb(last.data());
}

Block Polyval::result() const {
  Block block;
  store_le64(block.data(), low_);
  store_le64(block.data() + 8, high_);
  return block;
}

// state = dot(state ^ block, H), where dot(a, b) = a * b * x^-128 modulo x^128 + x^127 + x^126 +
// x^121 + 1.
void Polyval::absorb(const std::uint8_t* block) {
  const Factor s(low_ ^ load_le64(block), high_ ^ load_le64(block + 8));

  // The 256-bit product r3 || r2 || r1 || r0 (Karatsuba).
  const std::uint64_t r0 = multiply_low(s.low, h_.low);
  const std::uint64_t low_upper = multiply_high(s.low_reversed, h_.low_reversed);
  const std::uint64_t high_lower = multiply_low(s.high, h_.high);
  const std::uint64_t high_upper = multiply_high(s.high_reversed, h_.high_reversed);
  const std::uint64_t middle = multiply_low(s.sum, h_.sum) ^ r0 ^ high_lower;
  const std::uint64_t middle_upper =
      multiply_high(s.sum_reversed, h_.sum_reversed) ^ low_upper ^ high_upper;
  std::uint64_t r1 = low_upper ^ middle;
  std::uint64_t r2 = high_lower ^ middle_upper;
  std::uint64_t r3 = high_upper;

  // Times x^-128: 1 = x^128 + x^127 + x^126 + x^121 moves r0, then r1, 128 places up.
  r1 ^= (r0 << 63) ^ (r0 << 62) ^ (r0 << 57);
  r2 ^= r0 ^ (r0 >> 1) ^ (r0 >> 2) ^ (r0 >> 7);
  r2 ^= (r1 << 63) ^ (r1 << 62) ^ (r1 << 57);
  r3 ^= r1 ^ (r1 >> 1) ^ (r1 >> 2) ^ (r1 >> 7);
  low_ = r2;
  high_ = r3;
}

namespace {

class PortableGcmSivRow final : public Row {
 public:
  bool seal(std::span<const SealJob> burst) override {
    const bool ok = std::all_of(burst.begin(), burst.end(),
                                [this](const SealJob& job) { return seal_one(job); });
    forget();
    return ok;
  }
  void open(std::span<OpenJob> burst) override {
    for (OpenJob& job : burst) job.authentic = open_one(job);
    forget();
  }

 private:
  struct Keystream {
    std::array<std::uint8_t, 32 * kBlockLength> blocks;
    ~Keystream() { wipe(blocks); }
  };

  void forget() {
    ecb_.forget();
    forget_aes();
  }
  bool seal_one(const SealJob& job);
  bool open_one(const OpenJob& job);
  bool start(Bytes key, Bytes nonce, Block& authentication_key);
  bool tag_of(const Block& authentication_key, Bytes nonce, Bytes associated_data, Bytes plaintext,
              Block& tag);
  bool crypt(const Block& tag, Bytes in, MutableBytes out);

  Aes ecb_{Aes::Mode::kEcb, kKeyLength};
};

// RFC 8452, section 4, derive_keys; leaves the message-encryption key in the cipher.
bool PortableGcmSivRow::start(Bytes key, Bytes nonce, Block& authentication_key) {
  std::array<std::uint8_t, 4 * kBlockLength> blocks{};
  Block encryption_key;
  for (std::uint8_t i = 0; i < 4; ++i) {
    std::uint8_t* block = &blocks[i * kBlockLength];
    block[0] = i;
    std::copy(nonce.begin(), nonce.end(), block + 4);
  }
  bool ok = ecb_.start(key) && ecb_.encrypt(blocks, blocks.data());
  for (std::size_t i = 0; i < 2; ++i) {
    std::copy_n(&blocks[i * kBlockLength], kHalf, &authentication_key[i * kHalf]);
    std::copy_n(&blocks[(2 + i) * kBlockLength], kHalf, &encryption_key[i * kHalf]);
  }
  ok = ok && ecb_.start(encryption_key);
  wipe(blocks);
  wipe(encryption_key);
  return ok;
}

bool PortableGcmSivRow::tag_of(const Block& authentication_key, Bytes nonce, Bytes associated_data,
                               Bytes plaintext, Block& tag) {
  Polyval polyval(authentication_key);
  polyval.update(associated_data);
  polyval.update(plaintext);
  Block lengths;  // in bits
  store_le64(lengths.data(), std::uint64_t{associated_data.size()} * 8);
  store_le64(lengths.data() + 8, std::uint64_t{plaintext.size()} * 8);
  polyval.update(lengths);
  tag = polyval.result();
  for (std::size_t i = 0; i < kNonceLength; ++i) tag[i] ^= nonce[i];
  tag[15] &= 0x7f;
  return ecb_.encrypt(tag, tag.data());
}

// RFC 8452, section 4, AES_CTR: the first four octets count, modulo 2^32.
bool PortableGcmSivRow::crypt(const Block& tag, Bytes in, MutableBytes out) {
  Block counter = tag;
  counter[15] |= 0x80;
  std::uint32_t count = load_le32(tag.data());
  Keystream keystream;
  for (std::size_t offset = 0; offset < in.size(); offset += keystream.blocks.size()) {
    const std::size_t length = std::min(in.size() - offset, keystream.blocks.size());
    const std::size_t rounded = (length + kBlockLength - 1) / kBlockLength * kBlockLength;
    for (std::size_t at = 0; at < rounded; at += kBlockLength) {
      store_le32(counter.data(), count++);
      std::copy(counter.begin(), counter.end(), &keystream.blocks[at]);
    }
    if (!ecb_.encrypt(Bytes(keystream.blocks).first(rounded), keystream.blocks.data()))
      return false;
    for (std::size_t i = 0; i < length; ++i) {
      out[offset + i] = static_cast<std::uint8_t>(in[offset + i] ^ keystream.blocks[i]);
    }
  }
  return true;
}

bool PortableGcmSivRow::seal_one(const SealJob& job) {
  assert(job.nonce.size() == kNonceLength);
  assert(job.ciphertext.size() == job.plaintext.size() + kTagLength);
  const MutableBytes body = job.ciphertext.first(job.plaintext.size());
  Block authentication_key{};
  Block tag;
  const bool ok = start(job.key, job.nonce, authentication_key) &&
                  tag_of(authentication_key, job.nonce, job.associated_data, job.plaintext, tag) &&
                  crypt(tag, job.plaintext, body);
  wipe(authentication_key);
  if (ok) std::copy(tag.begin(), tag.end(), job.ciphertext.last(kTagLength).begin());
  return ok;
}

bool PortableGcmSivRow::open_one(const OpenJob& job) {
  Block authentication_key{};
  Block tag;
  Block expected{};
  const bool authentic = [&] {
    if (job.nonce.size() != kNonceLength || job.ciphertext.size() < kTagLength) return false;
    assert(job.ciphertext.size() == job.plaintext.size() + kTagLength);
    const Bytes body = job.ciphertext.first(job.plaintext.size());
    std::copy_n(job.ciphertext.last(kTagLength).begin(), kTagLength, tag.begin());
    return start(job.key, job.nonce, authentication_key) && crypt(tag, body, job.plaintext) &&
           tag_of(authentication_key, job.nonce, job.associated_data, job.plaintext, expected) &&
           equal_constant_time(tag, expected);
  }();
  if (!authentic) std::fill(job.plaintext.begin(), job.plaintext.end(), std::uint8_t{0});
  wipe(authentication_key);
  wipe(expected);
  return authentic;
}

}  // namespace

std::unique_ptr<Row> make_portable_gcm_siv_row() {
  return std::make_unique<PortableGcmSivRow>();
}

}  // namespace timeball::crypto
