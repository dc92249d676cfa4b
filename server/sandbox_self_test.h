// timeballd --self-test-sandbox: tries from inside the sandbox of a configuration what must fail
// there. Nothing is served, and no port is taken: a daemon may run meanwhile.
//
// Each attempt is made by a child of its own, which enters the sandbox first; what it is not let do
// it is ended for, or told that it failed.
#pragma once

#include <string>

#include "server/config.h"

namespace timeball::server {

// Prints a line for each attempt on standard output. Returns whether all failed as they must.
bool self_test_sandbox(const Config& config, const std::string& config_path);

}  // namespace timeball::server
