// AES blocks of several jobs side by side, and AES over them. Internal to the kernels.
//
//   Register<N>   N blocks in one vector register: 1 (SSE), 2 (AVX2) or 4 (AVX-512), a job each
//   Lanes<R, N>   N registers: the same block of every job of a group
//   AesKey        the round keys of every job of a group
//
// What is written with Lanes reads like the algorithm for one job, and does it for all. Nothing
// here branches on, or addresses by, anything but lengths, which are public.
//
// Each Register is compiled in one file only, with that file's instructions; everything below is a
// template over it, so that the linker never takes one file's code for another's.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef __has_feature
#define TIMEBALL_HAS_FEATURE(feature) __has_feature(feature)
#else
#define TIMEBALL_HAS_FEATURE(feature) 0
#endif
// Sanitizers instrument every access: a kernel inlined into one function would then take clang
// minutes to compile.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    TIMEBALL_HAS_FEATURE(address_sanitizer) || TIMEBALL_HAS_FEATURE(thread_sanitizer)
#define TIMEBALL_SANITIZED true
#define TIMEBALL_INLINE inline
#define TIMEBALL_INLINE_LAMBDA
#else
#define TIMEBALL_SANITIZED false
#define TIMEBALL_INLINE [[gnu::always_inline]] inline
#define TIMEBALL_INLINE_LAMBDA __attribute__((always_inline))
#endif
#define TIMEBALL_UNROLL _Pragma("GCC unroll 16")

namespace timeball::crypto {

inline constexpr bool kSanitized = TIMEBALL_SANITIZED;

template <int kBlocks>
struct Register;

// Parts of a block in memory: n octets, without touching the ones behind.
template <class R>
struct PartialBlock {
  template <class T>
  TIMEBALL_INLINE static std::uint64_t load(const std::uint8_t* p) {
    T value;
    std::memcpy(&value, p, sizeof(value));
    return value;
  }
  template <class T>
  TIMEBALL_INLINE static void store(std::uint8_t* p, std::uint64_t value) {
    const T part = static_cast<T>(value);
    std::memcpy(p, &part, sizeof(part));
  }

  // n < 16 octets, then zeros. Two loads that overlap make any length.
  TIMEBALL_INLINE static __m128i load_front(const std::uint8_t* p, std::size_t n) {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    if (n >= 8) {
      low = load<std::uint64_t>(p);
      if (n > 8) high = load<std::uint64_t>(p + n - 8) >> (8 * (16 - n));
    } else if (n >= 4) {
      low = load<std::uint32_t>(p) | (load<std::uint32_t>(p + n - 4) << (8 * (n - 4)));
    } else if (n > 0) {
      low = std::uint64_t{p[0]} | (std::uint64_t{p[n / 2]} << (8 * (n / 2))) |
            (std::uint64_t{p[n - 1]} << (8 * (n - 1)));
    }
    return _mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low));
  }

  // 0 < n < 16.
  TIMEBALL_INLINE static void store_front(std::uint8_t* p, std::size_t n, __m128i block) {
    const auto low = static_cast<std::uint64_t>(_mm_cvtsi128_si64(block));
    if (n >= 8) {
      store<std::uint64_t>(p, low);
      const auto high = static_cast<std::uint64_t>(_mm_extract_epi64(block, 1));
      if (n > 8) {
        store<std::uint64_t>(p + n - 8, (low >> (8 * (n - 8))) | (high << (8 * (16 - n))));
      }
    } else if (n >= 4) {
      store<std::uint32_t>(p, low);
      store<std::uint32_t>(p + n - 4, low >> (8 * (n - 4)));
    } else {
      store<std::uint8_t>(p, low);
      store<std::uint8_t>(p + n / 2, low >> (8 * (n / 2)));
      store<std::uint8_t>(p + n - 1, low >> (8 * (n - 1)));
    }
  }
};

#ifdef __AVX512BW__
template <>
struct PartialBlock<Register<4>> {
  TIMEBALL_INLINE static __mmask16 first(std::size_t n) {
    return static_cast<__mmask16>((1U << n) - 1);
  }
  TIMEBALL_INLINE static __m128i load_front(const std::uint8_t* p, std::size_t n) {
    return _mm_maskz_loadu_epi8(first(n), p);
  }
  TIMEBALL_INLINE static void store_front(std::uint8_t* p, std::size_t n, __m128i block) {
    _mm_mask_storeu_epi8(p, first(n), block);
  }
};
#endif

#ifdef __AES__
template <>
struct Register<1> {
  static constexpr int kBlocks = 1;
  __m128i v;

