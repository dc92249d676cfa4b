// The two fixed-point formats of RFC 5905, section 6: 64-bit timestamps and 32-bit short intervals;
// what four timestamps tell.
//
// A timestamp holds seconds modulo 2^32: the era is not in it. Era 1 begins 2036-02-07T06:28:16Z.
// Whoever reads one says near which time it is meant. Values; any thread.
#pragma once

#include <cstdint>

#include "common/time/time_scales.h"

namespace timeball {

// Seconds from the NTP epoch, 1900-01-01, to the Unix epoch.
inline constexpr std::int64_t kNtpToUnixSeconds = 2'208'988'800;
inline constexpr std::int64_t kNsPerSecond = 1'000'000'000;

struct NtpTimestamp {
  std::uint64_t bits = 0;  // 32.32 fixed point, seconds since the start of the era

  friend constexpr bool operator==(NtpTimestamp, NtpTimestamp) = default;

  // Rounded down to 2^-32 s.
  static constexpr NtpTimestamp from_utc(UtcTime t) {
    std::int64_t seconds = t.ns / kNsPerSecond;
    std::int64_t ns = t.ns % kNsPerSecond;
    if (ns < 0) {
      ns += kNsPerSecond;
      --seconds;
    }
    const auto era_seconds = static_cast<std::uint32_t>(seconds + kNtpToUnixSeconds);
    const auto fraction = (static_cast<std::uint64_t>(ns) << 32) / kNsPerSecond;
    return {(std::uint64_t{era_seconds} << 32) | fraction};
  }

  // a - b, taken as the shorter way round the era circle, to the nearest nanosecond: within +-68
  // years, and difference(b, a) is its negative.
  static constexpr Duration difference(NtpTimestamp a, NtpTimestamp b) {
    const std::uint64_t forward = a.bits - b.bits;
    const bool negative = forward >> 63 != 0;
    const std::uint64_t magnitude = negative ? b.bits - a.bits : forward;
    const std::uint64_t fraction = magnitude & 0xffff'ffffU;
    const auto ns = static_cast<std::int64_t>((magnitude >> 32) * kNsPerSecond +
                                              ((fraction * kNsPerSecond + (1U << 31)) >> 32));
    return Duration(negative ? -ns : ns);
  }

  // The UTC time with these bits that is nearest to `pivot`.
  constexpr UtcTime utc_near(UtcTime pivot) const {
    return pivot + difference(*this, from_utc(pivot));
  }
};

// Root delay and root dispersion: 16.16 unsigned seconds.
struct NtpShort {
  std::uint32_t bits = 0;

  friend constexpr bool operator==(NtpShort, NtpShort) = default;

  // Rounded up, because these are promises; saturates at 65536 s and at 0.
  static constexpr NtpShort round_up(Duration d) {
    if (d.count() <= 0) return {0};
    const std::int64_t seconds = d.count() / kNsPerSecond;
    if (seconds >= 65536) return {0xffff'ffffU};
    const std::int64_t ns = d.count() % kNsPerSecond;
    const std::int64_t fraction = ((ns << 16) + kNsPerSecond - 1) / kNsPerSecond;
    const std::int64_t bits = (seconds << 16) + fraction;
    return {bits > 0xffff'ffffL ? 0xffff'ffffU : static_cast<std::uint32_t>(bits)};
  }
  constexpr Duration duration() const {
    return Duration(static_cast<std::int64_t>((std::uint64_t{bits} * kNsPerSecond + 0xffff) >> 16));
  }
};

// Offset and delay from the four times of an exchange (RFC 5905, section 8).
struct ClockSample {
  Duration offset;
  Duration delay;
};
constexpr ClockSample clock_sample(NtpTimestamp t1, NtpTimestamp t2, NtpTimestamp t3,
                                   NtpTimestamp t4) {
  const Duration out = NtpTimestamp::difference(t2, t1);
  const Duration back = NtpTimestamp::difference(t3, t4);
  // Halves are taken first: the sum of two differences of decades does not fit.
  return {out / 2 + back / 2 + (out % 2 + back % 2) / 2, out - back};
}

}  // namespace timeball
