// What the daemon can do to the machine once it serves, should somebody take it over: what its
// configuration needs, and nothing else. Entered when everything is bound, opened and read, before
// the first thread starts, and never left:
//
//   no capability; no_new_privs
//   Landlock: the directories of the files that the configuration names (server/landlock.h)
//   seccomp: the system calls of what it does (server/system_calls.h)
//
// process.sandbox "off" leaves the two last out.
#pragma once

#include <string>
#include <vector>

#include "server/config.h"
#include "server/landlock.h"
#include "server/system_calls.h"

namespace timeball::server {

// What the configuration has the daemon do.
Duties duties_of(const Config& config);
// What it reads again while it runs, and what it writes.
std::vector<Grant> grants_of(const Config& config, const std::string& config_path);

// Whether a configuration that is read again names directories that the one the sandbox was entered
// with did not, where it shows nothing.
bool reaches_beyond(const Config& entered_with, const Config& fresh,
                    const std::string& config_path);

// Returns what is in force, for the log. Throws std::runtime_error with one sentence.
std::string enter_sandbox(const Config& config, const std::string& config_path);

}  // namespace timeball::server
