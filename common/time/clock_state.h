// What we know of the time, as one value: how to turn the kernel's clock into UTC, and how wrong
// the result may be. The reference clock publishes it (Seqlock<ClockState>); shards read it once a
// batch.
//
// The promise: |UTC - utc(k)| <= root_dispersion(k) + root_delay / 2, at every kernel time k from
// as_of (a little earlier is as good) to void_after. Trivially copyable; reads no clock; any
// thread.
#pragma once

#include <cstdint>
#include <limits>

#include "common/time/ntp_timestamp.h"
#include "common/time/time_scales.h"

namespace timeball {

// RFC 5905, figure 9.
enum class LeapIndicator : std::uint8_t { kNone = 0, kInsert = 1, kDelete = 2, kUnknown = 3 };

inline constexpr std::uint8_t kMaxStratum = 16;  // RFC 5905: 16 is unsynchronised, 0 on the wire

struct ClockState {
  KernelTime as_of;             // when offset and error_bound were right
  Duration offset{};            // UTC - kernel time
  std::int64_t rate_ppb = 0;    // change of offset, ns per second since as_of
  Duration error_bound{};       // at as_of, without what root_delay covers
  std::int64_t growth_ppb = 0;  // growth of error_bound, ns per second since as_of; >= 0
  Duration root_delay{};        // to the primary reference, round trip
  // Nobody has promised anything for later: whoever published has stopped.
  KernelTime void_after{std::numeric_limits<std::int64_t>::max()};
  KernelTime reference_time;       // when the clock was last set or corrected
  std::uint32_t reference_id = 0;  // RFC 5905, figure 12: four ASCII octets for stratum 1
  LeapIndicator leap = LeapIndicator::kUnknown;
  std::uint8_t stratum = kMaxStratum;  // 1..15, or 16
  std::int8_t precision = -20;         // log2 seconds

  constexpr bool synchronised() const {
    return stratum < kMaxStratum && leap != LeapIndicator::kUnknown;
  }
  // What may still be said at k: itself, or once it is void that the time is not known.
  constexpr ClockState at(KernelTime k) const {
    ClockState state = *this;
    if (k > void_after) state.stratum = kMaxStratum;
    return state;
  }
  constexpr UtcTime utc(KernelTime k) const {
    const std::int64_t age = (k - as_of).count();
    return {k.ns + offset.count() + age / kNsPerSecond * rate_ppb +
            age % kNsPerSecond * rate_ppb / kNsPerSecond};
  }

  // The error bound at k, growing from as_of in both directions; rounded up. Beyond void_after
  // nothing is known, which no client will take for a time.
  constexpr Duration root_dispersion(KernelTime k) const {
    if (k > void_after) return Duration::max() / 2;
    const std::int64_t age = k < as_of ? (as_of - k).count() : (k - as_of).count();
    const std::int64_t whole = age / kNsPerSecond * growth_ppb;
    const std::int64_t part = (age % kNsPerSecond * growth_ppb + kNsPerSecond - 1) / kNsPerSecond;
    return error_bound + Duration(whole + part);
  }
};

}  // namespace timeball
