// A kernel PPS device for programs that are none the wiser: LD_PRELOAD this, and opening a Unix
// socket (SOCK_SEQPACKET) as if it were a device gives a file that answers the ioctls of RFC 2783
// as <linux/pps.h> has them. Who listens on the socket is the hardware: it sends a pps_kinfo for
// each edge (sim/pps_device.h). Everything else goes to the system as it is.
//
// As the kernel does: PPS_FETCH gives the newest edges, waits when there is time and nothing new
// has come, fails with ETIMEDOUT; the first one gives what came last, however old.
#undef _FILE_OFFSET_BITS  // which would make open and open64 one
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/pps.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstring>

namespace {

struct Device {
  bool open = false;
  bool seen = false;  // an edge since the opening
  pps_kinfo last{};
  pps_kparams parameters{PPS_API_VERS, 0, {}, {}};
};

constexpr int kMaxDevices = 1024;  // by file descriptor
std::array<Device, kMaxDevices> devices;

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

Device* device_of(int fd) {
  return fd >= 0 && fd < kMaxDevices && devices[fd].open ? &devices[fd] : nullptr;
}

bool is_socket(const char* path) {
  struct stat status {};
  return path != nullptr && stat(path, &status) == 0 && S_ISSOCK(status.st_mode);
}

int connect_to(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (std::strlen(path) >= sizeof(address.sun_path)) return errno = ENAMETOOLONG, -1;
  std::strcpy(address.sun_path, path);
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (fd >= kMaxDevices ||
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    close(fd);
    return errno = ENXIO, -1;
  }
  devices[fd] = {};
  devices[fd].open = true;
  return fd;
}

// What has come by now. False: the hardware is gone.
bool take(int fd, Device& device) {
  pps_kinfo edge{};
  for (;;) {
    const ssize_t size = recv(fd, &edge, sizeof(edge), MSG_DONTWAIT);
    if (size == 0) return false;
    if (size < 0) return errno == EAGAIN || errno == EINTR;
    if (size == sizeof(edge)) device.last = edge, device.seen = true;
  }
}

int wait_ms(const pps_ktime& timeout) {
  if ((timeout.flags & PPS_TIME_INVALID) != 0) return -1;
  const long long ms = timeout.sec * 1000LL + timeout.nsec / 1'000'000;
  return ms > INT_MAX ? INT_MAX : static_cast<int>(ms);
}

int fetch(int fd, Device& device, pps_fdata& data) {
  const int wait = wait_ms(data.timeout);
  if (!take(fd, device)) return errno = ENODEV, -1;
  if (!device.seen && wait != 0) {
    pollfd readable{fd, POLLIN, 0};
    const int ready = poll(&readable, 1, wait);
    if (ready == 0) return errno = ETIMEDOUT, -1;
    if (ready < 0) return -1;
    if (!take(fd, device)) return errno = ENODEV, -1;
  }
  device.seen = false;
  data.info = device.last;
  data.info.current_mode = device.parameters.mode;
  return 0;
}

int answer(int fd, Device& device, unsigned long request, void* argument) {
  switch (request) {
    case PPS_GETCAP:
      *static_cast<int*>(argument) =
          PPS_CAPTUREBOTH | PPS_OFFSETASSERT | PPS_OFFSETCLEAR | PPS_CANWAIT | PPS_TSFMT_TSPEC;
      return 0;
    case PPS_GETPARAMS:
      *static_cast<pps_kparams*>(argument) = device.parameters;
      return 0;
    case PPS_SETPARAMS:
      device.parameters = *static_cast<const pps_kparams*>(argument);
      return 0;
    case PPS_FETCH:
      return fetch(fd, device, *static_cast<pps_fdata*>(argument));
    default:
      return errno = ENOTTY, -1;
  }
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  if (is_socket(path)) return connect_to(path);
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return next<int(const char*, int, ...)>("open")(path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  if (is_socket(path)) return connect_to(path);
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return next<int(const char*, int, ...)>("open64")(path, flags, mode);
}

int close(int fd) {
  if (Device* device = device_of(fd)) device->open = false;
  return next<int(int)>("close")(fd);
}

int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  if (Device* device = device_of(fd)) return answer(fd, *device, request, argument);
  return next<int(int, unsigned long, ...)>("ioctl")(fd, request, argument);
}

}  // extern "C"
