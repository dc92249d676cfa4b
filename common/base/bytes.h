// Octets in network order: spans, loads and stores, and two cursors with a sticky error.
//
// A cursor that would run past its end stops there, returns zeros or empty spans, and says so once,
// through ok(): callers read a whole structure and check at its end.
// Values, no ownership, no allocation; any thread, one at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace timeball {

using Bytes = std::span<const std::uint8_t>;
using MutableBytes = std::span<std::uint8_t>;

constexpr std::uint16_t load_be16(const std::uint8_t* p) {
  return static_cast<std::uint16_t>((p[0] << 8) | p[1]);
}
constexpr std::uint32_t load_be32(const std::uint8_t* p) {
  return (std::uint32_t{load_be16(p)} << 16) | load_be16(p + 2);
}
constexpr std::uint64_t load_be64(const std::uint8_t* p) {
  return (std::uint64_t{load_be32(p)} << 32) | load_be32(p + 4);
}
constexpr void store_be16(std::uint8_t* p, std::uint16_t v) {
  p[0] = static_cast<std::uint8_t>(v >> 8);
  p[1] = static_cast<std::uint8_t>(v);
}
constexpr void store_be32(std::uint8_t* p, std::uint32_t v) {
  store_be16(p, static_cast<std::uint16_t>(v >> 16));
  store_be16(p + 2, static_cast<std::uint16_t>(v));
}
constexpr void store_be64(std::uint8_t* p, std::uint64_t v) {
  store_be32(p, static_cast<std::uint32_t>(v >> 32));
  store_be32(p + 4, static_cast<std::uint32_t>(v));
}

// Rounds up to the next multiple of four, the padding unit of RFC 7822 and RFC 8915.
constexpr std::size_t padded4(std::size_t n) {
  return (n + 3) & ~std::size_t{3};
}

inline bool equal(Bytes a, Bytes b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

class ByteReader {
 public:
  explicit ByteReader(Bytes bytes) : rest_(bytes) {}

  std::uint8_t u8() {
    const Bytes b = take(1);
    return b.empty() ? std::uint8_t{0} : b[0];
  }
  std::uint16_t u16() {
    const Bytes b = take(2);
    return b.empty() ? std::uint16_t{0} : load_be16(b.data());
  }
  std::uint32_t u32() {
    const Bytes b = take(4);
    return b.empty() ? std::uint32_t{0} : load_be32(b.data());
  }
  std::uint64_t u64() {
    const Bytes b = take(8);
    return b.empty() ? std::uint64_t{0} : load_be64(b.data());
  }
  // The next n octets; empty, and the error set, when fewer remain.
  Bytes take(std::size_t n) {
    if (n > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const Bytes head = rest_.first(n);
    rest_ = rest_.subspan(n);
    return head;
  }
  Bytes rest() const { return rest_; }
  std::size_t remaining() const { return rest_.size(); }
  bool ok() const { return ok_; }

 private:
  Bytes rest_;
  bool ok_ = true;
};

class ByteWriter {
 public:
  explicit ByteWriter(MutableBytes out) : out_(out) {}

  void u8(std::uint8_t v) { put({&v, 1}); }
  void u16(std::uint16_t v) {
    if (const MutableBytes b = reserve(2); !b.empty()) store_be16(b.data(), v);
  }
  void u32(std::uint32_t v) {
    if (const MutableBytes b = reserve(4); !b.empty()) store_be32(b.data(), v);
  }
  void u64(std::uint64_t v) {
    if (const MutableBytes b = reserve(8); !b.empty()) store_be64(b.data(), v);
  }
  void put(Bytes bytes) {
    const MutableBytes b = reserve(bytes.size());
    if (!b.empty()) std::memcpy(b.data(), bytes.data(), bytes.size());
  }
  void zeros(std::size_t n) {
    const MutableBytes b = reserve(n);
    std::fill(b.begin(), b.end(), std::uint8_t{0});
  }
  // Room for n octets, contents untouched; empty, and the error set, when there is no such room.
  MutableBytes reserve(std::size_t n) {
    if (n > out_.size() - size_) {
      ok_ = false;
      return {};
    }
    const MutableBytes b = out_.subspan(size_, n);
    size_ += n;
    return b;
  }
  std::size_t size() const { return size_; }
  std::size_t room() const { return out_.size() - size_; }
  MutableBytes written() const { return out_.first(size_); }
  bool ok() const { return ok_; }

 private:
  MutableBytes out_;
  std::size_t size_ = 0;
  bool ok_ = true;
};

}  // namespace timeball
