// A keyed hash of an address: two rounds of 64 x 64 -> 128-bit multiplication, folded. Who does not
// know the key cannot choose addresses that collide. Pure; any thread.
#pragma once

#include <cstdint>

#include "common/base/bytes.h"
#include "common/net/address.h"

namespace timeball::server {

inline std::uint64_t hash(const net::IpAddress& address, std::uint64_t key) {
  __extension__ using Wide = unsigned __int128;
  const auto fold = [](std::uint64_t a, std::uint64_t b) {
    const Wide product = Wide{a} * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  };
  const std::uint64_t high = load_be64(address.octets.data());
  const std::uint64_t low = load_be64(address.octets.data() + 8);
  const std::uint64_t mixed = fold(high ^ key, low ^ 0x9e37'79b9'7f4a'7c15U);
  return fold(mixed ^ key, 0xd6e8'feb8'6659'fd93U);
}

}  // namespace timeball::server
