// A clock helper with a life of its own: daemons come and go. It steers for one at a time, and only
// for daemons of one user (SO_PEERCRED). Whoever connects is told so by a ClockAnswer, before
// anything is asked: 0, or -1 with EACCES (another user) or EBUSY (another daemon steers), and then
// the connection is closed.
//
// A daemon's one step (ClockGate) is its process's: to connect again brings it no other.
#pragma once

#include <sys/types.h>

#include "refclock/linux/kernel_clock_control.h"

namespace timeball::refclock {

// listener: a SOCK_SEQPACKET socket that listens. Returns when it cannot accept any more
// (shutdown). Allocates nothing; poll(2), accept4(2), getsockopt(2), read(2), write(2) and close(2)
// only.
void serve_clock_to(uid_t user, int listener, const KernelClockControl::Adjust& adjust);

}  // namespace timeball::refclock
