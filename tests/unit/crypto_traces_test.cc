// What is left behind by a burst: no key, nor anything made from one, in the stack below the caller
// or in the vector registers.
#include <gtest/gtest.h>
#include <nettle/aes.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "common/crypto/aead.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TIMEBALL_RAW_MEMORY __attribute__((no_sanitize("address", "undefined")))
#endif
#endif
#ifndef TIMEBALL_RAW_MEMORY
#define TIMEBALL_RAW_MEMORY
#endif

namespace timeball::crypto {
namespace {

using Octets = std::vector<std::uint8_t>;
using Block16 = std::array<std::uint8_t, 16>;

constexpr std::size_t kDepth = 1 << 18;  // octets of stack looked at
constexpr std::size_t kStateLength = 4096;

// The stack below the frame of whoever calls, where nothing is in use any more: octet by octet, for
// ASan and memcpy must have no say.
[[gnu::noinline]] TIMEBALL_RAW_MEMORY void copy_dead_stack(std::uint8_t* to) {
  const auto* top = static_cast<const volatile std::uint8_t*>(__builtin_frame_address(0));
  for (std::size_t i = 0; i < kDepth; ++i) to[i] = *(top - kDepth + i);
}

// So that what is found there later was left by what is tested.
[[gnu::noinline]] TIMEBALL_RAW_MEMORY void paint_dead_stack() {
  std::array<std::uint8_t, 2 * kDepth> stack;
  std::memset(stack.data(), 0xa5, stack.size());
  asm volatile("" : : "r"(stack.data()) : "memory");
}

// SSE, AVX and AVX-512 registers. Inlined, so that no call comes between.
struct alignas(64) RegisterState {
  std::array<std::uint8_t, kStateLength> octets;
};
[[gnu::always_inline]] inline void copy_registers([[maybe_unused]] RegisterState& to) {
#ifdef __x86_64__
  asm volatile("xsave64 %0" : "+m"(to) : "a"(0xe6), "d"(0) : "memory");
#endif
}

struct Left {
  Octets stack = Octets(kDepth);
  RegisterState registers{};
};

bool contains(std::span<const std::uint8_t> memory, const Block16& needle) {
  return memmem(memory.data(), memory.size(), needle.data(), needle.size()) != nullptr;
}

// --- What must not be left -----------------------------------------------------------------------

struct Needle {
  std::string name;
  Block16 octets;
};

class Needles {
 public:
  void add(const std::string& name, Bytes octets) {
    Needle needle{name, {}};
    std::copy_n(octets.begin(), 16, needle.octets.begin());
    list_.push_back(needle);
    std::ranges::reverse(needle.octets);
    needle.name += ", reversed";
    list_.push_back(needle);
  }

  // All the round keys; nettle keeps them as FIPS 197 writes them. Returns what encrypts.
  template <class Context>
  Context add_schedule(const std::string& name, Bytes key,
                       void (*expand)(Context*, const std::uint8_t*)) {
    Context context;
    expand(&context, key.data());
    const auto* words = reinterpret_cast<const std::uint8_t*>(context.keys);
    for (std::size_t i = 0; i < sizeof(context.keys); i += 16) {
      add(name + ", round key " + std::to_string(i / 16), {words + i, 16});
    }
    return context;
  }

  template <class Context>
  void add_siv(Bytes key, void (*expand)(Context*, const std::uint8_t*),
               void (*encrypt)(const Context*, std::size_t, std::uint8_t*, const std::uint8_t*)) {
    const Context mac = add_schedule("CMAC key", key.first(key.size() / 2), expand);
    add_schedule("CTR key", key.last(key.size() / 2), expand);
    Block16 subkey{};
    encrypt(&mac, 16, subkey.data(), subkey.data());
    for (const char* name : {"L", "K1", "K2"}) {
      add(name, subkey);
      const int carry = subkey[0] >> 7;
      for (std::size_t i = 0; i < 16; ++i) {
        const int below = i == 15 ? 0 : subkey[i + 1] >> 7;
        subkey[i] = static_cast<std::uint8_t>((subkey[i] << 1) | below);
      }
      subkey[15] ^= static_cast<std::uint8_t>(carry * 0x87);
    }
  }

