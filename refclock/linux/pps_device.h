// A pulse per second as the kernel stamps it: /dev/ppsN, RFC 2783 by way of linux/pps.h.
//
// One edge is the pulse's; the other is captured too where the device can, for it shows when the
// wrong one was configured (RS-232 inverts): a pulse is shorter than half a second. The device's
// own stamps are in CLOCK_REALTIME; see host_clock.h. How late an interrupt may be is the
// contract's business, not ours. One thread, which blocks in fetch(). Reopening after kGone is the
// owner's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/base/error.h"
#include "refclock/linux/host_clock.h"
#include "refclock/linux/system_calls.h"
#include "refclock/observations.h"

namespace timeball::refclock {

enum class Edge : std::uint8_t { kAssert, kClear };

struct PulseReading {
  enum class Outcome : std::uint8_t {
    kPulse,
    kNone,          // no new pulse within the timeout
    kInterrupted,   // by a signal: ask again
    kStale,         // a pulse, but of long ago
    kWrongEdge,     // the trailing edge of the pulse: `edge` is to be changed
    kClockStepped,  // CLOCK_REALTIME was stepped: when the pulse was cannot be told
    kGone,          // the device does not work any more: `error`
  };
  Outcome outcome = Outcome::kNone;
  Pulse pulse;  // kPulse
  int error = 0;
};

struct PulseCounts {
  std::uint64_t pulses = 0, missed = 0, timeouts = 0, stale = 0, wrong_edge = 0, clock_steps = 0;
};

class PpsDevice {
 public:
  struct Options {
    std::string path;
    PulseInput input = PulseInput::kGnss;
    Edge edge = Edge::kAssert;
    std::int64_t most_slew_ppm = HostClock::kKernelsMostSlewPpm;
    bool simulated = false;  // take the kernel's ktimer, which is no pulse of anything
  };

  static Result<PpsDevice> open(const SystemCalls& calls, const Options& options);

  PulseReading fetch(Duration timeout);
  const PulseCounts& counts() const { return counts_; }
  // From the leading edge to the trailing one; nothing until both have been seen.
  std::optional<Duration> width() const { return width_; }

 private:
  struct Stamp {
    std::uint32_t sequence = 0;
    KernelTime time;
  };
  struct Stamps {
    Stamp ours, other;
  };
  PpsDevice(DeviceFile file, const Options& options, int mode);

  int fetch_stamps(Duration timeout, Stamps& stamps) const;
  int wait_stamps(Duration timeout, Stamps& stamps) const;
  PulseReading take(const Stamps& stamps);
  bool wrong_edge(const Stamps& stamps);

  DeviceFile file_;
  Options options_;
  int mode_;  // in force
  HostClock clock_;
  Stamps last_;
  PulseCounts counts_;
  std::optional<Duration> width_;
};

// A tty whose DCD line carries the pulse: attaches the N_PPS line discipline, and finds the device
// that appeared. The pulse lasts as long as `tty` is open.
struct PpsTty {
  DeviceFile tty;
  std::string pps_path;
};
Result<PpsTty> attach_pps_line_discipline(const SystemCalls& calls, const std::string& tty_path);

}  // namespace timeball::refclock
