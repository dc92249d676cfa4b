// gpsd as a reference clock: its names for seconds, the receiver's condition, and, when no pulse of
// the receiver's comes to us by ourselves, gpsd's stamps of it.
//
// Thread rules: everything on the thread that runs the io_context; reports come on it.
#pragma once

#include <cstdint>

#include "refclock/gpsd/gpsd_client.h"
#include "refclock/linux/host_clock.h"
#include "refclock/observations.h"

namespace timeball::refclock {

struct GpsdDriverOptions {
  GpsdOptions connection;
  bool pulses = false;  // take gpsd's stamps
};

// Totals since the start.
struct GpsdStatus {
  GpsdCounts counts;
  std::uint64_t labels_trusted = 0, labels_untrusted = 0;
  std::uint64_t pulses = 0, pulses_refused = 0;  // the clock was stepped around them
  Sky sky;                                       // empty when gpsd has not told for a while
};

class GpsdDriver {
 public:
  GpsdDriver(boost::asio::io_context& context, const GpsdDriverOptions& options, Observe observe);

  void start() { client_.start(); }
  GpsdStatus status() const;

 private:
  void received(const GpsdReport& report, HostTime arrival);
  void pulse(const GpsdPps& pps);

  GpsdDriverOptions options_;
  Observe observe_;
  GpsdFold fold_;
  HostClock clock_;
  GpsdStatus status_;
  HostTime sky_at_;
  GpsdClient client_;  // last: it calls the rest
};

}  // namespace timeball::refclock
