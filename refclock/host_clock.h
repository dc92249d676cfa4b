// The host's own time scale, for what arrives over a line or a socket. What the kernel stamps goes
// through linux/host_clock.h. Any thread.
#pragma once

#include <ctime>

#include "common/time/ntp_timestamp.h"
#include "refclock/observations.h"

namespace timeball::refclock {

inline HostTime host_now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC_RAW, &t);
  return {t.tv_sec * kNsPerSecond + t.tv_nsec};
}

}  // namespace timeball::refclock
