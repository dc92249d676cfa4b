// From the configuration to what refclock/ takes. Pure; any thread.
#pragma once

#include "refclock/refclock.h"
#include "server/config.h"

namespace timeball::server {

// Whether time comes from a rack's hardware or other programs, and not from the kernel's clock.
bool has_rack(const Config& config);

refclock::SystemClockOptions system_clock_options(const Config& config);
refclock::RackOptions rack_options(const Config& config);

}  // namespace timeball::server
