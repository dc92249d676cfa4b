// IP addresses, prefixes and endpoints as plain values. IPv4 addresses are held IPv4-mapped
// (::ffff:a.b.c.d), so that prefixes of both families compare and mask alike. Any thread.
#pragma once

#include <sys/socket.h>

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/bytes.h"
#include "common/base/error.h"

namespace timeball::net {

inline constexpr std::size_t kV4Offset = 12;  // where a.b.c.d starts in ::ffff:a.b.c.d

struct IpAddress {
  std::array<std::uint8_t, 16> octets{};

  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;

  // "192.0.2.1" or "2001:db8::1"; no zone.
  static Result<IpAddress> parse(std::string_view text);
  static IpAddress from_v4(std::uint32_t host_order);
  bool is_v4() const;
  bool is_unspecified() const;
  // All but the first `bits` cleared; bits counts in the 128-bit form (an IPv4 /24 is 120).
  IpAddress masked(unsigned bits) const;
  std::string to_string() const;
};

struct IpPrefix {
  IpAddress address;  // masked
  unsigned bits = 0;  // in the 128-bit form

  friend auto operator<=>(const IpPrefix&, const IpPrefix&) = default;

  // "192.0.2.0/24", "2001:db8::/32", or a bare address. Host bits set are an error that names the
  // right prefix.
  static Result<IpPrefix> parse(std::string_view text);
  // An IPv6 prefix, however short, holds no IPv4 address: ::/0 is all of IPv6.
  bool contains(const IpAddress& a) const;
  std::string to_string() const;
};

struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;
  std::uint32_t scope = 0;  // interface index of a link-local IPv6 address

  friend auto operator<=>(const Endpoint&, const Endpoint&) = default;

  // "0.0.0.0:123", "[::]:123", "[fe80::1%eth0]:123"; the port is required and not 0.
  static Result<Endpoint> parse(std::string_view text);
  // A family other than AF_INET and AF_INET6 gives [::]:0.
  static Endpoint from_sockaddr(const sockaddr* address);
  // Returns the length used.
  socklen_t to_sockaddr(sockaddr_storage& out) const;
  int family() const { return address.is_v4() ? AF_INET : AF_INET6; }
  std::string to_string() const;
};

}  // namespace timeball::net
