// Points in time on scales that do not mix by accident: what the kernel's clock says is not yet
// UTC.
//
//   KernelTime     CLOCK_REALTIME as read, nanoseconds since 1970-01-01
//   MonotonicTime  CLOCK_MONOTONIC, nanoseconds since boot
//   UtcTime        our best estimate of UTC, nanoseconds since 1970-01-01, leap seconds not counted
//
// Signed 64-bit nanoseconds reach from 1678 to 2262: NTP eras 0 (to 2036) and 1 both fit.
// Only ClockState turns KernelTime into UtcTime. Values; any thread.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>

namespace timeball {

using Duration = std::chrono::nanoseconds;

template <class Scale>
struct TimePoint {
  std::int64_t ns = 0;

  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 misreads a defaulted <=>.
  friend constexpr auto operator<=>(TimePoint, TimePoint) = default;
  friend constexpr Duration operator-(TimePoint a, TimePoint b) { return Duration(a.ns - b.ns); }
  friend constexpr TimePoint operator+(TimePoint t, Duration d) { return {t.ns + d.count()}; }
  friend constexpr TimePoint operator-(TimePoint t, Duration d) { return {t.ns - d.count()}; }
};

using KernelTime = TimePoint<struct KernelScale>;
using MonotonicTime = TimePoint<struct MonotonicScale>;
using UtcTime = TimePoint<struct UtcScale>;

}  // namespace timeball
