#include "refclock/linux/host_clock.h"

#include <chrono>
#include <utility>

#include "common/time/ntp_timestamp.h"

namespace timeball::refclock {
namespace {

constexpr int kReadings = 5;
constexpr std::int64_t kMillion = 1'000'000;

Duration magnitude(Duration d) {
  return d < Duration{} ? -d : d;
}

}  // namespace

std::int64_t HostClock::read(clockid_t clock) const {
  timespec t{};
  calls_.clock_gettime(clock, &t);
  return t.tv_sec * kNsPerSecond + t.tv_nsec;
}

HostClock::Pair HostClock::pair() const {
  std::optional<Pair> best;
  for (int i = 0; i < kReadings; ++i) {
    const HostTime before{read(CLOCK_MONOTONIC_RAW)};
    const KernelTime kernel{read(CLOCK_REALTIME)};
    const HostTime after{read(CLOCK_MONOTONIC_RAW)};
    const Duration error = (after - before) / 2 + Duration(1);
    if (!best || error < best->error) best = Pair{before + (after - before) / 2, kernel, error};
  }
  return *best;
}

Duration HostClock::slew_within(Duration d) const {
  return Duration(magnitude(d).count() / kMillion * most_slew_ppm_ +
                  magnitude(d).count() % kMillion * most_slew_ppm_ / kMillion + 1);
}

std::optional<HostClock::Instant> HostClock::convert(KernelTime t) {
  const Pair now = pair();
  const Pair last = std::exchange(last_, now);
  const Duration moved = (now.kernel - last.kernel) - (now.host - last.host);
  const Duration allowed = slew_within(now.host - last.host) + now.error + last.error;
  if (magnitude(moved) > allowed) return std::nullopt;
  const Duration age = now.kernel - t;
  return Instant{now.host - age, now.error + slew_within(age)};
}

}  // namespace timeball::refclock
