#include "refclock/sim/pps_device.h"

#include <linux/pps.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "common/time/ntp_timestamp.h"

namespace timeball::refclock::sim {
namespace {

pps_ktime ktime(KernelTime time) {
  return {time.ns / kNsPerSecond, static_cast<__s32>(time.ns % kNsPerSecond), 0};
}

}  // namespace

PpsDevice::PpsDevice(std::string path) : path_(std::move(path)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path_.size() >= sizeof(address.sun_path)) {
    throw std::runtime_error(path_ + ": too long a path for a socket");
  }
  path_.copy(address.sun_path, path_.size());
  struct stat status {};
  if (lstat(path_.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) unlink(path_.c_str());
  listener_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener_ < 0 ||
      bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(listener_, 4) != 0) {
    throw std::runtime_error(path_ + ": " + std::strerror(errno));
  }
}

PpsDevice::~PpsDevice() {
  for (const int opener : openers_) close(opener);
  close(listener_);
  unlink(path_.c_str());
}

void PpsDevice::assert_edge(KernelTime stamp) {
  ++assert_sequence_;
  assert_at_ = stamp;
  send();
}

void PpsDevice::clear_edge(KernelTime stamp) {
  ++clear_sequence_;
  clear_at_ = stamp;
  send();
}

void PpsDevice::send() {
  for (int fd = 0; (fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
    openers_.push_back(fd);
  }
  const pps_kinfo info{assert_sequence_, clear_sequence_, ktime(assert_at_), ktime(clear_at_), 0};
  std::erase_if(openers_, [&](int opener) {
    if (::send(opener, &info, sizeof(info), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return false;
    if (errno == EAGAIN) return false;  // a reader that does not read misses edges
    close(opener);
    return true;
  });
}

}  // namespace timeball::refclock::sim
