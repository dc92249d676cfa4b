// A closed interval of numbers: all that we ever claim to know of a phase or a frequency. Values;
// any thread.
#pragma once

#include <algorithm>

namespace timeball::refclock {

struct Interval {
  double lo = 0;
  double hi = 0;

  static constexpr Interval around(double middle, double radius) {
    return {middle - radius, middle + radius};
  }
  constexpr bool empty() const { return !(lo <= hi); }
  constexpr double middle() const { return (lo + hi) / 2; }
  constexpr double radius() const { return (hi - lo) / 2; }
  constexpr bool contains(double x) const { return lo <= x && x <= hi; }
  constexpr Interval widened(double by) const { return {lo - by, hi + by}; }

  friend constexpr bool operator==(Interval, Interval) = default;
  friend constexpr Interval operator+(Interval a, Interval b) { return {a.lo + b.lo, a.hi + b.hi}; }
  // Of independent intervals: every difference that there may be.
  friend constexpr Interval operator-(Interval a, Interval b) { return {a.lo - b.hi, a.hi - b.lo}; }
  friend constexpr Interval operator+(Interval a, double x) { return {a.lo + x, a.hi + x}; }
};

// Empty when they have nothing in common.
constexpr Interval intersection(Interval a, Interval b) {
  return {std::max(a.lo, b.lo), std::min(a.hi, b.hi)};
}
constexpr Interval hull(Interval a, Interval b) {
  return {std::min(a.lo, b.lo), std::max(a.hi, b.hi)};
}

}  // namespace timeball::refclock
