// The CPUs this process may run on, and a thread's place among them. Any thread.
#pragma once

#include <pthread.h>
#include <sched.h>

#include <optional>

namespace timeball {

// The n-th (from 0) of the CPUs this process may run on; nothing: there are not so many.
inline std::optional<unsigned> usable_cpu(unsigned n) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return std::nullopt;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set) && n-- == 0) return cpu;
  }
  return std::nullopt;
}

// How many threads "one per usable CPU" means; at least 1.
inline unsigned usable_cpus() {
  unsigned count = 1;
  while (usable_cpu(count)) ++count;
  return count;
}

// The calling thread, and those it starts, run there only. False: there is no such CPU for us.
inline bool pin_to_cpu(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return pthread_setaffinity_np(pthread_self(), sizeof set, &set) == 0;
}

}  // namespace timeball