  TIMEBALL_INLINE static void clear_registers() {
    asm volatile(
        "pxor %%xmm0, %%xmm0; pxor %%xmm1, %%xmm1; pxor %%xmm2, %%xmm2; pxor %%xmm3, %%xmm3;"
        "pxor %%xmm4, %%xmm4; pxor %%xmm5, %%xmm5; pxor %%xmm6, %%xmm6; pxor %%xmm7, %%xmm7;"
        "pxor %%xmm8, %%xmm8; pxor %%xmm9, %%xmm9; pxor %%xmm10, %%xmm10; pxor %%xmm11, %%xmm11;"
        "pxor %%xmm12, %%xmm12; pxor %%xmm13, %%xmm13; pxor %%xmm14, %%xmm14; pxor %%xmm15, %%xmm15"
        :
        :
        : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
          "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  }
  TIMEBALL_INLINE static Register broadcast(__m128i a) { return {a}; }
  TIMEBALL_INLINE static Register join(const __m128i (&blocks)[1]) { return {blocks[0]}; }
  template <int kBlock>
  TIMEBALL_INLINE __m128i block() const {
    return v;
  }
  // A bit for each block that is the same.
  TIMEBALL_INLINE friend std::uint32_t equal_blocks(Register a, Register b) {
    return _mm_movemask_epi8(_mm_cmpeq_epi8(a.v, b.v)) == 0xffff ? 1 : 0;
  }

  TIMEBALL_INLINE friend Register operator^(Register a, Register b) {
    return {_mm_xor_si128(a.v, b.v)};
  }
  TIMEBALL_INLINE friend Register operator&(Register a, Register b) {
    return {_mm_and_si128(a.v, b.v)};
  }
  TIMEBALL_INLINE friend Register operator|(Register a, Register b) {
    return {_mm_or_si128(a.v, b.v)};
  }
  TIMEBALL_INLINE friend Register add32(Register a, Register b) {
    return {_mm_add_epi32(a.v, b.v)};
  }
  TIMEBALL_INLINE friend Register add64(Register a, Register b) {
    return {_mm_add_epi64(a.v, b.v)};
  }
  TIMEBALL_INLINE friend Register sign32(Register a) { return {_mm_srai_epi32(a.v, 31)}; }
  TIMEBALL_INLINE friend Register shuffle(Register a, Register order) {
    return {_mm_shuffle_epi8(a.v, order.v)};
  }
  TIMEBALL_INLINE friend Register aes_round(Register a, Register key) {
    return {_mm_aesenc_si128(a.v, key.v)};
  }
  TIMEBALL_INLINE friend Register aes_last_round(Register a, Register key) {
    return {_mm_aesenclast_si128(a.v, key.v)};
  }
  TIMEBALL_INLINE friend Register low_halves(Register a, Register b) {
    return {_mm_unpacklo_epi64(a.v, b.v)};
  }
  template <int kWords>
  TIMEBALL_INLINE Register shuffle32() const {
    return {_mm_shuffle_epi32(v, kWords)};
  }
  template <int kOctets>
  TIMEBALL_INLINE Register shift_up() const {
    return {_mm_slli_si128(v, kOctets)};
  }
  template <int kOctets>
  TIMEBALL_INLINE Register shift_down() const {
    return {_mm_srli_si128(v, kOctets)};
  }
  template <int kHalves>
  TIMEBALL_INLINE Register carryless(Register b) const {
    return {_mm_clmulepi64_si128(v, b.v, kHalves)};
  }
};
#endif

#ifdef __VAES__
template <>
struct Register<2> {
  static constexpr int kBlocks = 2;
  __m256i v;

  TIMEBALL_INLINE static void clear_registers() { _mm256_zeroall(); }
  TIMEBALL_INLINE static Register broadcast(__m128i a) { return {_mm256_broadcastsi128_si256(a)}; }
  TIMEBALL_INLINE static Register join(const __m128i (&blocks)[2]) {
    return {_mm256_set_m128i(blocks[1], blocks[0])};
  }
  template <int kBlock>
  TIMEBALL_INLINE __m128i block() const {
    return _mm256_extracti128_si256(v, kBlock);
  }
  TIMEBALL_INLINE friend std::uint32_t equal_blocks(Register a, Register b) {
    const auto octets =
        static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(a.v, b.v)));
    return ((octets & 0xffff) == 0xffff ? 1U : 0U) | (octets >> 16 == 0xffff ? 2U : 0U);
  }

