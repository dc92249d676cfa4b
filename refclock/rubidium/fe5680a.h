// Frequency Electronics FE-5680A: the frames of its serial line (9600 8N1, binary). Command, length
// (little endian, of the whole frame), exclusive or of these three; then data, most significant
// octet first, and the exclusive or of the data. It tells its frequency word and nothing else: lock
// is a pin. Known from users' notes, not from a unit of ours; one count differs between units.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "common/base/bytes.h"

namespace timeball::refclock::rubidium::fe5680a {

inline constexpr std::uint8_t kRead = 0x2d;
inline constexpr std::uint8_t kSetVolatile = 0x2e;  // 0x2c would write the EEPROM
inline constexpr std::size_t kWordFrame = 9;
// Our own limit; the unit's is not known for sure, and lies far beyond.
inline constexpr double kSteeringLimit = 1e-8;

using WordFrame = std::array<std::uint8_t, kWordFrame>;

std::array<std::uint8_t, 4> read_command();
WordFrame word_frame(std::uint8_t command, std::int32_t word);
// A frame with a word; nothing when its lengths or sums are wrong.
std::optional<std::int32_t> parse_word(Bytes frame);

}  // namespace timeball::refclock::rubidium::fe5680a
