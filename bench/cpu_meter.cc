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

std::string busiest_text(const CpuUse& use, double window_s) {
  return fmt::format("its busiest thread ran {:.0f} % of the time and waited for a CPU {:.0f} %",
                     100 * seconds(use.busiest.used) / window_s,
                     100 * seconds(use.busiest.waited) / window_s);
}

Result<void> read_into(CpuReading& reading, pid_t pid) {
  auto read = read_cpu(pid);
  if (!read) return tl::unexpected(read.error());
  reading = std::move(*read);
  return {};
}

}  // namespace

Result<void> CpuMeter::read_server(CpuReading& reading) const {
  if (!server_pid_) return {};
  if (const auto read = read_into(reading, *server_pid_); !read) return read;
  for (const int pid : also_) {
    CpuReading one;
    if (const auto read = read_into(one, pid); !read) return read;
    reading.merge(one);
  }
  return {};
}

Result<void> CpuMeter::begin() {
  if (const auto read = read_server(server_before_); !read) return read;
  return read_into(client_before_, ::getpid());
}

Result<void> CpuMeter::end() {
  if (const auto read = read_into(client_after_, ::getpid()); !read) return read;
  server_gone_ = !read_server(server_after_);
  return {};
}

void CpuMeter::fill(LoadReport& report) const {
  const double per_done = report.done > 0 ? 1e6 / static_cast<double>(report.done) : 0;
  const CpuUse client = cpu_between(client_before_, client_after_);
  report.client_cpu_us = seconds(client.used) * per_done;
  report.client_cpu_share = seconds(client.used) / report.seconds;
  const bool client_saturated = seconds(client.busiest.busy()) >= kSaturated * report.seconds;
  const std::string limit =
      "this load generator was at its limit: " + busiest_text(client, report.seconds) +
      "; the server may do more: try more --threads, or a machine with nothing else to do";
  if (server_gone_) report.notes.push_back("the server's process ended during the run");
  if (!server_pid_ || server_gone_) {
    if (client_saturated) report.notes.push_back(limit);
    return;
  }
  const CpuUse server = cpu_between(server_before_, server_after_);
  report.server_cpu_us = seconds(server.used) * per_done;
  report.server_cpu_share = seconds(server.used) / report.seconds;
  if (seconds(server.busiest.busy()) >= kSaturated * report.seconds) return;
  report.notes.push_back("the server was not the bottleneck: " +
                         busiest_text(server, report.seconds));
  if (client_saturated) report.notes.push_back(limit);
}

Result<void> watch(Timeline& timeline, CpuMeter& meter, Progress& progress) {
  const Window& window = timeline.window();
  std::this_thread::sleep_until(window.begin);
  if (const auto begun = meter.begin(); !begun) return begun;
  const auto step = std::max<std::chrono::nanoseconds>(timeline.interval(), 200ms);
  for (SteadyTime next = window.begin + step; next < window.end; next += step) {
    std::this_thread::sleep_until(next);
    if (const TimelinePoint* latest = timeline.close(next); latest != nullptr)
      progress.show(*latest, window.seconds());
  }
  std::this_thread::sleep_until(window.end);
  return meter.end();
}

}  // namespace timeball::bench
