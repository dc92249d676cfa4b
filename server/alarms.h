// Every alarm of the daemon, one row each: drives the log, the metric, the status, and with
// deploy/OPERATIONS.md the runbook and the alerts.
//
// Pure; control thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/time/time_scales.h"
#include "server/snapshot.h"

namespace timeball::server {

enum class Severity : std::uint8_t {
  kCritical,  // clients are badly served, or soon will be: now
  kMajor,     // what keeps them well served is broken: today
  kMinor,     // worth knowing
};
constexpr std::string_view name_of(Severity severity) {
  constexpr std::array<std::string_view, 3> kNames{"critical", "major", "minor"};
  return kNames[static_cast<std::size_t>(severity)];
}

struct AlarmKind {
  std::string_view name;
  Severity severity = Severity::kMinor;
  std::string_view meaning;  // a sentence
  std::string_view action;   // what to do, a sentence
  // Nothing: cannot be, as this daemon is configured.
  std::optional<bool> (*raised)(const Snapshot& snapshot) = nullptr;
  bool unfit = false;  // while it is raised, clients are better off elsewhere
  bool told = false;   // in the log already, by the reference clocks

  // What to read at three in the morning.
  std::string runbook() const { return "OPERATIONS.md#alarm-" + std::string(name); }
};

// The most severe first.
std::span<const AlarmKind> alarm_kinds();

struct RaisedAlarm {
  const AlarmKind* kind = nullptr;
  MonotonicTime since;
  std::optional<UtcTime> since_utc;  // once the time is known
};

// Which are raised, and since when.
class RaisedAlarms {
 public:
  struct Change {
    std::vector<const AlarmKind*> raised, cleared;
  };
  // About once a second.
  Change update(const Snapshot& snapshot, MonotonicTime now);
  // The most severe first.
  const std::vector<RaisedAlarm>& all() const { return all_; }
  MonotonicTime updated_at() const { return updated_at_; }

 private:
  std::vector<RaisedAlarm> all_;
  MonotonicTime updated_at_;
};

}  // namespace timeball::server
