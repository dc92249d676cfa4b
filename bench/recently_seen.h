// Which octet strings were seen lately: cookies and nonces that a server must not give twice.
// Remembers a fingerprint of about the last 2^bits strings in fixed memory; a repetition of an
// older one goes unnoticed, and a false alarm has a chance of 2^(bits - 64). Pure; one thread.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/bytes.h"

namespace timeball::bench {

class RecentlySeen {
 public:
  explicit RecentlySeen(unsigned bits) : shift_(64 - bits), prints_(std::size_t{1} << bits) {}

  // Stands for these octets. The same octets with another `scope` are others.
  static std::uint64_t fingerprint(Bytes octets, std::uint64_t scope) {
    std::uint64_t print = mix(scope + 1, octets.size() + kOdd);
    for (; octets.size() >= 8; octets = octets.subspan(8)) {
      print = mix(print, load_be64(octets.data()));
    }
    std::uint64_t rest = 0;
    for (const std::uint8_t octet : octets) rest = rest << 8 | octet;
    return mix(mix(print, rest), kOdd);
  }

  // again() will be asked soon: fetches the memory meanwhile.
  void expect(std::uint64_t print) const { __builtin_prefetch(&prints_[print >> shift_], 1); }
  // Whether this was seen before; seen it is from now on.
  bool again(std::uint64_t print) {
    std::uint64_t& place = prints_[print >> shift_];
    if (place == print) return true;
    place = print;
    return false;
  }

 private:
  static constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15U;

  static std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
    const std::uint64_t x = (a ^ b) * kOdd;
    return x ^ (x >> 29);
  }

  unsigned shift_;
  std::vector<std::uint64_t> prints_;
};

}  // namespace timeball::bench
