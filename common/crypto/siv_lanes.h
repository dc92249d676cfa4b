// AES-SIV (RFC 5297) over lanes. Internal to the kernels.
//
// S2V's components are the associated data and, unless it is absent, the nonce. Three CMAC chains
// run side by side, each as far as it can: a chain is bound by the latency of AES, so two or three
// at once, of as many jobs as there are lanes, cost little more than one.
#pragma once

#include "common/crypto/aes_lanes.h"
#include "common/crypto/kernel.h"

namespace timeball::crypto {

template <class Block, int kKeyWords>
class SivLanes {
 public:
  static constexpr unsigned kJobs = Block::kJobs;

  static void seal(const Group& group) {
    SivLanes siv(group);
    const Block v = siv.s2v();
    v.store(group.lanes, &Lane::tag, 0);
    siv.crypt(v, &Lane::in, &Lane::out);
  }

  static std::uint32_t open(const Group& group) {
    SivLanes siv(group);
    const Block v = Block::load(group.lanes, &Lane::given_tag, 0);
    siv.crypt(v, &Lane::in, &Lane::out);
    return equal_jobs(siv.s2v(), v);
  }

  // Both have the keys, the associated data and the text in common. For the cookies' algorithm
  // only: nothing else is resealed.
  static std::uint32_t reseal(const Group& group) requires(kKeyWords == 4) {
    SivLanes siv(group);
    const Block v = Block::load(group.lanes, &Lane::given_tag, 0);
    siv.crypt(v, &Lane::in, &Lane::out);
    const std::uint32_t authentic = equal_jobs(siv.s2v(), v);
    const Block fresh = siv.s2v_again();
    fresh.store(group.lanes, &Lane::tag, 0);
    siv.crypt(fresh, &Lane::plaintext, &Lane::fresh_out);
    return authentic;
  }

 private:
  using Key = AesKey<Block, kKeyWords>;
  using Octets = const std::uint8_t* Lane::*;

  // A CMAC chain (RFC 4493) over one input: all its blocks but the last need no subkey.
  struct Chain {
    TIMEBALL_INLINE Chain(const Lane* j, Octets o, std::size_t n) : jobs(j), octets(o), length(n) {}
    // How many blocks come before the last; an empty input has a last block, of padding.
    TIMEBALL_INLINE std::size_t before_last() const { return length == 0 ? 0 : (length - 1) / 16; }
    TIMEBALL_INLINE Block& next() {
      state = state ^ Block::load(jobs, octets, 16 * position++);
      return state;
    }
    const Lane* jobs;
    Octets octets;
    std::size_t length;
    std::size_t position = 0;
    Block state = Block::zero();
  };

  TIMEBALL_INLINE explicit SivLanes(const Group& group)
      : group_(group), text_(group.lanes, &Lane::plaintext, group.text_length) {
    mac_key_.expand(group.lanes, 0);
    // A request's authenticator holds no text: then its second key is never needed.
    if (group.text_length != 0) ctr_key_.expand(group.lanes, Key::kLength);
  }
  SivLanes(const SivLanes&) = delete;
  SivLanes& operator=(const SivLanes&) = delete;

