// The only place in the serving path that reads a clock. Any thread.
#pragma once

#include <ctime>

#include "common/time/ntp_timestamp.h"
#include "common/time/time_scales.h"

namespace timeball::server {

inline std::int64_t read_clock_ns(clockid_t id) {
  timespec t{};
  clock_gettime(id, &t);
  return t.tv_sec * kNsPerSecond + t.tv_nsec;
}
inline KernelTime read_kernel_time() {
  return {read_clock_ns(CLOCK_REALTIME)};
}
inline MonotonicTime read_monotonic_time() {
  return {read_clock_ns(CLOCK_MONOTONIC)};
}

}  // namespace timeball::server
