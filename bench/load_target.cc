#include "bench/load_target.h"

#include <netdb.h>
#include <spdlog/fmt/fmt.h>

#include <charconv>
#include <memory>

#include "bench/local_addresses.h"
#include "common/base/printable.h"

namespace timeball::bench {
namespace {

Result<net::Endpoint> resolve(const HostPort& where) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;  // one entry for an address
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error =
      ::getaddrinfo(where.host.c_str(), std::to_string(where.port).c_str(), &hints, &list);
  if (error != 0) {
    return fail("the name \"" + printable(where.host) +
                "\" does not resolve: " + ::gai_strerror(error) +
                "; check the spelling and this machine's DNS, or give an IP address");
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(list, &::freeaddrinfo);
  return net::Endpoint::from_sockaddr(list->ai_addr);
}

}  // namespace

Result<HostPort> parse_host_port(std::string_view text, std::uint16_t default_port) {
  const auto bad = [&](std::string_view why) {
    return fail(fmt::format(
        "\"{}\" is no target: {}; write NAME, NAME:PORT, 192.0.2.1:PORT or [2001:db8::1]:PORT",
        printable(text), why));
  };
  std::string_view host = text;
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return bad("the bracket is not closed");
    host = text.substr(1, end - 1);
    port = text.substr(end + 1);
  } else if (const std::size_t colon = text.find(':');
             colon != std::string_view::npos && colon == text.rfind(':')) {
    host = text.substr(0, colon);
    port = text.substr(colon);
  }
  if (host.empty()) return bad("the host is missing");
  HostPort out{std::string(host), default_port};
  if (port.empty()) return out;
  const char* const end = port.data() + port.size();
  const auto [stop, error] = std::from_chars(port.data() + 1, end, out.port);
  if (port[0] != ':' || error != std::errc{} || stop != end || out.port == 0)
    return bad("the port must be a number from 1 to 65535");
  return out;
}

Result<LoadTarget> find_target(const HostPort& where, bool own_server) {
  const auto endpoint = resolve(where);
  if (!endpoint) return tl::unexpected(endpoint.error());
  const bool local = LocalAddresses::read().contains(endpoint->address);
  if (!local && !own_server) {
    return fail(endpoint->address.to_string() +
                " is not an address of this machine, and a load can take a server away from its "
                "clients: aim it at your own; if this one is yours, say --i-own-this-server");
  }
  return LoadTarget{where.host, *endpoint, local};
}

Result<LoadTarget> find_target(std::string_view text, std::uint16_t default_port, bool own_server) {
  const auto where = parse_host_port(text, default_port);
  if (!where) return tl::unexpected(where.error());
  return find_target(*where, own_server);
}

}  // namespace timeball::bench
