#include "bench/cpu_meter.h"

#include <spdlog/fmt/fmt.h>
#include <unistd.h>

#include <thread>

#include "bench/load_progress.h"

namespace timeball::bench {
namespace {

using namespace std::chrono_literals;

constexpr double kSaturated = 0.9;  // of its time, a thread runs or waits for a CPU

double seconds(Duration d) {
  return std::chrono::duration<double>(d).count();
}

Result<void> read_into(CpuReading& reading, pid_t pid) {
  auto read = read_cpu(pid);
  if (!read) return tl::unexpected(read.error());
  reading = std::move(*read);
  return {};
}

}  // namespace

Result<void> CpuMeter::begin() {
  if (server_pid_) {
    if (const auto read = read_into(server_before_, *server_pid_); !read) return read;
  }
  return read_into(client_before_, ::getpid());
}

Result<void> CpuMeter::end() {
  if (const auto read = read_into(client_after_, ::getpid()); !read) return read;
  if (!server_pid_) return {};
  return read_into(server_after_, *server_pid_);
}

void CpuMeter::fill(LoadReport& report) const {
  const double per_done = report.done > 0 ? 1e6 / static_cast<double>(report.done) : 0;
  const CpuUse client = cpu_between(client_before_, client_after_);
  const double client_busiest = seconds(client.busiest) / report.seconds;
  report.client_cpu_us = seconds(client.used) * per_done;
  report.client_cpu_share = seconds(client.used) / report.seconds;
  const std::string limit = fmt::format(
      "this load generator was at its limit (its busiest thread ran or waited for a CPU {:.0f} % "
      "of the time): the server may do more; try more --threads",
      100 * client_busiest);
  if (!server_pid_) {
    if (client_busiest >= kSaturated) report.notes.push_back(limit);
    return;
  }
  const CpuUse server = cpu_between(server_before_, server_after_);
  const double server_busiest = seconds(server.busiest) / report.seconds;
  report.server_cpu_us = seconds(server.used) * per_done;
  report.server_cpu_share = seconds(server.used) / report.seconds;
  if (server_busiest >= kSaturated) return;
  report.notes.push_back(
      fmt::format("the server was not the bottleneck: its busiest thread ran or waited for a CPU "
                  "{:.0f} % of the time",
                  100 * server_busiest));
  if (client_busiest >= kSaturated) report.notes.push_back(limit);
}

Result<void> watch(Timeline& timeline, CpuMeter& meter, Progress& progress) {
  const Window& window = timeline.window();
  std::this_thread::sleep_until(window.begin);
  if (const auto begun = meter.begin(); !begun) return begun;
  const auto step = std::max<std::chrono::nanoseconds>(timeline.interval(), 200ms);
  for (SteadyTime next = window.begin + step; next < window.end; next += step) {
    std::this_thread::sleep_until(next);
    // The interval just over may not be complete yet.
    const TimelinePoint* latest = timeline.close(timeline.index_of(next) - 1);
    if (latest != nullptr) progress.show(*latest, window.seconds());
  }
  std::this_thread::sleep_until(window.end);
  return meter.end();
}

}  // namespace timeball::bench
