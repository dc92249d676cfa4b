// The kernels of one register width. Internal to common/crypto: each kernels_*.cc includes this.
#pragma once

#include "common/crypto/gcm_siv_lanes.h"
#include "common/crypto/siv_lanes.h"

namespace timeball::crypto {

// More than any kernel takes of the stack, with room for other compilers' ideas;
// tests/unit/crypto_traces_test.cc tells when it is not. Where nothing is inlined it is far more.
template <class Block>
inline constexpr std::size_t kStackOctets =
    kSanitized ? 1 << 15 : 0x100 + sizeof(Block) * (Block::kJobs == 1 ? 36 : 60);

// Its array lies where the kernels had theirs: in the stack below their common caller.
template <class Block>
[[gnu::noinline]] void forget() {
  Block stack[kStackOctets<Block> / sizeof(Block)];
  if constexpr (kSanitized) {
    std::memset(static_cast<void*>(stack), 0, sizeof(stack));
    asm volatile("" : : "r"(stack) : "memory");
  } else {
    TIMEBALL_UNROLL
    for (Block& block : stack) {
      block = Block::zero();
      asm volatile("" : "+m"(block));  // not a memset, which for so few octets takes longer
    }
  }
  Block::clear_registers();
}

template <class Cipher, class Block>
consteval Kernel kernel(unsigned worth_from) {
  Kernel kernel{Cipher::kJobs, worth_from, Cipher::seal, Cipher::open, nullptr, forget<Block>};
  if constexpr (requires(const Group& g) { Cipher::reseal(g); }) kernel.reseal = Cipher::reseal;
  return kernel;
}

// Two kernels for each algorithm. worth_from: see Kernel.
template <class Wide, class Narrow>
consteval KernelTable kernel_table(unsigned wide_from, unsigned narrow_from) {
  return {{
      {kernel<SivLanes<Wide, 4>, Wide>(wide_from),
       kernel<SivLanes<Narrow, 4>, Narrow>(narrow_from)},
      {kernel<SivLanes<Wide, 6>, Wide>(wide_from),
       kernel<SivLanes<Narrow, 6>, Narrow>(narrow_from)},
      {kernel<SivLanes<Wide, 8>, Wide>(wide_from),
       kernel<SivLanes<Narrow, 8>, Narrow>(narrow_from)},
      {kernel<GcmSivLanes<Wide>, Wide>(wide_from),
       kernel<GcmSivLanes<Narrow>, Narrow>(narrow_from)},
  }};
}

}  // namespace timeball::crypto
