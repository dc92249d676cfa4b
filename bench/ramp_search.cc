#include "bench/ramp_search.h"

#include <charconv>
#include <string>

namespace timeball::bench {
namespace {

// Nothing when it is not all of a number.
std::optional<double> parse_number(std::string_view text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || rest != end || !std::isfinite(value)) return std::nullopt;
  return value;
}

}  // namespace

Result<RampLimits> parse_ramp(std::string_view text) {
  const std::size_t dash = text.find('-');
  const std::size_t times = std::min(text.find('x'), text.size());
  if (dash < times) {
    const auto from = parse_number(text.substr(0, dash));
    const auto to = parse_number(text.substr(dash + 1, times - dash - 1));
    const auto factor = times == text.size() ? std::optional(RampLimits{}.factor)
                                             : parse_number(text.substr(times + 1));
    if (from && to && factor && *from >= 1 && *from <= *to && *factor > 1) {
      return RampLimits{.from = *from, .to = *to, .factor = *factor};
    }
  }
  return fail("--ramp: \"" + std::string(text) +
              "\" is not FROM-TO or FROM-TOxFACTOR, with 1 <= FROM <= TO requests per second and "
              "FACTOR above 1, as in 1000-200000x1.3");
}

}  // namespace timeball::bench
