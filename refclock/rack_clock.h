// From what a rack's drivers report to the time that is served, second by second: the discipline,
// the table of leap seconds, and what an operator wants to see of both.
//
// Pure; one thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "refclock/discipline.h"
#include "refclock/holdover_forecast.h"
#include "refclock/leap_seconds.h"
#include "refclock/observations.h"

namespace timeball::refclock {

// As of the last tick.
struct RackClockStatus {
  HostTime at;
  State state = State::kCold;
  HostTime state_since;
  bool suspect = false, degraded = false, leap_unknown = true;  // Discipline's flags
  AlarmSet alarms;
  std::array<std::uint64_t, kAlarmCount> raised{};  // so often, each
  std::optional<Duration> bound;                    // nothing: time is not known
  std::optional<GnssCondition> gnss;                // the newest of each
  std::optional<OscillatorCondition> oscillator;
  std::optional<QuantisationError> quantisation;
  std::optional<LeapNotice> leap;  // the receiver's, or the file's
  std::optional<UtcTime> leap_file_expires;
  std::optional<int> tai_minus_utc_s;  // in force, by a file that has not expired
  std::optional<Duration> holdover;    // so long in HOLDOVER
  // Until the bound passes the limit, by how it has grown; nothing while that has hardly begun.
  std::optional<Duration> holdover_remaining;
};

class RackClock {
 public:
  explicit RackClock(const DisciplineOptions& options)
      : holdover_limit_(options.holdover_limit), discipline_(options) {}

  void observe(const Observation& observation);
  void set_leap_table(std::optional<LeapTable> table) { table_ = std::move(table); }
  void readmit(HostTime now) { discipline_.readmit(now); }
  // We changed the kernel's clock; and what to serve at once, the pair having been read after that.
  void steered(const Steered& what) { discipline_.steered(what); }
  ClockState publish(const ClockPair& now) { return discipline_.publish(now); }

  struct Beat {
    ClockState clock;  // to serve from now on
    Action action;     // to log
  };
  // Once a second; the pair was read just before.
  Beat tick(const ClockPair& now);
  const RackClockStatus& status() const { return status_; }

 private:
  void watch_holdover();

  Duration holdover_limit_;
  std::optional<HoldoverForecast> forecast_;
  Discipline discipline_;
  std::optional<LeapTable> table_;
  RackClockStatus status_;
};

}  // namespace timeball::refclock
