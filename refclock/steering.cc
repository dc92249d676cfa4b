#include "refclock/steering.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace timeball::refclock {
namespace {

constexpr std::int64_t kDay_ns = 86400 * kNsPerSecond;

// The kernel leaps at the end of the day that its own clock shows: it has to be UTC's.
LeapIndicator leap_to_tell(const ClockState& served, KernelTime now, Duration off) {
  const bool same_day = served.utc(now).ns / kDay_ns == now.ns / kDay_ns;
  return same_day && off < std::chrono::milliseconds(500) ? served.leap : LeapIndicator::kNone;
}

}  // namespace

Correction Steering::tick(State state, const ClockState& served, KernelTime now,
                          std::int64_t frequency) {
  Correction correction;
  correction.frequency = frequency;
  if (!served.at(now).synchronised()) return correction;
  const Duration offset(served.utc(now).ns - now.ns);
  const Duration off = std::max(offset, -offset);
  if (state == State::kLocked && !std::exchange(started_, true) && off > kStepLimit) {
    correction.step = offset;
    return correction;
  }
  const double rate_ppm =
      std::ldexp(static_cast<double>(served.rate), -ClockState::kRateBits) * 1e6;
  const double slew_ppm = static_cast<double>(offset.count()) * 1e-3 / kTimeConstant_s;
  const double more = std::clamp(rate_ppm + slew_ppm, -1000.0, 1000.0) * kScaledPpm;
  const std::int64_t wanted = std::clamp(frequency + static_cast<std::int64_t>(std::llround(more)),
                                         -kMostFrequency, kMostFrequency);
  correction.change = std::clamp(wanted - frequency, -kMostChange, kMostChange);
  correction.frequency = frequency + correction.change;
  correction.status =
      KernelStatus{served.root_dispersion(now) + off, off, leap_to_tell(served, now, off), {}};
  return correction;
}

}  // namespace timeball::refclock
