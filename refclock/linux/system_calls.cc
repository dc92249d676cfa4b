#include "refclock/linux/system_calls.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <system_error>
#include <thread>

namespace timeball::refclock {
namespace {

int open_device(const char* path, int flags) {
  return ::open(path, flags | O_CLOEXEC);
}

int ioctl_device(int fd, unsigned long request, void* argument) {
  return ::ioctl(fd, request, argument);
}

int poll_in(int fd, int timeout_ms) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, timeout_ms);
}

void sleep_for(Duration how_long) {
  std::this_thread::sleep_for(how_long);
}

std::string real_path(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr),
                                                         &std::free);
  return real ? std::string(real.get()) : path;
}

}  // namespace

SystemCalls kernel_calls() {
  return {&open_device,     &::close, &ioctl_device, &::read,
          &::clock_gettime, &poll_in, &sleep_for,    &real_path};
}

std::optional<std::string> read_line(const SystemCalls& calls, const std::string& path) {
  const DeviceFile file(calls, calls.open(path.c_str(), O_RDONLY));
  if (file.get() < 0) return std::nullopt;
  std::array<char, 256> text{};
  const ssize_t length = calls.read(file.get(), text.data(), text.size());
  if (length < 0) return std::nullopt;
  const std::string_view all(text.data(), static_cast<std::size_t>(length));
  return std::string(all.substr(0, all.find('\n')));
}

std::string errno_message(const std::string& path, const std::string& what) {
  const int error = errno;
  return path + ": " + what + ": " + std::generic_category().message(error);
}

}  // namespace timeball::refclock
