#include "server/process_usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace timeball::server {
namespace {

// Fields of /proc/self/stat (proc(5)), counted from the third, which follows the name.
enum Field {
  kUserTicks = 11,
  kSystemTicks = 12,
  kThreads = 17,
  kStartTicks = 19,
  kVirtual,
  kPages
};

std::vector<std::uint64_t> fields_of(std::string_view stat) {
  std::vector<std::uint64_t> fields;
  const std::size_t name_end = stat.rfind(')');  // a name may hold anything
  if (name_end == std::string_view::npos) return fields;
  stat.remove_prefix(std::min(name_end + 2, stat.size()));
  while (!stat.empty()) {
    const std::string_view field = stat.substr(0, stat.find(' '));
    std::uint64_t value = 0;
    std::from_chars(field.data(), field.data() + field.size(), value);
    fields.push_back(value);
    stat.remove_prefix(std::min(field.size() + 1, stat.size()));
  }
  return fields;
}

std::optional<double> boot_time_s() {
  std::ifstream file("/proc/stat");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("btime ")) return std::strtod(line.c_str() + 6, nullptr);
  }
  return std::nullopt;
}

}  // namespace

ProcessFiles::ProcessFiles()
    : stat_(open("/proc/self/stat", O_RDONLY | O_CLOEXEC)),
      descriptors_(opendir("/proc/self/fd")),
      boot_s_(boot_time_s()) {}

ProcessFiles::~ProcessFiles() {
  if (stat_ >= 0) close(stat_);
  if (descriptors_ != nullptr) closedir(descriptors_);
}

ProcessUsage ProcessFiles::read() const {
  ProcessUsage usage;
  std::array<char, 1024> text{};
  const ssize_t length = stat_ < 0 ? -1 : pread(stat_, text.data(), text.size(), 0);
  const auto fields =
      fields_of({text.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0))});
  if (fields.size() > kPages) {
    const auto tick_hz = static_cast<double>(sysconf(_SC_CLK_TCK));
    usage.cpu_s = static_cast<double>(fields[kUserTicks] + fields[kSystemTicks]) / tick_hz;
    usage.threads = fields[kThreads];
    usage.virtual_bytes = fields[kVirtual];
    usage.resident_bytes = fields[kPages] * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    if (boot_s_) usage.start_s = *boot_s_ + static_cast<double>(fields[kStartTicks]) / tick_hz;
  }
  if (descriptors_ != nullptr) {
    std::uint64_t entries = 0;
    rewinddir(descriptors_);
    while (readdir(descriptors_) != nullptr) ++entries;
    if (entries >= 2) usage.open_descriptors = entries - 2;  // without "." and ".."
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) usage.most_descriptors = limit.rlim_cur;
  return usage;
}

}  // namespace timeball::server
