// Which files the process may still open: Landlock (Linux 5.13), by which a process without rights
// takes its own ways into the file system from itself, for good. What is open stays open.
//
// Per thread, and what threads start inherits it: before any other thread starts.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

namespace timeball::server {

// Below a directory, all the way down.
struct Grant {
  enum class What {
    kRead,     // files, and what a directory holds
    kReplace,  // also: write, make and remove files
    kRemove,   // only: make and remove sockets
    kDevice,   // read and write what is there, and ioctl(2) devices
  };
  std::filesystem::path directory;
  What what;
};

// Takes away everything but `grants`; where no connections are made, TCP's connect and bind too,
// and, where the kernel knows how, signals to and abstract sockets of processes outside. Those of a
// directory that is not there are left out. Returns the version of Landlock's interface, or nothing
// when the kernel has none, which is no error. Throws std::runtime_error. no_new_privs must be set.
std::optional<int> restrict_files(const std::vector<Grant>& grants, bool connects);

}  // namespace timeball::server
