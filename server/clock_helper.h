// The one process of the daemon's that may set a clock (clock.mode "system"): a child that keeps
// CAP_SYS_TIME, and can do nothing but what it is asked over its socket
// (refclock/linux/remote_clock.h): its system calls are read, write, clock_adjtime and exit.
//
// Without clock.helper it is the daemon's child and lives as long: it ends when the socket is
// closed, and the kernel ends it with the daemon. What is told to end the daemon (SIGTERM, SIGINT,
// SIGHUP) it ignores.
//
// With clock.helper it is a service of its own (timeballd-clock.service: timeballd --clock-helper),
// and the daemon has CAP_SYS_TIME at no time. Either may be restarted without the other.
#pragma once

#include <optional>
#include <string>

#include "refclock/refclock.h"
#include "server/config.h"
#include "server/process_rights.h"
#include "server/system_calls.h"

namespace timeball::server {

// Starts it, as that user, and returns what asks it. Before any thread, and before secrets are
// read. Throws std::runtime_error.
refclock::KernelClockControl::Adjust start_clock_helper(const std::optional<Account>& account,
                                                        SandboxMode sandbox);

// Connects to the one that listens there, as the user that the daemon has become, and returns what
// asks it; a connection that is lost is made again. Throws std::runtime_error with one sentence
// when nobody listens, or it refuses (another user; another daemon steers).
refclock::KernelClockControl::Adjust reach_clock_helper(const std::string& path);

// The service: steers for that user's daemons, one at a time, at the socket that systemd hands over
// (LISTEN_FDS), until it is told to end. Throws std::runtime_error.
void serve_as_clock_helper(const std::string& user);

// What it does to itself: no more than it is for, the service or the child. Throws
// std::runtime_error.
constexpr Duties kClockService = kSetsClock | kAdmits;
void confine_clock_helper(SandboxMode sandbox, Duties duties = kSetsClock);

}  // namespace timeball::server
