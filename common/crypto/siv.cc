#include "common/crypto/siv.h"

#include <algorithm>
#include <cassert>

#include "common/base/secret.h"

namespace timeball::crypto {
namespace {

constexpr std::uint8_t kPadding = 0x80;

// Multiplication by x in GF(2^128), most significant octet first (RFC 5297, section 2.3).
Block dbl(const Block& block) {
  const std::uint64_t high = load_be64(block.data());
  const std::uint64_t low = load_be64(block.data() + 8);
  const std::uint64_t carry = 0 - (high >> 63);  // a mask, not a branch: the block is secret
  Block result;
  store_be64(result.data(), (high << 1) | (low >> 63));
  store_be64(result.data() + 8, (low << 1) ^ (carry & 0x87));
  return result;
}

void xor_into(std::uint8_t* out, const Block& block) {
  for (std::size_t i = 0; i < kBlockLength; ++i) out[i] ^= block[i];
}

}  // namespace

bool Cmac::start(Bytes key) {
  Block l{};
  const bool ok = cbc_.start(key) && cbc_.encrypt(l, l.data());
  chain_ = l;
  k1_ = dbl(l);
  k2_ = dbl(k1_);
  wipe(l);
  return ok;
}

void Cmac::forget() {
  wipe(k1_);
  wipe(k2_);
  wipe(chain_);
  wipe(buffer_);
}

// Puts the message's next octets into the buffer, ready for CBC; returns how many octets those are
// there, which in the last chunk includes the padding.
std::size_t Cmac::load_chunk(Bytes message, std::size_t offset, const Block* end_mask) {
  const Bytes chunk = message.subspan(offset, std::min(message.size() - offset, buffer_.size()));
  std::copy(chunk.begin(), chunk.end(), buffer_.begin());
  const std::size_t end = offset + chunk.size();
  for (std::size_t i = 0; end_mask != nullptr && i < kBlockLength; ++i) {
    const std::size_t at = message.size() - kBlockLength + i;
    if (at >= offset && at < end) buffer_[at - offset] ^= (*end_mask)[i];
  }
  if (end < message.size()) return chunk.size();

  std::size_t length = chunk.size();
  const bool complete = length != 0 && length % kBlockLength == 0;
  if (!complete) buffer_[length++] = kPadding;
  while (length % kBlockLength != 0) buffer_[length++] = 0;
  xor_into(&buffer_[length - kBlockLength], complete ? k1_ : k2_);
  return length;
}

// One CBC stream serves all the messages under a key: xoring the chain value into a message's first
// block cancels it, which is a zero initial vector without the price of starting again.
bool Cmac::digest(Bytes message, const Block* end_mask, Block& mac) {
  assert(end_mask == nullptr || message.size() >= kBlockLength);
  std::size_t offset = 0;
  do {
    const std::size_t length = load_chunk(message, offset, end_mask);
    if (offset == 0) xor_into(buffer_.data(), chain_);
    if (!cbc_.encrypt(Bytes(buffer_).first(length), buffer_.data())) return false;
    std::copy_n(&buffer_[length - kBlockLength], kBlockLength, chain_.begin());
    offset += buffer_.size();
  } while (offset < message.size());
  mac = chain_;
  return true;
}

Siv::Siv(std::size_t key_length) : cmac_(key_length / 2), ctr_(Aes::Mode::kCtr, key_length / 2) {}

bool Siv::s2v(Bytes key, std::span<const Bytes> components, Bytes plaintext, Block& v) {
  Block d{};
  const bool ok = cmac_.start(key.first(key.size() / 2)) && s2v_keyed(components, plaintext, d, v);
  wipe(d);
  cmac_.forget();
  return ok;
}

// RFC 5297, section 2.4.
bool Siv::s2v_keyed(std::span<const Bytes> components, Bytes plaintext, Block& d, Block& v) {
  if (!cmac_.digest(Block{}, nullptr, d)) return false;
  for (const Bytes component : components) {
    Block mac;
    if (!cmac_.digest(component, nullptr, mac)) return false;
    d = dbl(d);
    xor_into(d.data(), mac);
  }
  if (plaintext.size() >= kBlockLength) return cmac_.digest(plaintext, &d, v);
  d = dbl(d);
  for (std::size_t i = 0; i < plaintext.size(); ++i) d[i] ^= plaintext[i];
  d[plaintext.size()] ^= kPadding;
  return cmac_.digest(d, nullptr, v);
}

// RFC 5297, section 2.6: the counter starts at V without the top bits of its last two 32-bit words.
bool Siv::crypt(Bytes key, const Block& v, Bytes in, MutableBytes out) {
  if (in.empty()) return true;
  Block counter = v;
  counter[8] &= 0x7f;
  counter[12] &= 0x7f;
  return ctr_.start(key.last(key.size() / 2), counter) && ctr_.encrypt(in, out.data());
}

bool Siv::seal(Bytes key, std::span<const Bytes> components, Bytes plaintext,
               MutableBytes ciphertext) {
  assert(ciphertext.size() == plaintext.size() + kTagLength);
  Block v;
  if (!s2v(key, components, plaintext, v)) return false;
  std::copy(v.begin(), v.end(), ciphertext.begin());
  return crypt(key, v, plaintext, ciphertext.subspan(kTagLength));
}

bool Siv::open(Bytes key, std::span<const Bytes> components, Bytes ciphertext,
               MutableBytes plaintext) {
  Block v;
  Block expected{};
  const bool long_enough = ciphertext.size() >= kTagLength;
  assert(!long_enough || ciphertext.size() == plaintext.size() + kTagLength);
  if (long_enough) std::copy_n(ciphertext.begin(), kTagLength, v.begin());
  const bool authentic = long_enough && crypt(key, v, ciphertext.subspan(kTagLength), plaintext) &&
                         s2v(key, components, plaintext, expected) &&
                         equal_constant_time(v, expected);
  if (!authentic) std::fill(plaintext.begin(), plaintext.end(), std::uint8_t{0});
  wipe(expected);
  return authentic;
}

void Siv::forget() {
  cmac_.forget_key();
  ctr_.forget();
}

namespace {

class PortableSivRow final : public Row {
 public:
  explicit PortableSivRow(std::size_t key_length) : siv_(key_length) {}

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

  bool reseal(std::span<ResealJob> burst) override {
    bool ok = true;
    for (ResealJob& job : burst) {
      job.authentic = open_one(job);
      if (job.authentic && !seal_one(job.again())) ok = false;
    }
    forget();
    return ok;
  }

 private:
  void forget() {
    siv_.forget();
    forget_aes();
  }
  bool seal_one(const SealJob& job) {
    const std::array components = {job.associated_data, job.nonce};
    return siv_.seal(job.key, present(components), job.plaintext, job.ciphertext);
  }
  bool open_one(const OpenJob& job) {
    const std::array components = {job.associated_data, job.nonce};
    return siv_.open(job.key, present(components), job.ciphertext, job.plaintext);
  }

  // RFC 5297, section 6: without a nonce there is no component for it, not an empty one.
  static std::span<const Bytes> present(const std::array<Bytes, 2>& components) {
    return std::span(components).first(components[1].empty() ? 1 : 2);
  }

  Siv siv_;
};

}  // namespace

std::unique_ptr<Row> make_portable_siv_row(AeadId id) {
  return std::make_unique<PortableSivRow>(parameters(id).key_length);
}

}  // namespace timeball::crypto
