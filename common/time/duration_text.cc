#include "common/time/duration_text.h"

#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace timeball {
namespace {

using namespace std::chrono_literals;

constexpr std::array<std::pair<std::string_view, Duration>, 7> kUnits = {
    {{"d", 24h}, {"h", 1h}, {"m", 1min}, {"s", 1s}, {"ms", 1ms}, {"us", 1us}, {"ns", 1ns}}};

}  // namespace

std::optional<Duration> parse_duration(std::string_view text) {
  std::int64_t count = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc{} || count < 0) return std::nullopt;
  const std::string_view suffix = text.substr(static_cast<std::size_t>(stop - text.data()));
  for (const auto& [name, unit] : kUnits) {
    if (suffix != name) continue;
    if (count > Duration::max() / unit) return std::nullopt;
    return count * unit;
  }
  return std::nullopt;
}

std::string print_duration(Duration duration) {
  for (const auto& [name, unit] : kUnits) {
    if (unit == 24h && duration == 24h) continue;
    if (duration >= unit && duration % unit == 0ns) {
      return std::to_string(duration / unit) + std::string(name);
    }
  }
  return "0s";
}

std::string duration_text(Duration d, bool with_sign) {
  const char* sign = d.count() < 0 ? "-" : with_sign ? "+" : "";
  const Duration size(std::abs(d.count()));
  std::array<char, 64> text{};
  for (const auto& [name, unit] : {kUnits[3], kUnits[4], kUnits[5]}) {  // s, ms, us
    if (size < unit) continue;
    std::snprintf(text.data(), text.size(), "%s%.3f %s", sign,
                  static_cast<double>(size.count()) / static_cast<double>(unit.count()),
                  name.data());
    return text.data();
  }
  std::snprintf(text.data(), text.size(), "%s%lld ns", sign, static_cast<long long>(size.count()));
  return text.data();
}

}  // namespace timeball
