// AES-128-GCM-SIV (RFC 8452) over lanes. Internal to the kernels.
#pragma once

#include "common/crypto/aes_lanes.h"
#include "common/crypto/kernel.h"

namespace timeball::crypto {

template <class Block>
class GcmSivLanes {
 public:
  static constexpr unsigned kJobs = Block::kJobs;

  static void seal(const Group& group) {
    GcmSivLanes siv(group);
    const Block tag = siv.tag();
    tag.store(group.lanes, &Lane::tag, 0);
    siv.crypt(tag);
  }

  static std::uint32_t open(const Group& group) {
    GcmSivLanes siv(group);
    const Block tag = Block::load(group.lanes, &Lane::given_tag, 0);
    siv.crypt(tag);
    return equal_jobs(siv.tag(), tag);
  }

 private:
  using Octets = const std::uint8_t* Lane::*;

  // Section 4: both keys of a message come from the key-generating key and the nonce.
  TIMEBALL_INLINE explicit GcmSivLanes(const Group& group)
      : group_(group), nonce_(Block::load_front(group.lanes, &Lane::nonce, 0, 12)) {
    AesKey<Block, 4> generating_key;
    generating_key.expand(group.lanes, 0);
    const Block input = nonce_.template shift_up<4>();
    Block a = input, b = counted(input, 1), c = counted(input, 2), d = counted(input, 3);
    generating_key.encrypt(a, b, c, d);
    h_ = low_halves(a, b);
    encryption_key_.expand(low_halves(c, d));
  }
  GcmSivLanes(const GcmSivLanes&) = delete;
  GcmSivLanes& operator=(const GcmSivLanes&) = delete;

  // The first word, which is the low one, counts modulo 2^32.
  TIMEBALL_INLINE static Block counted(const Block& block, std::size_t count) {
    return add32(block, _mm_setr_epi32(static_cast<int>(count), 0, 0, 0));
  }

  // dot(a, b) = a * b * x^-128 modulo x^128 + x^127 + x^126 + x^121 + 1 (section 3).
  TIMEBALL_INLINE static Block dot(const Block& a, const Block& b) {
    const Block middle = a.template carryless<0x01>(b) ^ a.template carryless<0x10>(b);
    const Block low = a.template carryless<0x00>(b) ^ middle.template shift_up<8>();
    const Block high = a.template carryless<0x11>(b) ^ middle.template shift_down<8>();
    return divide_by_x64(divide_by_x64(low)) ^ high;
  }
  // Adds the multiple of the modulus that clears the lower half, and moves the rest there.
  TIMEBALL_INLINE static Block divide_by_x64(const Block& a) {
    const Block modulus = Block::broadcast(
        _mm_setr_epi32(0, static_cast<int>(0xc2000000), 0, 0));  // x^63 + x^62 + x^57
    return a.template shuffle32<_MM_SHUFFLE(1, 0, 3, 2)>() ^ a.template carryless<0x00>(modulus);
  }

  // Takes these octets into POLYVAL, padded with zeros to whole blocks.
  TIMEBALL_INLINE void absorb(Block& sum, Octets octets, std::size_t length) const {
    std::size_t offset = 0;
    for (; offset + 16 <= length; offset += 16)
      sum = dot(sum ^ Block::load(group_.lanes, octets, offset), h_);
    if (offset == length) return;
    sum = dot(sum ^ Block::load_front(group_.lanes, octets, offset, length - offset), h_);
  }

  TIMEBALL_INLINE Block tag() const {
    Block sum = Block::zero();
    absorb(sum, &Lane::associated_data, group_.associated_data_length);
    absorb(sum, &Lane::plaintext, group_.text_length);
    const auto bits = [](std::size_t octets) { return static_cast<long long>(octets * 8); };
    sum = dot(sum ^ Block::broadcast(_mm_set_epi64x(bits(group_.text_length),
                                                    bits(group_.associated_data_length))),
              h_);
    Block result = (sum ^ nonce_) & Block::broadcast(_mm_setr_epi32(-1, -1, -1, 0x7fffffff));
    encryption_key_.encrypt(result);
    return result;
  }

  TIMEBALL_INLINE void crypt(const Block& tag) const {
    const Block top_bit = Block::broadcast(_mm_setr_epi32(0, 0, 0, static_cast<int>(0x80000000)));
    const Block start = tag | top_bit;
    xor_keystream<Block>(group_, &Lane::in, &Lane::out, encryption_key_,
                         [&](std::size_t i) TIMEBALL_INLINE_LAMBDA { return counted(start, i); });
  }

  const Group& group_;
  const Block nonce_;
  Block h_;
  AesKey<Block, 4> encryption_key_;
};

}  // namespace timeball::crypto
