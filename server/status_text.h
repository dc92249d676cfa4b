// What `timeball status`, `sources`, `alarms` and `clients` print of a daemon's JSON
// (deploy/API.md), and the exit status that says it to a script. Pure.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>

#include "common/time/time_scales.h"

namespace timeball::server {

// Colour is for terminals: ANSI escapes around the verdict and the alarms.
std::string status_text(const boost::json::object& status, bool colour);
std::string sources_text(const boost::json::object& status, bool colour);
std::string alarms_text(const boost::json::object& status, bool colour);
std::string clients_text(const boost::json::object& clients);

// As monitoring plugins have it (Nagios, Icinga, check_mk).
enum class Health { kOk = 0, kWarning = 1, kCritical = 2, kUnknown = 3 };
struct HealthLimits {
  std::optional<Duration> warning;  // of the error bound
  std::optional<Duration> critical;
};
// Critical: not synchronised, a critical alarm, or a bound over its limit. Warning: any other alarm
// but minor ones, or a bound over its limit.
Health health_of(const boost::json::object& status, const HealthLimits& limits);
// One line: "TIMEBALL OK - within 312 ns, LOCKED | error_bound=3.12e-07s;;;0 ..."
std::string plugin_text(const boost::json::object& status, const HealthLimits& limits);

}  // namespace timeball::server