  // Multiplication by x in GF(2^128) of a block with its octets reversed.
  TIMEBALL_INLINE static Block dbl(const Block& a) {
    const Block carries = sign32(a).template shuffle32<_MM_SHUFFLE(0, 1, 0, 3)>();
    return add64(a, a) ^ (carries & Block::broadcast(_mm_setr_epi32(0x87, 0, 1, 0)));
  }
  TIMEBALL_INLINE static Block reverse(const Block& a) {
    return shuffle(a, _mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
  }
  // n octets of something, then the padding 10*.
  TIMEBALL_INLINE static Block pad(const Block& a, std::size_t n) {
    static constexpr std::uint8_t kPadding[32] = {0, 0, 0, 0, 0, 0, 0, 0,   0,
                                                  0, 0, 0, 0, 0, 0, 0, 0x80};
    return a ^ Block::broadcast(octets_at(kPadding, 16 - n));
  }
  // Moves octets n places up, or down when n is negative; |n| <= 16. Zeros come in.
  TIMEBALL_INLINE static Block move_octets(const Block& a, int n) {
    static constexpr std::uint8_t kNone = 0x80;
    static constexpr std::uint8_t kOrder[48] = {
        kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone,
        kNone, kNone, kNone, kNone, 0,     1,     2,     3,     4,     5,     6,     7,
        8,     9,     10,    11,    12,    13,    14,    15,    kNone, kNone, kNone, kNone,
        kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone};
    return shuffle(a, octets_at(kOrder, static_cast<std::size_t>(16 - n)));
  }

  TIMEBALL_INLINE void set_subkeys(const Block& l) {
    const Block once = dbl(reverse(l));
    k1_ = reverse(once);
    k2_ = reverse(dbl(once));
  }

  // The last block of a CMAC, ready to be encrypted.
  TIMEBALL_INLINE Block& last(Chain& chain) const {
    const std::size_t offset = 16 * chain.position;
    const std::size_t rest = chain.length - offset;
    chain.state =
        chain.state ^
        (rest == 16 ? Block::load(chain.jobs, chain.octets, offset) ^ k1_
                    : pad(Block::load_front(chain.jobs, chain.octets, offset, rest), rest) ^ k2_);
    return chain.state;
  }

  // S2V (RFC 5297, section 2.4) of the associated data, the nonce and the text.
  TIMEBALL_INLINE Block s2v() {
    Chain ad(group_.lanes, &Lane::associated_data, group_.associated_data_length);
    Chain nonce(group_.lanes, &Lane::nonce, group_.nonce_length);

    // D, the digest of the components, goes into the text's last 16 octets. The blocks before those
    // are free of it; the last free one is left for the step that ends the other chains.
    const std::size_t free = text_.length < 16 ? 0 : text_.length / 16 - 1;
    advance(ad, ad.before_last(), text_, free == 0 ? 0 : free - 1);
    while (nonce.position < nonce.before_last()) mac_key_.encrypt(nonce.next());

    Block zero = k1_;  // the one block of zeros
    if (free == 0) {
      mac_key_.encrypt(zero, last(nonce), last(ad));
    } else {
      mac_key_.encrypt(zero, last(nonce), last(ad), text_.next());
    }
    d_ = dbl(reverse(zero)) ^ reverse(ad.state);
    return finish(nonce);
  }
  // And of the fresh nonce instead.
  TIMEBALL_INLINE Block s2v_again() {
    Chain nonce(group_.lanes, &Lane::fresh_nonce, group_.nonce_length);
    while (nonce.position < nonce.before_last()) mac_key_.encrypt(nonce.next());
    mac_key_.encrypt(last(nonce));
    return finish(nonce);
  }

  // Makes the subkeys, and brings both chains so many blocks forward.
  TIMEBALL_INLINE void advance(Chain& a, std::size_t a_blocks, Chain& b, std::size_t b_blocks) {
    Block l = Block::zero();
    if (a_blocks != 0 && b_blocks != 0) {
      mac_key_.encrypt(l, a.next(), b.next());
    } else if (a_blocks != 0) {
      mac_key_.encrypt(l, a.next());
    } else if (b_blocks != 0) {
      mac_key_.encrypt(l, b.next());
    } else {
      mac_key_.encrypt(l);
    }
    set_subkeys(l);
    while (a.position < a_blocks && b.position < b_blocks) mac_key_.encrypt(a.next(), b.next());
    while (a.position < a_blocks) mac_key_.encrypt(a.next());
    while (b.position < b_blocks) mac_key_.encrypt(b.next());
  }

  // V, when the chain over the text has come to its last 16 octets.
  TIMEBALL_INLINE Block finish(const Chain& nonce) const {
    const Block d = nonce.length == 0 ? d_ : dbl(d_) ^ reverse(nonce.state);
    const Chain& text = text_;
    const std::size_t offset = 16 * text.position;
    const std::size_t rest = text.length - offset;  // below 32
    Block v = text.state;
    if (rest < 16) {  // the whole text: dbl(D) xor its padding
      v = reverse(dbl(d)) ^ pad(Block::load_front(text.jobs, text.octets, offset, rest), rest) ^
          k1_;
    } else if (rest == 16) {
      v = v ^ Block::load(text.jobs, text.octets, offset) ^ reverse(d) ^ k1_;
    } else {  // D straddles two blocks
      const std::size_t tail = rest - 16;
      const Block end = reverse(d);
      v = v ^ Block::load(text.jobs, text.octets, offset) ^
          move_octets(end, static_cast<int>(tail));
      mac_key_.encrypt(v);
      v = v ^ pad(Block::load_front(text.jobs, text.octets, offset + 16, tail), tail) ^
          move_octets(end, static_cast<int>(tail) - 16) ^ k2_;
    }
    mac_key_.encrypt(v);
    return v;
  }

  // AES-CTR (section 2.6). The counter starts at V without the top bits of its last two words, so
  // that it never carries out of the last.
  TIMEBALL_INLINE void crypt(const Block& v, Octets in, std::uint8_t* Lane::*out) {
    if (group_.text_length == 0) return;
    const Block start =
        last_word_swapped(v & Block::broadcast(_mm_setr_epi32(-1, -1, ~0x80, ~0x80)));
    xor_keystream<Block>(group_, in, out, ctr_key_, [&](std::size_t i) TIMEBALL_INLINE_LAMBDA {
      return last_word_swapped(add32(start, _mm_setr_epi32(0, 0, 0, static_cast<int>(i))));
    });
  }

  TIMEBALL_INLINE static Block last_word_swapped(const Block& a) {
    return shuffle(a, _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 14, 13, 12));
  }

  const Group& group_;
  Chain text_;
  Block d_;  // S2V's D after the associated data, octets reversed
  Key mac_key_;
  Key ctr_key_;
  Block k1_;
  Block k2_;
};

}  // namespace timeball::crypto
