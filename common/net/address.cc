#include "common/net/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

namespace timeball::net {
namespace {

constexpr unsigned kV4Bits = 96;  // bits before it

std::string quoted(std::string_view text) {
  return '"' + std::string(text) + '"';
}

bool looks_v6(std::string_view text) {
  return text.find(':') != std::string_view::npos;
}

// Decimal digits only, no sign, no space; nothing else around them.
std::optional<unsigned> parse_number(std::string_view text, unsigned max) {
  unsigned value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc{} || stop != end || value > max) return std::nullopt;
  return value;
}

// An interface's index from its name or its number; none when there is no such interface.
std::optional<std::uint32_t> parse_zone(std::string_view zone) {
  const std::string name(zone);
  if (const unsigned index = if_nametoindex(name.c_str()); index != 0) return index;
  const auto number = parse_number(zone, 0x7fffffff);
  if (!number || *number == 0) return std::nullopt;
  return number;
}

tl::unexpected<Error> bad_endpoint(std::string_view text, std::string_view why) {
  return fail(quoted(text) + " is not an address with a port: " + std::string(why) +
              "; write 192.0.2.1:123 or [2001:db8::1]:123");
}

}  // namespace

Result<IpAddress> IpAddress::parse(std::string_view text) {
  const std::string terminated(text);
  IpAddress address;
  const bool whole = terminated.size() == std::strlen(terminated.c_str());
  if (whole && looks_v6(text) &&
      inet_pton(AF_INET6, terminated.c_str(), address.octets.data()) == 1) {
    return address;
  }
  in_addr v4{};
  if (whole && inet_pton(AF_INET, terminated.c_str(), &v4) == 1) return from_v4(ntohl(v4.s_addr));
  return fail(quoted(text) +
              " is not an IP address; write four decimal numbers (192.0.2.1) or IPv6 hexadecimal "
              "groups (2001:db8::1), without a name, port or zone");
}

IpAddress IpAddress::from_v4(std::uint32_t host_order) {
  IpAddress address;
  address.octets[10] = 0xff;
  address.octets[11] = 0xff;
  store_be32(&address.octets[kV4Offset], host_order);
  return address;
}

bool IpAddress::is_v4() const {
  static constexpr std::array<std::uint8_t, kV4Offset> kMapped = {0, 0, 0, 0, 0,    0,
                                                                  0, 0, 0, 0, 0xff, 0xff};
  return std::equal(kMapped.begin(), kMapped.end(), octets.begin());
}

bool IpAddress::is_unspecified() const {
  return *this == IpAddress{} || *this == from_v4(0);
}

IpAddress IpAddress::masked(unsigned bits) const {
  if (bits >= 128) return *this;
  IpAddress out;
  const std::size_t whole = bits / 8;
  std::copy_n(octets.begin(), whole, out.octets.begin());
  const unsigned kept = 0xff00u >> (bits % 8);
  out.octets[whole] = static_cast<std::uint8_t>(octets[whole] & kept);
  return out;
}

std::string IpAddress::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (is_v4()) {
    inet_ntop(AF_INET, &octets[kV4Offset], text.data(), text.size());
  } else {
    inet_ntop(AF_INET6, octets.data(), text.data(), text.size());
  }
  return text.data();
}

Result<IpPrefix> IpPrefix::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  const std::string_view address_text = text.substr(0, slash);
  const auto address = IpAddress::parse(address_text);
  if (!address) return tl::unexpected(address.error());
  if (slash == std::string_view::npos) return IpPrefix{*address, 128};

  const unsigned offset = looks_v6(address_text) ? 0 : kV4Bits;
  const auto length = parse_number(text.substr(slash + 1), 128 - offset);
  if (!length) {
    return fail(quoted(text) + ": the prefix length must be a number from 0 to " +
                std::to_string(128 - offset));
  }
  const IpPrefix prefix{address->masked(offset + *length), offset + *length};
  if (prefix.address != *address) {
    return fail(quoted(text) + " has bits set beyond its prefix length; write " +
                prefix.to_string() + " for the network, or " + address->to_string() +
                " for the one address");
  }
  return prefix;
}

bool IpPrefix::contains(const IpAddress& a) const {
  return a.masked(bits) == address && a.is_v4() == address.is_v4();
}

std::string IpPrefix::to_string() const {
  const unsigned shown = address.is_v4() ? bits - kV4Bits : bits;
  return address.to_string() + '/' + std::to_string(shown);
}

Result<Endpoint> Endpoint::parse(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad_endpoint(text, "the port is missing");
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (bracketed != looks_v6(host)) {
    return bad_endpoint(text, bracketed ? "only IPv6 addresses stand in brackets"
                                        : "IPv6 addresses stand in brackets");
  }
  const auto port = parse_number(text.substr(colon + 1), 65535);
  if (!port || *port == 0) return bad_endpoint(text, "the port must be from 1 to 65535");

  Endpoint endpoint;
  endpoint.port = static_cast<std::uint16_t>(*port);
  if (const std::size_t percent = host.find('%'); percent != std::string_view::npos) {
    const auto scope = parse_zone(host.substr(percent + 1));
    if (!scope) return bad_endpoint(text, "no network interface has that name");
    endpoint.scope = *scope;
    host = host.substr(0, percent);
  }
  const auto address = IpAddress::parse(host);
  if (!address) return bad_endpoint(text, quoted(host) + " is not an IP address");
  endpoint.address = *address;
  return endpoint;
}

Endpoint Endpoint::from_sockaddr(const sockaddr* address) {
  Endpoint endpoint;
  if (address->sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, address, sizeof v4);
    endpoint.address = IpAddress::from_v4(ntohl(v4.sin_addr.s_addr));
    endpoint.port = ntohs(v4.sin_port);
  } else if (address->sa_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, address, sizeof v6);
    std::memcpy(endpoint.address.octets.data(), &v6.sin6_addr, sizeof v6.sin6_addr);
    endpoint.port = ntohs(v6.sin6_port);
    endpoint.scope = v6.sin6_scope_id;
  }
  return endpoint;
}

socklen_t Endpoint::to_sockaddr(sockaddr_storage& out) const {
  out = {};
  if (address.is_v4()) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&v4.sin_addr, &address.octets[kV4Offset], sizeof v4.sin_addr);
    std::memcpy(&out, &v4, sizeof v4);
    return sizeof v4;
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  v6.sin6_scope_id = scope;
  std::memcpy(&v6.sin6_addr, address.octets.data(), sizeof v6.sin6_addr);
  std::memcpy(&out, &v6, sizeof v6);
  return sizeof v6;
}

std::string Endpoint::to_string() const {
  const std::string suffix = ':' + std::to_string(port);
  if (address.is_v4()) return address.to_string() + suffix;
  const std::string zone = scope == 0 ? "" : '%' + std::to_string(scope);
  return '[' + address.to_string() + zone + ']' + suffix;
}

}  // namespace timeball::net