  TIMEBALL_INLINE friend Register operator^(Register a, Register b) {
    return {_mm256_xor_si256(a.v, b.v)};
  }
  TIMEBALL_INLINE friend Register operator&(Register a, Register b) {
    return {_mm256_and_si256(a.v, b.v)};
  }
  TIMEBALL_INLINE friend Register operator|(Register a, Register b) {
    return {_mm256_or_si256(a.v, b.v)};
  }
  TIMEBALL_INLINE friend Register add32(Register a, Register b) {
    return {_mm256_add_epi32(a.v, b.v)};
  }
  TIMEBALL_INLINE friend Register add64(Register a, Register b) {
    return {_mm256_add_epi64(a.v, b.v)};
  }
  TIMEBALL_INLINE friend Register sign32(Register a) { return {_mm256_srai_epi32(a.v, 31)}; }
  TIMEBALL_INLINE friend Register shuffle(Register a, Register order) {
    return {_mm256_shuffle_epi8(a.v, order.v)};
  }
  TIMEBALL_INLINE friend Register aes_round(Register a, Register key) {
    return {_mm256_aesenc_epi128(a.v, key.v)};
  }
  TIMEBALL_INLINE friend Register aes_last_round(Register a, Register key) {
    return {_mm256_aesenclast_epi128(a.v, key.v)};
  }
  TIMEBALL_INLINE friend Register low_halves(Register a, Register b) {
    return {_mm256_unpacklo_epi64(a.v, b.v)};
  }
  template <int kWords>
  TIMEBALL_INLINE Register shuffle32() const {
    return {_mm256_shuffle_epi32(v, kWords)};
  }
  template <int kOctets>
  TIMEBALL_INLINE Register shift_up() const {
    return {_mm256_bslli_epi128(v, kOctets)};
  }
  template <int kOctets>
  TIMEBALL_INLINE Register shift_down() const {
    return {_mm256_bsrli_epi128(v, kOctets)};
  }
  template <int kHalves>
  TIMEBALL_INLINE Register carryless(Register b) const {
    return {_mm256_clmulepi64_epi128(v, b.v, kHalves)};
  }
};
#endif

#ifdef __AVX512BW__
template <>
struct Register<4> {
  static constexpr int kBlocks = 4;
  __m512i v;

  TIMEBALL_INLINE static void clear_registers() {
    asm volatile(
        "vpxord %%xmm16, %%xmm16, %%xmm16; vpxord %%xmm17, %%xmm17, %%xmm17;"
        "vpxord %%xmm18, %%xmm18, %%xmm18; vpxord %%xmm19, %%xmm19, %%xmm19;"
        "vpxord %%xmm20, %%xmm20, %%xmm20; vpxord %%xmm21, %%xmm21, %%xmm21;"
        "vpxord %%xmm22, %%xmm22, %%xmm22; vpxord %%xmm23, %%xmm23, %%xmm23;"
        "vpxord %%xmm24, %%xmm24, %%xmm24; vpxord %%xmm25, %%xmm25, %%xmm25;"
        "vpxord %%xmm26, %%xmm26, %%xmm26; vpxord %%xmm27, %%xmm27, %%xmm27;"
        "vpxord %%xmm28, %%xmm28, %%xmm28; vpxord %%xmm29, %%xmm29, %%xmm29;"
        "vpxord %%xmm30, %%xmm30, %%xmm30; vpxord %%xmm31, %%xmm31, %%xmm31"
        :
        :
        : "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25",
          "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
    _mm256_zeroall();
  }
  TIMEBALL_INLINE static Register broadcast(__m128i a) { return {_mm512_broadcast_i32x4(a)}; }
  TIMEBALL_INLINE static Register join(const __m128i (&blocks)[4]) {
    const __m512i low = _mm512_inserti32x4(_mm512_castsi128_si512(blocks[0]), blocks[1], 1);
    return {_mm512_inserti32x4(_mm512_inserti32x4(low, blocks[2], 2), blocks[3], 3)};
  }
  template <int kBlock>
  TIMEBALL_INLINE __m128i block() const {
    return _mm512_extracti32x4_epi32(v, kBlock);
  }
  TIMEBALL_INLINE friend std::uint32_t equal_blocks(Register a, Register b) {
    const std::uint32_t halves = _mm512_cmpeq_epi64_mask(a.v, b.v);
    const std::uint32_t both = halves & (halves >> 1);  // bits 0, 2, 4, 6
    return (both & 1) | (both >> 1 & 2) | (both >> 2 & 4) | (both >> 3 & 8);
  }

  TIMEBALL_INLINE friend Register operator^(Register a, Register b) {
    return {_mm512_xor_si512(a.v, b.v)};
  }
  TIMEBALL_INLINE friend Register operator&(Register a, Register b) {
    return {_mm512_and_si512(a.v, b.v)};
  }
  TIMEBALL_INLINE friend Register operator|(Register a, Register b) {
    return {_mm512_or_si512(a.v, b.v)};
  }
  TIMEBALL_INLINE friend Register add32(Register a, Register b) {
    return {_mm512_add_epi32(a.v, b.v)};
  }
  TIMEBALL_INLINE friend Register add64(Register a, Register b) {
    return {_mm512_add_epi64(a.v, b.v)};
  }
  TIMEBALL_INLINE friend Register sign32(Register a) { return {_mm512_srai_epi32(a.v, 31)}; }
  TIMEBALL_INLINE friend Register shuffle(Register a, Register order) {
    return {_mm512_shuffle_epi8(a.v, order.v)};
  }
  TIMEBALL_INLINE friend Register aes_round(Register a, Register key) {
    return {_mm512_aesenc_epi128(a.v, key.v)};
  }
  TIMEBALL_INLINE friend Register aes_last_round(Register a, Register key) {
    return {_mm512_aesenclast_epi128(a.v, key.v)};
  }
  TIMEBALL_INLINE friend Register low_halves(Register a, Register b) {
    return {_mm512_unpacklo_epi64(a.v, b.v)};
  }
  template <int kWords>
  TIMEBALL_INLINE Register shuffle32() const {
    return {_mm512_shuffle_epi32(v, static_cast<_MM_PERM_ENUM>(kWords))};
  }
  template <int kOctets>
  TIMEBALL_INLINE Register shift_up() const {
    return {_mm512_bslli_epi128(v, kOctets)};
  }
  template <int kOctets>
  TIMEBALL_INLINE Register shift_down() const {
    return {_mm512_bsrli_epi128(v, kOctets)};
  }
  template <int kHalves>
  TIMEBALL_INLINE Register carryless(Register b) const {
    return {_mm512_clmulepi64_epi128(v, b.v, kHalves)};
  }
};
#endif

// The same block of every job of a group.
template <class R, int kRegisters>
struct Lanes {
  static constexpr int kBlocks = R::kBlocks;
  static constexpr unsigned kJobs = kBlocks * kRegisters;
  R r[kRegisters];

