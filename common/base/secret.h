// Key material: a fixed-capacity buffer that wipes itself, and a comparison whose time does not
// depend on what is compared. Copies are deliberate: every copy wipes itself too.
#pragma once

#include <string.h>

#include <algorithm>
#include <array>
#include <cassert>

#include "common/base/bytes.h"

namespace timeball {

// Overwrites with zeros; the compiler may not leave it out.
inline void wipe(MutableBytes bytes) {
  explicit_bzero(bytes.data(), bytes.size());
}

// True when both have the same length and octets. Time depends on the length only.
inline bool equal_constant_time(Bytes a, Bytes b) {
  if (a.size() != b.size()) return false;
  std::uint8_t difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) difference |= static_cast<std::uint8_t>(a[i] ^ b[i]);
  return difference == 0;
}

// Up to Capacity secret octets.
template <std::size_t Capacity>
class Secret {
 public:
  Secret() = default;
  explicit Secret(Bytes bytes) : size_(bytes.size()) {
    assert(bytes.size() <= Capacity);
    std::copy(bytes.begin(), bytes.end(), bytes_.begin());
  }
  Secret(const Secret&) = default;
  Secret& operator=(const Secret&) = default;
  ~Secret() { wipe(bytes_); }

  // Sets the length; octets beyond the old length are zero. Requires size <= Capacity.
  MutableBytes resize(std::size_t size) {
    assert(size <= Capacity);
    if (size < size_) wipe(MutableBytes(bytes_).subspan(size));
    size_ = size;
    return MutableBytes(bytes_).first(size_);
  }
  Bytes bytes() const { return Bytes(bytes_).first(size_); }
  MutableBytes bytes() { return MutableBytes(bytes_).first(size_); }
  std::size_t size() const { return size_; }
  bool operator==(const Secret& other) const { return equal_constant_time(bytes(), other.bytes()); }

 private:
  std::array<std::uint8_t, Capacity> bytes_{};
  std::size_t size_ = 0;
};

}  // namespace timeball
