#include "bench/process_cpu.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "bench/proc_files.h"

namespace timeball::bench {
namespace {

namespace fs = std::filesystem;

std::optional<std::int64_t> take_number(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  std::int64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(stop - text.data()));
  return value;
}

// pid and its descendants.
std::vector<pid_t> family_of(pid_t pid) {
  std::vector<std::pair<pid_t, pid_t>> links;  // parent, child
  for (const pid_t child : numbered_entries("/proc")) {
    const auto parent = parse_parent(read_text(fs::path("/proc") / std::to_string(child) / "stat"));
    if (parent) links.emplace_back(*parent, child);
  }
  std::vector<pid_t> family = {pid};
  for (std::size_t i = 0; i < family.size(); ++i) {
    for (const auto& [parent, child] : links)
      if (parent == family[i]) family.push_back(child);
  }
  return family;
}

}  // namespace

Result<CpuReading> read_cpu(pid_t pid) {
  CpuReading reading;
  for (const pid_t process : family_of(pid)) {
    const fs::path tasks = fs::path("/proc") / std::to_string(process) / "task";
    for (const pid_t thread : numbered_entries(tasks)) {
      const auto cpu = parse_schedstat(read_text(tasks / std::to_string(thread) / "schedstat"));
      if (cpu) reading[thread] = *cpu;
    }
  }
  if (!reading.empty()) return reading;
  return fail("cannot read the CPU time of process " + std::to_string(pid) +
              " from /proc: is it still running?");
}

CpuUse cpu_between(const CpuReading& before, const CpuReading& after) {
  CpuUse use;
  for (const auto& [thread, cpu] : after) {
    const auto known = before.find(thread);
    const ThreadCpu then = known == before.end() ? ThreadCpu{} : known->second;
    const ThreadCpu now{cpu.used - then.used, cpu.waited - then.waited};
    use.used += now.used;
    if (now.busy() > use.busiest.busy()) use.busiest = now;
  }
  return use;
}

std::optional<ThreadCpu> parse_schedstat(std::string_view text) {
  const auto used = take_number(text);
  const auto waited = take_number(text);
  if (!used || !waited) return std::nullopt;
  return ThreadCpu{Duration(*used), Duration(*waited)};
}

// "42 (name, which may hold ) and spaces) S 1 ..."
std::optional<pid_t> parse_parent(std::string_view stat) {
  const std::size_t name_end = stat.rfind(") ");
  if (name_end == std::string_view::npos || stat.size() < name_end + 4) return std::nullopt;
  stat.remove_prefix(name_end + 3);  // and the state
  const auto parent = take_number(stat);
  if (!parent) return std::nullopt;
  return static_cast<pid_t>(*parent);
}

}  // namespace timeball::bench
