// What gpsd says: one line of its JSON protocol (gpsd_json(5), protocol 3) as a value, and a fold
// of those values into what the discipline takes.
//
// gpsd stamps and names pulses itself: a PPS report holds the kernel's time of the edge and the
// UTC second that gpsd gave it. That second is taken as a label like any other, never as a fact.
//
// Pure; the calling thread. Every string is bounded by the line, kMaxGpsdLine octets.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "common/base/error.h"
#include "refclock/observations.h"
#include "refclock/sky.h"

namespace timeball::refclock {

// gpsd's own limit is 10,240.
inline constexpr std::size_t kMaxGpsdLine = 16'384;

struct GpsdVersion {
  std::string release;
  int protocol_major = 0;
};
// Time, position, velocity. Fields that gpsd left out are absent.
struct GpsdTpv {
  std::string device;
  int mode = 0;    // 0 unknown, 1 no fix, 2, 3
  int status = 0;  // 5 and 6 dead reckoning, 7 surveyed, 8 simulated
  std::optional<UtcTime> time;
  bool leap_second = false;  // the time was 23:59:60
  std::optional<Duration> time_error;
  std::optional<int> leap_seconds;  // GPS - UTC; absent: gpsd does not know it from the sky
  std::optional<unsigned> jamming_indicator;
  Antenna antenna = Antenna::kUnknown;
};
struct GpsdSky {
  std::string device;
  unsigned in_view = 0, used = 0;
  Sky sky;  // satellites, pdop, tdop
};
struct GpsdPps {
  std::string device;
  UtcTime real;                          // the second that gpsd gave it
  KernelTime clock;                      // the edge
  int precision = -10;                   // log2 seconds: -20 serial line, -10 USB
  std::optional<std::int32_t> error_ps;  // of quantisation
};
// A report of another class, which says nothing of the time.
struct GpsdOther {
  std::string report_class;
};
using GpsdReport = std::variant<GpsdVersion, GpsdTpv, GpsdSky, GpsdPps, GpsdOther>;

// Without its end of line. The error says what is wrong with it.
Result<GpsdReport> parse_gpsd(std::string_view line);

// "2021-02-23T18:04:29.000Z": nothing when it is not a time.
struct GpsdTime {
  UtcTime time;
  bool leap_second = false;
};
std::optional<GpsdTime> parse_gpsd_time(std::string_view text);

// Follows the reports of one receiver.
class GpsdFold {
 public:
  // device: "" takes the first that reports, and stays with it.
  explicit GpsdFold(std::string device = {}) : device_(std::move(device)) {}

  struct Observations {
    std::optional<SecondLabel> label;
    std::optional<GnssCondition> condition;
    std::optional<LeapNotice> leap;
    std::optional<GpsdPps> pulse;  // its clock is still the kernel's
    std::optional<QuantisationError> quantisation;
    std::optional<Sky> sky;
  };
  Observations step(const GpsdReport& report, HostTime arrival);

 private:
  bool ours(const std::string& device);
  Observations take(const GpsdTpv& tpv, HostTime arrival);
  Observations take(const GpsdSky& sky, HostTime arrival);
  Observations take(const GpsdPps& pps, HostTime arrival);

  std::string device_;
  GnssCondition condition_;
};

}  // namespace timeball::refclock
