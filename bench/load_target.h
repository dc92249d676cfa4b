// What the load is aimed at, and whether it may be. Main thread, before the load starts; resolves
// names, blocking.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/error.h"
#include "common/net/address.h"

namespace timeball::bench {

struct LoadTarget {
  std::string host;  // name or address, as typed
  net::Endpoint endpoint;
  bool local = false;  // an address of this machine
};

// "HOST", "HOST:PORT", "[ADDRESS]:PORT", or a bare IPv6 address; pure.
struct HostPort {
  std::string host;  // not empty; brackets taken off
  std::uint16_t port = 0;
};
Result<HostPort> parse_host_port(std::string_view text, std::uint16_t default_port);

// Resolves, and refuses an address that is not of this machine unless own_server says that it is
// the user's to load.
Result<LoadTarget> find_target(std::string_view text, std::uint16_t default_port, bool own_server);
Result<LoadTarget> find_target(const HostPort& where, bool own_server);

}  // namespace timeball::bench
