// The one process of the daemon's that may set a clock (clock.mode "system"): a child that keeps
// CAP_SYS_TIME, and can do nothing but what it is asked over its socket
// (refclock/linux/remote_clock.h): its system calls are read, write, clock_adjtime and exit.
//
// It lives as long as the daemon: it ends when the socket is closed, and the kernel ends it with
// the daemon. What is told to end the daemon (SIGTERM, SIGINT, SIGHUP) it ignores.
#pragma once

#include <optional>

#include "refclock/refclock.h"
#include "server/config.h"
#include "server/process_rights.h"

namespace timeball::server {

// Starts it, as that user, and returns what asks it. Before any thread, and before secrets are
// read. Throws std::runtime_error.
refclock::KernelClockControl::Adjust start_clock_helper(const std::optional<Account>& account,
                                                        SandboxMode sandbox);

// What it does to itself: no more than it is for. Throws std::runtime_error.
void confine_clock_helper(SandboxMode sandbox);

}  // namespace timeball::server
