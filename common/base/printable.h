// Text from elsewhere, made fit for a terminal and for JSON. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

namespace timeball {

// The text with everything but printable ASCII as \xNN.
inline std::string printable(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string safe;
  for (const char c : text) {
    const auto octet = static_cast<unsigned char>(c);
    if (octet >= 0x20 && octet < 0x7f) {
      safe += c;
    } else {
      safe += {'\\', 'x', kHex[octet >> 4], kHex[octet & 0xf]};
    }
  }
  return safe;
}

}  // namespace timeball
