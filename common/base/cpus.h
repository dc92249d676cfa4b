// The CPUs this process may run on, and a thread's place among them. Any thread.
#pragma once

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

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

// The calling thread gives way to those with a lower niceness (0 to 19), and keeps the share of a
// busy CPU that the scheduler weighs it with: at 10 about a tenth. False: it may not become less
// nice than it is.
inline bool be_nice(unsigned niceness) {
  return setpriority(PRIO_PROCESS, 0, static_cast<int>(niceness)) == 0;
}

// The calling thread, and those it starts, run before all of normal priority (SCHED_FIFO, 1 to 99),
// to which the kernel leaves a twentieth of the CPU; 0: among them, which always may be. False: the
// process lacks the right (CAP_SYS_NICE, or RLIMIT_RTPRIO).
inline bool be_realtime(unsigned priority) {
  const sched_param parameters{.sched_priority = static_cast<int>(priority)};
  return pthread_setschedparam(pthread_self(), priority == 0 ? SCHED_OTHER : SCHED_FIFO,
                               &parameters) == 0;
}

}  // namespace timeball
