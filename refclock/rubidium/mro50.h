// Safran (Orolia) mRO-50: the words of its serial line (9600 8N1; commands end in CR, answers in
// two LF, errors begin with '?'). It has no counter for pulses and no loop of its own. Known from
// one other program, not from a unit of ours.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace timeball::refclock::rubidium::mro50 {

inline constexpr std::string_view kBanner = "Start done>";
inline constexpr double kFineStep = -3e-12;  // more field, less frequency
inline constexpr int kLeastFine = 1600;      // of 0..4800: the maker's safe part
inline constexpr int kMostFine = 3200;

struct Monitor {
  double temperature_c = 0;
  bool locked = false;
};

// MONITOR1's sixty hexadecimal digits.
std::optional<Monitor> parse_monitor(std::string_view answer);
// A register: hexadecimal digits only, at most eight.
std::optional<std::uint32_t> parse_register(std::string_view answer);
std::string fine_command(int fine);

}  // namespace timeball::refclock::rubidium::mro50
