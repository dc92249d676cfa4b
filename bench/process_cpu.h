// CPU time of a process, its threads and its child processes, from /proc/PID/task/*/schedstat:
// nanoseconds on a CPU, and nanoseconds spent waiting for one. Main thread.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string_view>

#include "common/base/error.h"
#include "common/time/time_scales.h"

namespace timeball::bench {

struct ThreadCpu {
  Duration used{};
  Duration waited{};

  Duration busy() const { return used + waited; }  // all of the time when saturated
};

// By thread id, which is unique on the machine.
using CpuReading = std::map<pid_t, ThreadCpu>;

// Of this process, and of its descendants as they are now. Fails when there is no such process.
Result<CpuReading> read_cpu(pid_t pid);

// What happened between two readings. A thread that ended in between is left out: what it used
// since the first is lost.
struct CpuUse {
  Duration used{};      // of all threads
  ThreadCpu busiest{};  // of the thread that was busy most
};
CpuUse cpu_between(const CpuReading& before, const CpuReading& after);

// The texts of /proc/PID/task/TID/schedstat and of /proc/PID/stat; pure.
std::optional<ThreadCpu> parse_schedstat(std::string_view text);
std::optional<pid_t> parse_parent(std::string_view stat);

}  // namespace timeball::bench