  TIMEBALL_INLINE static void clear_registers() { R::clear_registers(); }
  template <class F>
  TIMEBALL_INLINE static Lanes make(F f) {
    Lanes out;
    TIMEBALL_UNROLL
    for (int i = 0; i < kRegisters; ++i) out.r[i] = f(i);
    return out;
  }
  TIMEBALL_INLINE static Lanes broadcast(__m128i block) {
    return make([&](int) TIMEBALL_INLINE_LAMBDA { return R::broadcast(block); });
  }
  TIMEBALL_INLINE static Lanes zero() { return broadcast(_mm_setzero_si128()); }
  // f: the block of each job.
  template <class F>
  TIMEBALL_INLINE static Lanes gather(F f) {
    return make([&](int i) TIMEBALL_INLINE_LAMBDA {
      __m128i blocks[kBlocks];
      TIMEBALL_UNROLL
      for (int b = 0; b < kBlocks; ++b) blocks[b] = f(i * kBlocks + b);
      return R::join(blocks);
    });
  }
  // A block of each job's octets, which may be any of a struct's pointers.
  template <class Job, class Octets>
  TIMEBALL_INLINE static Lanes load(const Job* jobs, Octets octets, std::size_t offset) {
    return gather([&](int job) TIMEBALL_INLINE_LAMBDA {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(jobs[job].*octets + offset));
    });
  }
  // The last n < 16 octets of something, then zeros. Of nothing, nothing is loaded: a masked load
  // from a null pointer is allowed, but takes the CPU a trap.
  template <class Job, class Octets>
  TIMEBALL_INLINE static Lanes load_front(const Job* jobs, Octets octets, std::size_t offset,
                                          std::size_t n) {
    if (n == 0) return zero();
    return gather([&](int job) TIMEBALL_INLINE_LAMBDA {
      return PartialBlock<R>::load_front(jobs[job].*octets + offset, n);
    });
  }
  // f: takes each job's block.
  template <class F>
  TIMEBALL_INLINE void scatter(F f) const {
    TIMEBALL_UNROLL
    for (int i = 0; i < kRegisters; ++i) {
      f(i * kBlocks, r[i].template block<0>());
      if constexpr (kBlocks > 1) f(i * kBlocks + 1, r[i].template block<1>());
      if constexpr (kBlocks > 2) {
        f(i * kBlocks + 2, r[i].template block<2>());
        f(i * kBlocks + 3, r[i].template block<3>());
      }
    }
  }
  template <class Job, class Octets>
  TIMEBALL_INLINE void store(const Job* jobs, Octets octets, std::size_t offset) const {
    scatter([&](int job, __m128i block) TIMEBALL_INLINE_LAMBDA {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(jobs[job].*octets + offset), block);
    });
  }
  template <class Job, class Octets>
  TIMEBALL_INLINE void store_front(const Job* jobs, Octets octets, std::size_t offset,
                                   std::size_t n) const {
    scatter([&](int job, __m128i block) TIMEBALL_INLINE_LAMBDA {
      PartialBlock<R>::store_front(jobs[job].*octets + offset, n, block);
    });
  }

  TIMEBALL_INLINE friend Lanes operator^(const Lanes& a, const Lanes& b) {
    return make([&](int i) TIMEBALL_INLINE_LAMBDA { return a.r[i] ^ b.r[i]; });
  }
  TIMEBALL_INLINE friend Lanes operator&(const Lanes& a, const Lanes& b) {
    return make([&](int i) TIMEBALL_INLINE_LAMBDA { return a.r[i] & b.r[i]; });
  }
  TIMEBALL_INLINE friend Lanes operator|(const Lanes& a, const Lanes& b) {
    return make([&](int i) TIMEBALL_INLINE_LAMBDA { return a.r[i] | b.r[i]; });
  }
  TIMEBALL_INLINE friend Lanes shuffle(const Lanes& a, __m128i order) {
    return make([&](int i) TIMEBALL_INLINE_LAMBDA { return shuffle(a.r[i], R::broadcast(order)); });
  }
  TIMEBALL_INLINE friend Lanes aes_round(const Lanes& a, const Lanes& key) {
    return make([&](int i) TIMEBALL_INLINE_LAMBDA { return aes_round(a.r[i], key.r[i]); });
  }
  TIMEBALL_INLINE friend Lanes aes_last_round(const Lanes& a, const Lanes& key) {
    return make([&](int i) TIMEBALL_INLINE_LAMBDA { return aes_last_round(a.r[i], key.r[i]); });
  }
  TIMEBALL_INLINE friend Lanes low_halves(const Lanes& a, const Lanes& b) {
    return make([&](int i) TIMEBALL_INLINE_LAMBDA { return low_halves(a.r[i], b.r[i]); });
  }
  TIMEBALL_INLINE friend Lanes add64(const Lanes& a, const Lanes& b) {
    return make([&](int i) TIMEBALL_INLINE_LAMBDA { return add64(a.r[i], b.r[i]); });
  }
  TIMEBALL_INLINE friend Lanes sign32(const Lanes& a) {
    return make([&](int i) TIMEBALL_INLINE_LAMBDA { return sign32(a.r[i]); });
  }
  template <int kWords>
  TIMEBALL_INLINE Lanes shuffle32() const {
    return make([&](int i) TIMEBALL_INLINE_LAMBDA { return r[i].template shuffle32<kWords>(); });
  }
  template <int kOctets>
  TIMEBALL_INLINE Lanes shift_up() const {
    return make([&](int i) TIMEBALL_INLINE_LAMBDA { return r[i].template shift_up<kOctets>(); });
  }
  template <int kOctets>
  TIMEBALL_INLINE Lanes shift_down() const {
    return make([&](int i) TIMEBALL_INLINE_LAMBDA { return r[i].template shift_down<kOctets>(); });
  }
  template <int kHalves>
  TIMEBALL_INLINE Lanes carryless(const Lanes& b) const {
    return make([&](int i)
                    TIMEBALL_INLINE_LAMBDA { return r[i].template carryless<kHalves>(b.r[i]); });
  }
  TIMEBALL_INLINE friend Lanes add32(const Lanes& a, __m128i b) {
    return make([&](int i) TIMEBALL_INLINE_LAMBDA { return add32(a.r[i], R::broadcast(b)); });
  }
  // A bit for each job whose blocks are the same. Constant time.
  TIMEBALL_INLINE friend std::uint32_t equal_jobs(const Lanes& a, const Lanes& b) {
    std::uint32_t jobs = 0;
    TIMEBALL_UNROLL
    for (int i = 0; i < kRegisters; ++i) jobs |= equal_blocks(a.r[i], b.r[i]) << (i * kBlocks);
    return jobs;
  }
};

// 16 octets of a table, from any offset.
TIMEBALL_INLINE static __m128i octets_at(const std::uint8_t* table, std::size_t offset) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(table + offset));
}

}  // namespace timeball::crypto
