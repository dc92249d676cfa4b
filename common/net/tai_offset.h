// TAI - UTC as the kernel has it: what its TAI clock is ahead of CLOCK_REALTIME, in whole seconds
// (0 until somebody tells it). XDP programs have that clock alone. Any thread.
#pragma once

#include <chrono>
#include <ctime>

#include "common/time/time_scales.h"

namespace timeball::net {

// Rounded: the two readings are not of the same moment.
inline Duration tai_offset() {
  timespec utc{}, tai{};
  ::clock_gettime(CLOCK_REALTIME, &utc);
  ::clock_gettime(CLOCK_TAI, &tai);
  const auto ahead = std::chrono::seconds(tai.tv_sec - utc.tv_sec) +
                     std::chrono::nanoseconds(tai.tv_nsec - utc.tv_nsec);
  return std::chrono::round<std::chrono::seconds>(ahead);
}

}  // namespace timeball::net
