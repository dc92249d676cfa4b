// Whom the process runs as, and which of root's rights it keeps. Start as root: it becomes the
// user of [process] at once, and keeps until the sandbox what it takes to bind and to be given
// real-time priority (CAP_NET_BIND_SERVICE, CAP_SYS_NICE). Started as somebody else (systemd's
// User= with AmbientCapabilities=) it stays that, and keeps no more either.
//
// Capabilities belong to threads: all of this before any other thread starts. Errors are
// std::runtime_error with one sentence that says what to do.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "server/config.h"

namespace timeball::server {

// A user of this machine.
struct Account {
  std::string name;
  uid_t user = 0;
  gid_t group = 0;
};

// Whom to become; nothing when the process is not root's.
std::optional<Account> account_to_become(const ProcessConfig& config);

// Bits of capability numbers (CAP_*).
using Capabilities = std::uint64_t;
constexpr Capabilities capability(int number) {
  return Capabilities{1} << number;
}

// Becomes that user, with the groups it is in, and of the capabilities there are keeps these.
void become(const std::optional<Account>& account, Capabilities kept);
// Of the capabilities there are keeps these.
void keep_capabilities(Capabilities kept);

// As many descriptors as the system lets us have: what starts us leaves the usual 1,024 for the
// sake of programs that call select().
void raise_descriptor_limit();

}  // namespace timeball::server
