// The reference clocks of a rack: every driver, and the discipline that they feed, on one thread,
// which publishes the time to serve once a second. Each pulse has a thread of its own, which waits
// for edges.
//
//   drivers -> Observation -> RackClock (Discipline) -> Seqlock<ClockState>
//
// What a device does wrong is its driver's to say, count and mend; what the time is, the
// discipline's (refclock/discipline.h).
//
// Thread rules: construct and destroy on one thread; the rest from any.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/seqlock.h"
#include "common/time/clock_state.h"
#include "refclock/drivers/gnss_driver.h"
#include "refclock/drivers/gpsd_driver.h"
#include "refclock/drivers/pulse_driver.h"
#include "refclock/drivers/rubidium_driver.h"
#include "refclock/drivers/sample_driver.h"
#include "refclock/linux/kernel_clock_control.h"
#include "refclock/rack_clock.h"

namespace timeball::refclock {

struct RackOptions {
  std::optional<GnssOptions> gnss;
  std::optional<GpsdDriverOptions> gpsd;
  std::vector<PulseOptions> pulses;
  std::optional<RubidiumOptions> rubidium;
  std::vector<SampleOptions> samples;
  DisciplineOptions discipline;
  std::string leap_file;      // leap-seconds.list, read again once an hour; empty: none
  bool steer_kernel = false;  // CLOCK_REALTIME, too, follows UTC (KernelSteering)
  KernelClockControl::Adjust adjust_kernel = KernelClockControl::kernel();  // how
};

// As of the last tick.
struct RackStatus {
  RackClockStatus clock;
  std::optional<GnssStatus> gnss;
  std::optional<GpsdStatus> gpsd;
  std::vector<PulseStatus> pulses;
  std::optional<RubidiumStatus> rubidium;
  std::vector<SampleStatus> samples;
  // Whether the kernel's clock does as it is told; nothing: it is left alone (steer_kernel).
  std::optional<bool> kernel_steered;
};

class Rack {
 public:
  // Throws std::runtime_error with one sentence when a setting cannot be; a device that is not
  // there yet is waited for.
  explicit Rack(const RackOptions& options);
  ~Rack();

  // Begins: threads start, devices are opened.
  void start();

  const Seqlock<ClockState>& state() const;
  RackStatus status() const;
  // The operator's word that GNSS is right (Discipline::readmit).
  void readmit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace timeball::refclock
