#include "refclock/selection.h"

#include <bit>

namespace timeball::refclock {
namespace {

// Who holds this point.
Selection around(std::span<const Interval> sources, double point) {
  Selection s{{-1e300, 1e300}, 0};
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (!sources[i].contains(point)) continue;
    s.truechimers |= std::uint32_t{1} << i;
    s.agreed = intersection(s.agreed, sources[i]);
  }
  return s;
}

}  // namespace

std::optional<Selection> select(std::span<const Interval> sources) {
  sources = sources.first(std::min<std::size_t>(sources.size(), 32));
  std::optional<Selection> best;
  int voters = 0;
  for (const Interval& source : sources) {
    if (source.empty()) continue;
    ++voters;
    // Where the most intervals overlap, one of them begins.
    const Selection s = around(sources, source.lo);
    if (!best || std::popcount(s.truechimers) > std::popcount(best->truechimers)) best = s;
  }
  if (!best || 2 * std::popcount(best->truechimers) <= voters) return std::nullopt;
  return best;
}

}  // namespace timeball::refclock