  void add_gcm_siv(Bytes key, Bytes nonce) {
    const auto generating = add_schedule("key-generating key", key, aes128_set_encrypt_key);
    Octets derived;
    for (std::uint8_t counter = 0; counter < 4; ++counter) {
      Block16 block{counter};
      std::copy_n(nonce.begin(), 12, block.begin() + 4);
      aes128_encrypt(&generating, 16, block.data(), block.data());
      derived.insert(derived.end(), block.begin(), block.begin() + 8);
    }
    add("authentication key", derived);
    add_schedule("encryption key", Bytes(derived).last(16), aes128_set_encrypt_key);
  }

  std::string found_in(std::span<const std::uint8_t> memory) const {
    std::string found;
    for (const Needle& needle : list_) {
      if (contains(memory, needle.octets)) found += needle.name + "; ";
    }
    return found;
  }

 private:
  std::vector<Needle> list_;
};

// --- Every row -----------------------------------------------------------------------------------

struct Case {
  AeadId aead;
  Implementation implementation;
  std::string name;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

// Jobs that differ in their keys, nonces and texts; the text of each is keys, as in a cookie.
class Burst {
 public:
  Burst(const AeadParameters& aead, std::size_t jobs, std::size_t text_length) {
    for (std::size_t i = 0; i < jobs; ++i) {
      keys_.push_back(draw(aead.key_length));
      nonces_.push_back(draw(aead.nonce_length));
      ad_.push_back(draw(100));
      texts_.push_back(draw(text_length));
      ciphertexts_.emplace_back(text_length + kTagLength);
      opened_.emplace_back(text_length);
      fresh_nonces_.push_back(draw(aead.nonce_length));
      fresh_.emplace_back(text_length + kTagLength);
      add_needles(aead.id, i);
    }
    for (std::size_t i = 0; i < jobs; ++i) {
      seals_.push_back({keys_[i], nonces_[i], ad_[i], texts_[i], ciphertexts_[i]});
      opens_.push_back({keys_[i], nonces_[i], ad_[i], ciphertexts_[i], opened_[i]});
      reseals_.push_back({opens_[i], fresh_nonces_[i], fresh_[i]});
    }
  }

  [[gnu::noinline]] void seal(Row& row, Left& left) {
    const bool ok = row.seal(seals_);
    copy_registers(left.registers);
    copy_dead_stack(left.stack.data());
    EXPECT_TRUE(ok);
  }
  [[gnu::noinline]] void open(Row& row, Left& left) {
    row.open(opens_);
    copy_registers(left.registers);
    copy_dead_stack(left.stack.data());
    for (const OpenJob& job : opens_) EXPECT_TRUE(job.authentic);
  }
  [[gnu::noinline]] void reseal(Row& row, Left& left) {
    const bool ok = row.reseal(reseals_);
    copy_registers(left.registers);
    copy_dead_stack(left.stack.data());
    EXPECT_TRUE(ok);
    for (const ResealJob& job : reseals_) EXPECT_TRUE(job.authentic);
  }

  void expect_no_trace(const Left& left) const {
    EXPECT_EQ(keys_and_subkeys_.found_in(left.stack), "") << "in the stack";
    EXPECT_EQ(keys_and_subkeys_.found_in(left.registers.octets), "") << "in the registers";
    // Not in the registers: the C library's memcpy, which the portable rows call, leaves them
    // there.
    EXPECT_EQ(blocks_of_text_.found_in(left.stack), "") << "in the stack";
  }
  Bytes key(std::size_t job) const { return keys_[job]; }

