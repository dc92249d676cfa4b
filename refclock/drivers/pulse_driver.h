// A pulse per second, from a kernel PPS device, from the DCD line of a serial port (N_PPS) or from
// a PTP hardware clock: a thread that waits for edges, opens the device again whenever it goes, and
// says so in one log line each time.
//
// Thread rules: construct, start, status() and destroy on the thread that runs the io_context;
// reports come on it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "refclock/linux/phc_device.h"
#include "refclock/linux/pps_device.h"
#include "refclock/observations.h"

namespace boost::asio {
class io_context;
}

namespace timeball::refclock {

struct PulseOptions {
  enum class Kind : std::uint8_t { kPps, kPhc };

  Kind kind = Kind::kPps;
  std::string device;  // /dev/pps0, /dev/ttyS0, /dev/ptp0
  PulseInput input = PulseInput::kGnss;
  Edge edge = Edge::kAssert;
  unsigned channel = 0;         // PHC
  std::optional<unsigned> pin;  // PHC
};

// Totals since the start.
struct PulseStatus {
  std::string device;
  PulseInput input = PulseInput::kGnss;
  bool open = false;
  std::uint64_t opened = 0, open_failures = 0, lost = 0;
  PulseCounts counts;
  std::optional<Duration> width;
  std::optional<HostTime> last;
  // Of a stamp against its neighbours, root mean square over the last minute or so: the pulse's and
  // the interrupt's. What the host's crystal is off takes no part in it.
  std::optional<Duration> jitter;
};

class PulseDriver {
 public:
  PulseDriver(boost::asio::io_context& context, const PulseOptions& options, Observe observe,
              const SystemCalls& calls = kernel_calls());
  ~PulseDriver();  // stops; waits for the thread

  void start();
  PulseStatus status() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // shared with what is still to be called
};

}  // namespace timeball::refclock
