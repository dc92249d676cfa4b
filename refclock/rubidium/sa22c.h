// Symmetricom X72, SA.22c and X99: the words of their serial line (57600 8N1, the X99 9600). A
// command is a letter, with an argument it ends in CR; it is echoed, and its answer ends in the
// prompt "r>". Numbers are hexadecimal (X99: decimal), floats the digits of an IEEE 754 single with
// a point after them. Known from manual pages and other programs, not from a unit of ours.
// Sign of the delta register: assumed to be the pulse in after the pulse out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/time/time_scales.h"

namespace timeball::refclock::rubidium::sa22c {

inline constexpr std::string_view kPrompt = "r>";
inline constexpr double kSteeringUnit = 1e-11;  // of "f", which takes a decimal fraction
inline constexpr double kSteeringStep = 2e-12;
inline constexpr double kSteeringLimit = 4e-8;

// The control register.
namespace bit {
inline constexpr unsigned kLampBoost = 1U << 0;
inline constexpr unsigned kUnlocked = 1U << 1;
inline constexpr unsigned kPulseLocked = 1U << 11;
inline constexpr unsigned kPulsePresent = 1U << 12;
}  // namespace bit

// 1ppsState
enum State : unsigned { kHoldover = 3, kJamSync = 4, kDiscipline = 6, kLastState = 9 };

// What `i` says of the crystal: its frequency, and the base in which this unit writes numbers.
struct Crystal {
  std::int64_t hz = 0;
  int base = 16;
};

struct Delta {
  Duration in_after_out{};
  unsigned state = 0;
};

std::optional<Crystal> parse_crystal(std::string_view info);
std::optional<Delta> parse_delta(std::string_view answer, const Crystal& crystal);
std::optional<unsigned> parse_control_register(std::string_view answer);
// "42C80000." is 100.0.
std::optional<double> parse_float(std::string_view text);
// A line "name: value" of the health report.
std::optional<double> health_value(std::string_view answer, std::string_view name);

// The argument of "f", clipped to the range and rounded to the resolution.
struct FrequencyArgument {
  std::string text;
  double applied = 0;
};
FrequencyArgument frequency_argument(double y);

}  // namespace timeball::refclock::rubidium::sa22c
