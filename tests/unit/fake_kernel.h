// A kernel with a /dev/pps0, a /dev/ptp0 and three clocks in virtual time: the drivers' real ioctl
// code runs against it. Time passes in blocking calls, and a little at each reading of a clock.
#pragma once

#include <fcntl.h>
#include <linux/pps.h>
#include <linux/ptp_clock.h>
#include <linux/tty.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/time/ntp_timestamp.h"
#include "refclock/linux/system_calls.h"

namespace timeball::refclock {

struct FakeEdge {
  std::int64_t raw_ns = 0;  // when the kernel stamps it
  bool assert_edge = true;
};

struct FakeEvent {
  std::int64_t raw_ns = 0;
  unsigned index = 0;
};

class FakeKernel {
 public:
  // Clocks.
  std::int64_t raw_ns = 5'000 * kNsPerSecond;
  std::int64_t realtime_minus_raw = 1'790'000'000 * kNsPerSecond;
  std::int64_t phc_minus_raw = 77 * kNsPerSecond;
  std::int64_t reading_ns = 30;
  std::int64_t wake_ns = 40'000;               // from an event to the process
  std::map<std::int64_t, std::int64_t> steps;  // of CLOCK_REALTIME: at raw time, by

  // Files by path: text for sysfs.
  std::map<std::string, std::string> text;
  std::map<std::string, std::string> links;
  int open_files = 0;
  int fail_open = 0;           // errno
  std::deque<int> fail_fetch;  // errno of the next PPS_FETCH, read() or poll(); 0: none

  // /dev/pps0
  bool pps = true;
  int pps_capabilities = PPS_CAPTUREBOTH | PPS_CANWAIT | PPS_TSFMT_TSPEC;
  int pps_mode = PPS_TSFMT_TSPEC;
  bool may_set_params = true;
  std::deque<FakeEdge> edges;
  pps_kinfo info{};
  int slept = 0;
  int discipline = 0;

  // /dev/ptp0
  bool phc = true;
  int cross_timestamping = 1;
  bool raw_samples = true;  // as kernels from 6.12
  bool strict = true;
  int channels = 2;
  int pins = 4;
  std::int64_t window_ns = 900;  // of the best extended sample
  std::deque<FakeEvent> events;  // of all channels
  std::vector<std::string> requests;
  bool precise_fails = false;

  // Pulses at whole raw seconds from now on, `latency_ns` late.
  void add_pulses(int count, std::int64_t latency_ns, std::int64_t width_ns = 100'000'000) {
    const std::int64_t first = raw_ns / kNsPerSecond + 1;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t at = (first + i) * kNsPerSecond + latency_ns;
      edges.push_back({at, true});
      edges.push_back({at + width_ns, false});
      events.push_back({at, 0});
    }
  }

  SystemCalls calls() {
    return {[this](const char* path, int) { return open(path); },
            [this](int fd) { return close(fd); },
            [this](int fd, unsigned long request, void* argument) {
              return ioctl(fd, request, argument);
            },
            [this](int fd, void* buffer, std::size_t size) { return read(fd, buffer, size); },
            [this](clockid_t clock, timespec* t) { return gettime(clock, t); },
            [this](int fd, int timeout_ms) { return poll(fd, timeout_ms); },
            [this](Duration d) {
              ++slept;
              raw_ns += d.count();
            },
            [this](const std::string& path) {
              const auto link = links.find(path);
              return link == links.end() ? path : link->second;
            }};
  }

 private:
  static int refuse(int error) {
    errno = error;
    return -1;
  }
  std::int64_t realtime(std::int64_t raw) const {
    std::int64_t t = raw + realtime_minus_raw;
    for (const auto& [at, by] : steps) t += raw >= at ? by : 0;
    return t;
  }
  static pps_ktime ktime(std::int64_t ns) {
    return {ns / kNsPerSecond, static_cast<std::int32_t>(ns % kNsPerSecond), 0};
  }
  static ptp_clock_time ptp_time(std::int64_t ns) {
    return {ns / kNsPerSecond, static_cast<std::uint32_t>(ns % kNsPerSecond), 0};
  }

