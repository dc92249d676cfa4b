// Microchip MAC SA5x: the words of its serial line (57600 8N1). Commands {..}, answers [=..],
// errors
// [!n], notices [>..], each with a checksum |CC when the command had one: the exclusive or of what
// stands before the bar. Ours always have one, so that a damaged value is not taken.
// An answer does not say to which question.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace timeball::refclock::rubidium::sa5x {

inline constexpr double kTuningStep = 1e-15;
inline constexpr std::int64_t kTuningLimit = 20'000'000;  // steps
inline constexpr double kMostTemperatureC = 150;

enum class Kind : std::uint8_t { kValue, kError, kNotice };

struct Reply {
  Kind kind = Kind::kValue;
  std::string_view text;  // of the message that was parsed: value, error number, notice
  bool checked = false;   // it had a checksum, which was right
};

// The error numbers.
inline constexpr unsigned kInvalidCommand = 1, kWrongArguments = 2, kBadChecksum = 3;
inline constexpr unsigned kInvalidParameter = 100, kInvalidArgument = 101, kReadOnly = 102;

std::uint8_t checksum(std::string_view text);
// "{text|CC}"
std::string command(std::string_view text);
// "[...]"; nothing when it is none, or when its checksum is wrong.
std::optional<Reply> parse_reply(std::string_view message);

std::int64_t tuning_word(double y);

}  // namespace timeball::refclock::rubidium::sa5x
