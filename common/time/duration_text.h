// Durations as people write and read them. Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/time/time_scales.h"

namespace timeball {

// "250ms": a whole number and a unit (d, h, m, s, ms, us, ns). Nothing when it is not that, or does
// not fit.
std::optional<Duration> parse_duration(std::string_view text);
// The same way back, in the largest unit that divides it; one day is "24h".
std::string print_duration(Duration duration);
// "+1.234 us": three decimals, in the unit that suits.
std::string duration_text(Duration d, bool with_sign = false);

}  // namespace timeball