  int open(const std::string& path) {
    if (fail_open != 0) return refuse(fail_open);
    const auto link = links.find(path);
    const std::string real = link == links.end() ? path : link->second;
    const bool device = (real == "/dev/pps0" && pps) || (real == "/dev/ptp0" && phc) ||
                        real.starts_with("/dev/tty");
    if (!device && !text.contains(real)) return refuse(ENOENT);
    ++open_files;
    files_[++last_fd_] = real;
    return last_fd_;
  }
  int close(int fd) {
    --open_files;
    return files_.erase(fd) == 1 ? 0 : refuse(EBADF);
  }
  int gettime(clockid_t clock, timespec* t) {
    raw_ns += reading_ns;
    const std::int64_t ns = clock == CLOCK_REALTIME ? realtime(raw_ns) : raw_ns;
    *t = {static_cast<time_t>(ns / kNsPerSecond), static_cast<long>(ns % kNsPerSecond)};
    return 0;
  }
  int injected() {
    if (fail_fetch.empty()) return 0;
    const int error = fail_fetch.front();
    fail_fetch.pop_front();
    return error;
  }

  int ioctl(int fd, unsigned long request, void* argument) {
    if (!files_.contains(fd)) return refuse(EBADF);
    const std::string& path = files_[fd];
    if (request == TIOCSETD) {
      discipline = *static_cast<int*>(argument);
      return path.starts_with("/dev/tty") ? 0 : refuse(ENOTTY);
    }
    if (path == "/dev/pps0") return pps_ioctl(request, argument);
    if (path == "/dev/ptp0") return ptp_ioctl(request, argument);
    return refuse(ENOTTY);
  }

  int pps_ioctl(unsigned long request, void* argument) {
    if (!pps) return refuse(ENODEV);
    switch (request) {
      case PPS_GETCAP:
        *static_cast<int*>(argument) = pps_capabilities;
        return 0;
      case PPS_GETPARAMS:
        *static_cast<pps_kparams*>(argument) = {1, pps_mode, {}, {}};
        return 0;
      case PPS_SETPARAMS: {
        const auto& params = *static_cast<pps_kparams*>(argument);
        if (!may_set_params) return refuse(EPERM);
        if ((params.mode & ~pps_capabilities) != 0 || params.api_version != 1)
          return refuse(EINVAL);
        pps_mode = params.mode;
        return 0;
      }
      case PPS_FETCH:
        return pps_fetch(*static_cast<pps_fdata*>(argument));
      default:
        return refuse(ENOTTY);
    }
  }
  // Stamps what has come by now.
  void stamp_edges() {
    while (!edges.empty() && edges.front().raw_ns <= raw_ns) {
      const FakeEdge edge = edges.front();
      edges.pop_front();
      if ((pps_mode & (edge.assert_edge ? PPS_CAPTUREASSERT : PPS_CAPTURECLEAR)) == 0) continue;
      const pps_ktime t = ktime(realtime(edge.raw_ns));
      if (edge.assert_edge) {
        info.assert_tu = t;
        ++info.assert_sequence;
      } else {
        info.clear_tu = t;
        ++info.clear_sequence;
      }
    }
  }
  int pps_fetch(pps_fdata& data) {
    const std::int64_t timeout = data.timeout.sec * kNsPerSecond + data.timeout.nsec;
    stamp_edges();
    if (timeout > 0) {
      if (const int error = injected(); error != 0) return refuse(error);
      if ((pps_capabilities & PPS_CANWAIT) == 0) return refuse(EOPNOTSUPP);
      const pps_kinfo before = info;
      const std::int64_t end = raw_ns + timeout;
      while (before.assert_sequence == info.assert_sequence &&
             before.clear_sequence == info.clear_sequence) {
        if (edges.empty() || edges.front().raw_ns > end) {
          raw_ns = end;
          return refuse(ETIMEDOUT);
        }
        raw_ns = std::max(raw_ns, edges.front().raw_ns);
        stamp_edges();
      }
      raw_ns += wake_ns;
    }
    data.info = info;
    return 0;
  }

