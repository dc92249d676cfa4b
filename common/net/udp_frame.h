// Ethernet frames that carry one UDP datagram, as AF_XDP hands them over and takes them: IPv4
// without options or fragments (RFC 791), IPv6 without extension headers (RFC 8200), UDP (RFC 768).
// Pure; any thread. Nothing is read or written past the octets given.
#pragma once

#include <array>
#include <cstdint>

#include "common/base/bytes.h"
#include "common/net/address.h"

namespace timeball::net {

using MacAddress = std::array<std::uint8_t, 6>;

// Who talks to whom.
struct UdpFlow {
  MacAddress peer_mac{};
  MacAddress local_mac{};
  Endpoint peer;  // scope: left 0
  Endpoint local;
};

enum class FrameFault : std::uint8_t {
  kNone,
  kMalformed,    // not such a frame, or lengths that contradict each other
  kBadChecksum,  // of the IPv4 header, or of UDP
};

// Takes a frame that came from the peer apart. The payload lies in the frame; link-layer padding
// after it is left out. On a fault `flow` and `payload` mean nothing.
FrameFault parse_udp_frame(Bytes frame, UdpFlow& flow, Bytes& payload);

// Room for the headers of either family, before a payload.
inline constexpr std::size_t kMaxFrameHeaders = 14 + 40 + 8;

// Makes a frame, from the local end to the peer, of the payload in `room`, which stands after
// kMaxFrameHeaders octets: writes the headers right before it, with checksums, and returns the
// frame. The payload has at most 65,000 octets; both ends are of one family.
MutableBytes write_udp_frame(const UdpFlow& flow, MutableBytes room);

}  // namespace timeball::net
