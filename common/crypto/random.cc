#include "common/crypto/random.h"

#include <algorithm>
#include <cassert>
#include <stdexcept>

#include "common/base/secret.h"
#include "common/crypto/aes.h"

namespace timeball::crypto {
namespace {

// A generator that cannot draw must not answer.
void require(bool ok) {
  if (!ok) throw std::runtime_error("OpenSSL failed to encrypt; no random octets can be drawn");
}

}  // namespace

RandomGenerator::RandomGenerator(Bytes seed)
    : cipher_(std::make_unique<Aes>(Aes::Mode::kCtr, kSeedLength)) {
  require(cipher_->start(seed));
}

RandomGenerator::~RandomGenerator() {
  wipe(buffer_);
}

// Fast key erasure: the first octets of the keystream become the next key, so that the present key
// never tells what was drawn before.
void RandomGenerator::refill() {
  std::fill(buffer_.begin(), buffer_.end(), std::uint8_t{0});
  require(cipher_->encrypt(buffer_, buffer_.data()));
  used_ = 0;
  refilled_ += buffer_.size();
  rekey({});
}

// Draws the next key, mixed with the seed where there is one.
void RandomGenerator::rekey(Bytes seed) {
  const MutableBytes key = MutableBytes(buffer_).subspan(used_, kSeedLength);
  for (std::size_t i = 0; i < seed.size(); ++i) key[i] ^= seed[i];
  require(cipher_->start(key));
  wipe(key);
  used_ += kSeedLength;
}

void RandomGenerator::fill(MutableBytes out) {
  while (!out.empty()) {
    if (used_ == buffer_.size()) refill();
    const std::size_t length = std::min(out.size(), buffer_.size() - used_);
    const MutableBytes drawn = MutableBytes(buffer_).subspan(used_, length);
    std::copy(drawn.begin(), drawn.end(), out.begin());
    wipe(drawn);
    used_ += length;
    out = out.subspan(length);
  }
}

std::uint32_t RandomGenerator::u32() {
  std::array<std::uint8_t, 4> octets;
  fill(octets);
  return load_be32(octets.data());
}

void RandomGenerator::reseed(Bytes seed) {
  assert(seed.size() == kSeedLength);
  refill();
  rekey(seed);
  wipe(buffer_);
  used_ = buffer_.size();
  refilled_ = 0;
  asked_first_ns_.reset();
}

bool RandomGenerator::reseed_due(std::int64_t monotonic_ns) {
  if (!asked_first_ns_) asked_first_ns_ = monotonic_ns;
  return refilled_ >= kReseedOctets || monotonic_ns - *asked_first_ns_ >= kReseedInterval_ns;
}

}  // namespace timeball::crypto
