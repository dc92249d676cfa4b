// A LoadReport as text for a terminal, as JSON, and as a page with plots. Pure; any thread.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "bench/load_options.h"
#include "bench/load_report.h"

namespace timeball::bench {

// What is shown of every histogram between its min and max.
struct ShownQuantile {
  std::string_view name;
  double share;
};
inline constexpr std::array<ShownQuantile, 4> kShownQuantiles = {
    {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}}};

// The limits that the report breaks, a sentence each.
std::vector<std::string> check_limits(const LoadReport& report, const LoadLimits& limits);

// Lines, each with its newline; counts that are zero are left out.
std::string report_text(const LoadReport& report);
// One object and a newline. Durations are integers of nanoseconds, shares are 0..1. All counts.
std::string report_json(const LoadReport& report);
// One page without anything from elsewhere, light or dark as the browser prefers.
std::string report_html(const LoadReport& report);

}  // namespace timeball::bench
