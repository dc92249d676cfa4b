// The few system calls that the PPS and PHC drivers make, as a table: tests hand their own kernel,
// and the real ioctl code runs against it. Each member does and returns what the call of its name
// does, errno too. Copied by value; called by the thread of the device.
#pragma once

#include <sys/types.h>

#include <ctime>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "common/time/time_scales.h"

namespace timeball::refclock {

struct SystemCalls {
  std::function<int(const char* path, int flags)> open;
  std::function<int(int fd)> close;
  std::function<int(int fd, unsigned long request, void* argument)> ioctl;
  std::function<ssize_t(int fd, void* buffer, std::size_t size)> read;
  std::function<int(clockid_t clock, timespec* time)> clock_gettime;
  // 1: readable, 0: not in time, -1: errno. Negative waits for ever.
  std::function<int(int fd, int timeout_ms)> poll_in;
  std::function<void(Duration)> sleep;
  // realpath(3); the path itself when there is none.
  std::function<std::string(const std::string&)> real_path;
};

SystemCalls kernel_calls();

// A file descriptor that closes itself through its table.
class DeviceFile {
 public:
  DeviceFile(SystemCalls calls, int fd) : calls_(std::move(calls)), fd_(fd) {}
  DeviceFile(DeviceFile&& other) noexcept
      : calls_(std::move(other.calls_)), fd_(std::exchange(other.fd_, -1)) {}
  DeviceFile& operator=(DeviceFile&&) = delete;
  ~DeviceFile() {
    if (fd_ >= 0) calls_.close(fd_);
  }
  int get() const { return fd_; }
  int ioctl(unsigned long request, void* argument) const {
    return calls_.ioctl(fd_, request, argument);
  }
  const SystemCalls& calls() const { return calls_; }

 private:
  SystemCalls calls_;
  int fd_;
};

// The first line of a short file, as sysfs has them; nothing when it cannot be read.
std::optional<std::string> read_line(const SystemCalls& calls, const std::string& path);

// "PATH: WHAT: the reason of errno"
std::string errno_message(const std::string& path, const std::string& what);

}  // namespace timeball::refclock
