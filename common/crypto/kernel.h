// The contract between the rows that work in lockstep lanes (common/crypto/lockstep.h) and their
// kernels. Internal to common/crypto.
//
// A kernel seals or opens a group: up to kMaxLanes jobs of one shape, a lane each, side by side in
// vector registers. Each width of register has a source file of its own, compiled for the
// instructions it needs (kernels_*.cc); no other code of the program may use those. Hence plain
// arrays and pointers here: an inline function of a library, compiled there and kept by the linker
// for everybody, would take such instructions to a CPU without them.
//
// Kernels are pure and keep nothing, but leave keys behind in the stack, where the compiler spilled
// them, and in the vector registers. Whoever calls them must call forget() before it returns.
#pragma once

#include <cstddef>
#include <cstdint>

namespace timeball::crypto {

inline constexpr unsigned kMaxLanes = 8;

// Where the octets of one job are.
struct Lane {
  const std::uint8_t* key;
  const std::uint8_t* nonce;
  const std::uint8_t* associated_data;
  const std::uint8_t* plaintext;  // seal() reads it; open() too, once it has written it
  const std::uint8_t* in;         // the text before encryption or decryption
  std::uint8_t* out;              // and after
  const std::uint8_t* given_tag;  // open() compares with it
  std::uint8_t* tag;              // seal() writes it; reseal() the fresh one
  // For reseal().
  const std::uint8_t* fresh_nonce = nullptr;  // as long as the nonce
  std::uint8_t* fresh_out = nullptr;
};

// Jobs of one shape. Every lane up to the kernel's `lanes` must be filled; the same job may fill
// several, because then each writes the same octets.
struct Group {
  std::size_t nonce_length;
  std::size_t associated_data_length;
  std::size_t text_length;
  const Lane* lanes;
};

struct Kernel {
  unsigned lanes;
  // With this many jobs it is worth its while; missing lanes are filled by repeating a job.
  unsigned worth_from;
  void (*seal)(const Group&);
  // Returns a bit for each lane, set when the job is authentic. The text is written in any case.
  std::uint32_t (*open)(const Group&);
  // open(), and seal() of the text with the fresh nonce. Null: the algorithm gains nothing by it.
  std::uint32_t (*reseal)(const Group&);
  // Wipes what this kernel, and any narrower one, left behind in a call from the same function.
  void (*forget)();
};

// The kernels of one register width, by algorithm in the order of aead_table(), widest first.
inline constexpr unsigned kAlgorithms = 4;
inline constexpr unsigned kKernelsOfAWidth = 2;
struct KernelTable {
  Kernel of[kAlgorithms][kKernelsOfAWidth];
};

extern const KernelTable kAesNiKernels;    // AES-NI, PCLMULQDQ, SSE4.1
extern const KernelTable kVaes256Kernels;  // VAES, VPCLMULQDQ, AVX2
extern const KernelTable kVaes512Kernels;  // VAES, VPCLMULQDQ, AVX-512 F, BW, VL

}  // namespace timeball::crypto
