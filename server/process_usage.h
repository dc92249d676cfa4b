// What this process uses of the machine, as /proc/self tells. The files are opened at the beginning
// and read again each time: a sandbox that begins later need not allow it. What could not be opened
// or read is absent. One thread (control).
#pragma once

#include <dirent.h>

#include <cstdint>
#include <optional>

namespace timeball::server {

struct ProcessUsage {
  std::optional<double> cpu_s;    // user and system
  std::optional<double> start_s;  // since 1970, by the kernel's clock
  std::optional<std::uint64_t> resident_bytes, virtual_bytes;
  std::optional<std::uint64_t> threads;
  std::optional<std::uint64_t> open_descriptors, most_descriptors;
};

class ProcessFiles {
 public:
  ProcessFiles();
  ~ProcessFiles();
  ProcessFiles(const ProcessFiles&) = delete;
  ProcessFiles& operator=(const ProcessFiles&) = delete;

  ProcessUsage read() const;

 private:
  int stat_;
  DIR* descriptors_;
  std::optional<double> boot_s_;  // since 1970
};

}  // namespace timeball::server
