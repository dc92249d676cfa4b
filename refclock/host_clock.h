// The only place in refclock/ that reads the host's own time scale. Any thread.
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
