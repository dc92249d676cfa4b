// The little that is read of /proc. Main thread.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace timeball::bench {

// The whole file; empty when it cannot be read.
std::string read_text(const std::filesystem::path& path);
// The entries of a folder that are numbers: processes, or threads. None when there is no such
// folder.
std::vector<pid_t> numbered_entries(const std::filesystem::path& folder);

}  // namespace timeball::bench
