// The CPU time of a run, ours and the server's, and who of the two was the bottleneck.
// Main thread.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "bench/load_report.h"
#include "bench/process_cpu.h"
#include "bench/timeline.h"
#include "common/base/error.h"

namespace timeball::bench {

class Progress;

class CpuMeter {
 public:
  // also: processes that count as the server's.
  explicit CpuMeter(std::optional<int> server_pid, std::vector<int> also = {})
      : server_pid_(server_pid), also_(std::move(also)) {}

  // At the ends of the window; begin() also before, to hear early that the server is not there. A
  // server that is gone at the end is a note in the report.
  Result<void> begin();
  Result<void> end();
  // Fills in the report's CPU figures from its `done` and `seconds`, and says in its notes when the
  // server was not the bottleneck.
  void fill(LoadReport& report) const;

 private:
  Result<void> read_server(CpuReading& reading) const;

  const std::optional<int> server_pid_;
  const std::vector<int> also_;
  CpuReading client_before_, client_after_;
  CpuReading server_before_, server_after_;
  bool server_gone_ = false;
};

// Sits the window out: meters both ends, shows progress in between. The threads of the load must
// not end before it has returned: /proc forgets what they used.
Result<void> watch(Timeline& timeline, CpuMeter& meter, Progress& progress);

}  // namespace timeball::bench