  int ptp_ioctl(unsigned long request, void* argument) {
    if (!phc) return refuse(ENODEV);
    switch (request) {
      case PTP_CLOCK_GETCAPS: {
        ptp_clock_caps caps{};
        caps.n_ext_ts = channels;
        caps.n_pins = pins;
        caps.cross_timestamping = cross_timestamping;
        std::memcpy(argument, &caps, sizeof caps);
        return 0;
      }
      case PTP_PIN_SETFUNC: {
        const auto& pin = *static_cast<ptp_pin_desc*>(argument);
        if (static_cast<int>(pin.index) >= pins) return refuse(EINVAL);
        requests.push_back("pin " + std::to_string(pin.index) + " " + std::to_string(pin.func) +
                           " " + std::to_string(pin.chan));
        return 0;
      }
      case PTP_EXTTS_REQUEST2:
      case PTP_EXTTS_REQUEST: {
        const auto& wanted = *static_cast<ptp_extts_request*>(argument);
        if ((wanted.flags & PTP_STRICT_FLAGS) != 0 && !strict) return refuse(EOPNOTSUPP);
        requests.push_back("extts " + std::to_string(wanted.index) + " " +
                           std::to_string(wanted.flags));
        return 0;
      }
      case PTP_SYS_OFFSET_PRECISE:
        return precise(*static_cast<ptp_sys_offset_precise*>(argument));
      case PTP_SYS_OFFSET_EXTENDED:
        return extended(*static_cast<ptp_sys_offset_extended*>(argument));
      default:
        return refuse(ENOTTY);
    }
  }
  int precise(ptp_sys_offset_precise& offset) {
    if (precise_fails) return refuse(ETIMEDOUT);
    if (cross_timestamping == 0) return refuse(EOPNOTSUPP);
    raw_ns += 1000;
    offset.device = ptp_time(raw_ns + phc_minus_raw);
    offset.sys_realtime = ptp_time(realtime(raw_ns));
    offset.sys_monoraw = ptp_time(raw_ns);
    return 0;
  }
  // The seventh sample has the smallest window, and is off by all of its half.
  int extended(ptp_sys_offset_extended& offset) {
    const bool raw = offset.rsv[0] == CLOCK_MONOTONIC_RAW;
    if (offset.rsv[0] != 0 && !(raw && raw_samples)) return refuse(EINVAL);
    const auto system = [&] { return ptp_time(raw ? raw_ns : realtime(raw_ns)); };
    for (unsigned i = 0; i < offset.n_samples; ++i) {
      offset.ts[i][0] = system();
      const std::int64_t window = i == 6 ? window_ns : window_ns * 7;
      if (i != 6) raw_ns += window / 3;
      offset.ts[i][1] = ptp_time(raw_ns + phc_minus_raw);
      raw_ns += i == 6 ? window : window - window / 3;
      offset.ts[i][2] = system();
    }
    return 0;
  }

  int poll(int fd, int timeout_ms) {
    if (!files_.contains(fd)) return refuse(EBADF);
    if (timeout_ms > 0) {
      if (const int error = injected(); error != 0) return refuse(error);
    }
    const std::int64_t end = raw_ns + timeout_ms * std::int64_t{1'000'000};
    if (events.empty() || events.front().raw_ns > end) {
      raw_ns = end;
      return 0;
    }
    if (events.front().raw_ns > raw_ns) raw_ns = events.front().raw_ns + wake_ns;
    return 1;
  }
  ssize_t read(int fd, void* buffer, std::size_t size) {
    if (!files_.contains(fd)) return refuse(EBADF);
    if (const auto file = text.find(files_[fd]); file != text.end()) {
      const std::size_t length = std::min(size, file->second.size());
      std::memcpy(buffer, file->second.data(), length);
      return static_cast<ssize_t>(length);
    }
    if (!phc) return refuse(ENODEV);
    std::size_t length = 0;
    while (length + sizeof(ptp_extts_event) <= size && !events.empty() &&
           events.front().raw_ns <= raw_ns) {
      ptp_extts_event event{};
      event.t = ptp_time(events.front().raw_ns + phc_minus_raw);
      event.index = events.front().index;
      events.pop_front();
      std::memcpy(static_cast<char*>(buffer) + length, &event, sizeof event);
      length += sizeof event;
    }
    return length > 0 ? static_cast<ssize_t>(length) : refuse(EAGAIN);
  }

  std::map<int, std::string> files_;
  int last_fd_ = 2;
};

}  // namespace timeball::refclock
