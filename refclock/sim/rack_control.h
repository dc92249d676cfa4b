// What an operator may do to a simulated rack, as lines of text: one command, one answer. The table
// of commands makes the manual, too. Pure; one thread.
#pragma once

#include <string>
#include <string_view>

#include "refclock/sim/rack.h"

namespace timeball::refclock::sim {

// The answer: "ok", "error: " and what to write instead, or for `status` one JSON object. kernel:
// the host's clock at the rack's now().
std::string execute(Rack& rack, std::string_view line, KernelTime kernel);

// A line for each command.
std::string command_manual();

}  // namespace timeball::refclock::sim
