// Rounding without a call: what the discipline does many times a second. Values; any thread.
#pragma once

#include <cstdint>

namespace timeball::refclock {

// As std::llround(): to the nearest, halves away from zero. Below 2^63 either way.
constexpr std::int64_t rounded(double x) {
  const auto whole = static_cast<std::int64_t>(x);
  const double rest = x - static_cast<double>(whole);  // exact
  return whole + (rest >= 0.5) - (rest <= -0.5);
}

}  // namespace timeball::refclock
