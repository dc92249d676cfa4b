// Whether GNSS may be used: what speaks against it, and when it has earned its way back.
//
// A threat, once seen, excludes GNSS. It comes back after an hour in which every second was clean
// (pulse where our own clocks expect it, label right, no indicator), or by the operator's command.
// After GNSS and rubidium were seen to part, the hour must end within a day: later the rubidium may
// itself have gone as far, its word is worth nothing, and only the operator can tell who is right.
// Plain loss of signal is no threat: those pulses are not used while the receiver says so, and are
// used at once after.
//
// Owned by the discipline; its thread calls. Pure.
#pragma once

#include <optional>

#include "refclock/alarms.h"
#include "refclock/observations.h"

namespace timeball::refclock {

struct ThreatLimits {
  double position_m = 50;  // a survey is good to a few metres, a stationary fix to some ten
  Duration clean_time = std::chrono::hours(1);
  Duration clean_gap = std::chrono::seconds(5);  // longer without a clean second starts again
  Duration slope_doubt = std::chrono::hours(24);
};

class Threats {
 public:
  explicit Threats(const ThreatLimits& limits) : limits_(limits) {}

  // The receiver's own indicators.
  void hear(const GnssCondition& condition);
  // What the discipline found: kPhaseStep, kPhaseSlope, kLabelDisagrees or kSourcesDisagree.
  void report(Alarm found, HostTime at);
  // A second without anything against it. True when GNSS has earned its way back, as far as we
  // know.
  bool clean(HostTime now);
  // It is back: earned, or by the operator's command.
  void readmit();

  bool excluded() const { return excluded_; }
  // The indicators that stand now, and what excluded GNSS until it is back.
  AlarmSet alarms() const { return standing_ | found_; }

 private:
  ThreatLimits limits_;
  AlarmSet standing_;
  AlarmSet found_;
  bool excluded_ = false;
  bool quiet_ = true;  // no indicator that excludes stands now
  std::optional<HostTime> clean_since_;
  HostTime last_clean_;
  std::optional<HostTime> slope_since_;  // seen first
};

}  // namespace timeball::refclock
