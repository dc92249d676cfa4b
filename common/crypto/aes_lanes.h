// AES (FIPS 197) over lanes: key expansion and encryption. Internal to the kernels.
#pragma once

#include "common/crypto/kernel.h"
#include "common/crypto/lanes.h"

namespace timeball::crypto {

// The round keys of every job of a group, for keys of 4, 6 or 8 words.
template <class Block, int kKeyWords>
class AesKey {
 public:
  static constexpr std::size_t kLength = 4 * kKeyWords;

  TIMEBALL_INLINE AesKey() {}  // not zeroed: expand() comes first
  AesKey(const AesKey&) = delete;
  AesKey& operator=(const AesKey&) = delete;

  // Takes the key at an offset into each job's.
  TIMEBALL_INLINE void expand(const Lane* jobs, std::size_t offset) {
    const Block first = Block::load(jobs, &Lane::key, offset);
    if constexpr (kKeyWords == 4) expand(first);
    if constexpr (kKeyWords == 6) {
      expand_six(first, Block::load_front(jobs, &Lane::key, offset + 16, 8));
    }
    if constexpr (kKeyWords == 8) expand_eight(first, Block::load(jobs, &Lane::key, offset + 16));
  }
  TIMEBALL_INLINE void expand(Block key) {
    static_assert(kKeyWords == 4);
    round_[0] = key;
    TIMEBALL_UNROLL
    for (int r = 1; r <= kRounds; ++r) {
      key = running_xor(key) ^ substitute(key, kRotatedWord3, kRoundConstants[r - 1]);
      round_[r] = key;
    }
    keep_in_memory();
  }

  // Encrypts a block of every job in place; several of each, interleaved.
  template <class... Blocks>
  TIMEBALL_INLINE void encrypt(Blocks&... blocks) const {
    ((blocks = blocks ^ round_[0]), ...);
    TIMEBALL_UNROLL
    for (int r = 1; r < kRounds; ++r) ((blocks = aes_round(blocks, round_[r])), ...);
    ((blocks = aes_last_round(blocks, round_[kRounds])), ...);
  }

 private:
  static constexpr int kRounds = kKeyWords + 6;
  static constexpr int kRoundConstants[] = {0x01, 0x02, 0x04, 0x08, 0x10,
                                            0x20, 0x40, 0x80, 0x1b, 0x36};
  // Shuffles that put one word of a block into all four, rotated or not.
  static constexpr int kRotatedWord3 = 0x0c0f0e0d;
  static constexpr int kRotatedWord1 = 0x04070605;
  static constexpr int kWord3 = 0x0f0e0d0c;

  // SubWord of that word, xor the constant. Equal columns make ShiftRows do nothing.
  TIMEBALL_INLINE static Block substitute(const Block& words, int word, int constant) {
    return aes_last_round(shuffle(words, _mm_set1_epi32(word)),
                          Block::broadcast(_mm_set1_epi32(constant)));
  }
  // Each word xor all the words before it.
  TIMEBALL_INLINE static Block running_xor(const Block& words) {
    const Block pairs = words ^ words.template shift_up<4>();
    return pairs ^ pairs.template shift_up<8>();
  }

  // Six words a turn: four in `first`, two in the lower half of `second`; two turns make three
  // round keys.
  TIMEBALL_INLINE void expand_six(Block first, Block second) {
    const auto turn = [&](int constant) {
      first = running_xor(first) ^ substitute(second, kRotatedWord1, constant);
      second = second ^ second.template shift_up<4>() ^ first.template shuffle32<0xff>();
    };
    round_[0] = first;
    TIMEBALL_UNROLL
    for (int r = 1; r <= kRounds; r += 3) {
      const int t = r / 3 * 2;
      const Block two = second;
      turn(kRoundConstants[t]);
      round_[r] = low_halves(two, first);
      round_[r + 1] = low_halves(first.template shift_down<8>(), second);
      turn(kRoundConstants[t + 1]);
      round_[r + 2] = first;
    }
  }

  TIMEBALL_INLINE void expand_eight(Block even, Block odd) {
    round_[0] = even;
    round_[1] = odd;
    TIMEBALL_UNROLL
    for (int r = 2; r <= kRounds; r += 2) {
      even = running_xor(even) ^ substitute(odd, kRotatedWord3, kRoundConstants[r / 2 - 1]);
      round_[r] = even;
      if (r == kRounds) break;
      odd = running_xor(odd) ^ substitute(even, kWord3, 0);
      round_[r + 1] = odd;
    }
  }

  // Of the sixteen registers without AVX, two jobs leave none for round keys. Without this the
  // compiler tries, and moves them to and fro at every turn.
  TIMEBALL_INLINE void keep_in_memory() {
    if constexpr (Block::kBlocks == 1 && Block::kJobs > 1) asm("" : "+m"(round_));
  }

  Block round_[kRounds + 1];
};

// Counter mode. counter: gives the i-th counter block.
template <class Block, class Key, class Counter>
TIMEBALL_INLINE void xor_keystream(const Group& group, const std::uint8_t* Lane::*in,
                                   std::uint8_t* Lane::*out, const Key& key, Counter counter) {
  std::size_t i = 0;
  const auto take = [&](const Block& keystream) TIMEBALL_INLINE_LAMBDA {
    (Block::load(group.lanes, in, 16 * i) ^ keystream).store(group.lanes, out, 16 * i);
    ++i;
  };
  const std::size_t whole = group.text_length / 16;
  while (whole - i >= 4) {
    Block a = counter(i), b = counter(i + 1), c = counter(i + 2), d = counter(i + 3);
    key.encrypt(a, b, c, d);
    take(a), take(b), take(c), take(d);
  }
  if (whole - i >= 2) {
    Block a = counter(i), b = counter(i + 1);
    key.encrypt(a, b);
    take(a), take(b);
  }
  if (whole - i == 1) {
    Block a = counter(i);
    key.encrypt(a);
    take(a);
  }
  const std::size_t rest = group.text_length % 16;
  if (rest == 0) return;
  Block last = counter(whole);
  key.encrypt(last);
  (Block::load_front(group.lanes, in, 16 * whole, rest) ^ last)
      .store_front(group.lanes, out, 16 * whole, rest);
}

}  // namespace timeball::crypto
