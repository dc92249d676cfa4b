// How many threads "one per usable CPU" means. Any thread.
#pragma once

#include <sched.h>

#include <algorithm>

namespace timeball {

// The CPUs this process may run on; at least 1.
inline unsigned usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return static_cast<unsigned>(std::max(CPU_COUNT(&set), 1));
}

}  // namespace timeball
