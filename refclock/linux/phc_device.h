// A pulse per second as a PTP hardware clock stamps it: external timestamps of /dev/ptpN.
//
// The stamp is in the device's own time; a cross timestamp turns it into HostTime: PRECISE, where
// the device has it, goes straight to CLOCK_MONOTONIC_RAW; otherwise EXTENDED, the smallest window
// of its samples, half of which is the error. Kernels before 6.7 have one queue of events for all
// who have the device open: ours are picked by channel, and the queue is emptied before we arm. One
// thread, which blocks in fetch(). Reopening after kGone is the owner's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/base/error.h"
#include "refclock/linux/pps_device.h"

namespace timeball::refclock {

class PhcDevice {
 public:
  struct Options {
    std::string path;
    PulseInput input = PulseInput::kGnss;
    unsigned channel = 0;
    std::optional<unsigned> pin;  // to be given the channel; nothing for devices without pins
    Edge edge = Edge::kAssert;    // kAssert: rising
    std::int64_t most_slew_ppm = HostClock::kKernelsMostSlewPpm;
  };

  static Result<PhcDevice> open(const SystemCalls& calls, const Options& options);

  PulseReading fetch(Duration timeout);
  const PulseCounts& counts() const { return counts_; }
  // How cross timestamps are taken.
  enum class Method : std::uint8_t { kPrecise, kExtendedRaw, kExtendedRealtime };
  Method method() const { return method_; }

 private:
  using DeviceTime = TimePoint<struct PhcScale>;
  // The same instant on both clocks, within the error.
  struct Pair {
    HostTime host;
    DeviceTime device;
    Duration error{};
  };
  PhcDevice(DeviceFile file, const Options& options, Method method)
      : file_(std::move(file)),
        options_(options),
        method_(method),
        clock_(file_.calls(), options.most_slew_ppm) {}

  PulseReading take(DeviceTime edge);
  std::optional<Pair> precise() const;
  std::optional<Pair> extended();
  std::optional<Pair> cross_timestamp();

  DeviceFile file_;
  Options options_;
  Method method_;
  HostClock clock_;
  std::optional<DeviceTime> last_edge_;  // of either kind
  std::uint32_t sequence_ = 0;
  std::optional<DeviceTime> last_pulse_;
  PulseCounts counts_;
};

}  // namespace timeball::refclock