 private:
  Octets draw(std::size_t length) {
    Octets octets(length);
    std::ranges::generate(octets, [this] { return static_cast<std::uint8_t>(random_()); });
    return octets;
  }

  void add_needles(AeadId id, std::size_t i) {
    const Bytes key = keys_[i];
    if (id == AeadId::kAesSivCmac256) {
      keys_and_subkeys_.add_siv(key, aes128_set_encrypt_key, aes128_encrypt);
    } else if (id == AeadId::kAesSivCmac384) {
      keys_and_subkeys_.add_siv(key, aes192_set_encrypt_key, aes192_encrypt);
    } else if (id == AeadId::kAesSivCmac512) {
      keys_and_subkeys_.add_siv(key, aes256_set_encrypt_key, aes256_encrypt);
    } else {
      keys_and_subkeys_.add_gcm_siv(key, nonces_[i]);
    }
    for (std::size_t at = 0; at + 16 <= texts_[i].size(); at += 16) {
      blocks_of_text_.add("text", Bytes(texts_[i]).subspan(at, 16));
    }
  }

  std::mt19937 random_{7};
  std::vector<Octets> keys_, nonces_, ad_, texts_, ciphertexts_, opened_, fresh_nonces_, fresh_;
  std::vector<SealJob> seals_;
  std::vector<OpenJob> opens_;
  std::vector<ResealJob> reseals_;
  Needles keys_and_subkeys_, blocks_of_text_;
};

class Traces : public testing::TestWithParam<Case> {};

TEST_P(Traces, OfKeysAndTextsAreWiped) {
  Engine engine(GetParam().implementation);
  Row& row = engine.row(GetParam().aead);
  for (const std::size_t jobs : {1U, 2U, 3U, 4U, 5U, 8U, 15U}) {
    for (const std::size_t text_length : {0U, 16U, 64U, 100U}) {
      SCOPED_TRACE(std::to_string(jobs) + " jobs, text of " + std::to_string(text_length));
      Burst burst(parameters(GetParam().aead), jobs, text_length);
      Left left;
      paint_dead_stack();
      burst.seal(row, left);
      burst.expect_no_trace(left);
      paint_dead_stack();
      burst.open(row, left);
      burst.expect_no_trace(left);
      paint_dead_stack();
      burst.reseal(row, left);
      burst.expect_no_trace(left);
    }
  }
}

std::vector<Case> every_case() {
  std::vector<Case> cases;
  for (const auto& [implementation, name] : implementations()) {
    if (implementation == Implementation::kAuto || !available(implementation)) continue;
    for (const AeadParameters& aead : aead_table()) {
      cases.push_back({aead.id, implementation, std::string(name)});
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(EveryRow, Traces, testing::ValuesIn(every_case()), [](const auto& test) {
  return std::to_string(static_cast<int>(test.param.aead)) + test.param.name;
});

// The test above would be worth nothing if it could not see.
[[gnu::noinline]] void leave_behind(Bytes octets) {
  std::array<std::uint8_t, 512> copy;
  std::copy(octets.begin(), octets.end(), copy.begin() + 100);
  asm volatile("" : : "r"(copy.data()) : "memory");
}

TEST(TracesTest, SeesWhatIsLeftInTheStackAndInRegisters) {
  Burst burst(parameters(AeadId::kAesSivCmac256), 1, 64);
  Left left;
  paint_dead_stack();
  leave_behind(burst.key(0));
#ifdef __x86_64__
  asm volatile("movdqu (%0), %%xmm15" : : "r"(burst.key(0).data()) : "xmm15");
#endif
  copy_registers(left.registers);
  copy_dead_stack(left.stack.data());
  Needles needles;
  needles.add("key", burst.key(0));
  EXPECT_EQ(needles.found_in(left.stack), "key; ");
#ifdef __x86_64__
  EXPECT_EQ(needles.found_in(left.registers.octets), "key; ");
#endif
}

}  // namespace
}  // namespace timeball::crypto
