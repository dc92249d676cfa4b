#include "common/net/udp_frame.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <initializer_list>

namespace timeball::net {
namespace {

constexpr std::uint16_t kEtherIpv4 = 0x0800;
constexpr std::uint16_t kEtherIpv6 = 0x86dd;
constexpr std::size_t kEthernet = 14;
constexpr std::size_t kIpv4 = 20;
constexpr std::size_t kIpv6 = 40;
constexpr std::size_t kUdp = 8;
constexpr std::uint8_t kProtocolUdp = 17;
constexpr std::uint8_t kTtl = 64;
constexpr std::uint16_t kDontFragment = 0x4000;

// The Internet checksum (RFC 1071) under way: a sum of 16-bit words as they lie in memory. Every
// piece but the last has an even length.
class Checksum {
 public:
  void add(Bytes octets) {
    constexpr std::size_t kWord = sizeof(std::uint32_t);
    const std::size_t whole = octets.size() / kWord * kWord;
    std::uint64_t sum = 0;
    // A compiler makes this loop one of vectors.
    for (std::size_t i = 0; i < whole; i += kWord) {
      std::uint32_t word = 0;
      std::memcpy(&word, octets.data() + i, kWord);
      sum += word;
    }
    std::uint32_t rest = 0;
    if (whole < octets.size()) std::memcpy(&rest, octets.data() + whole, octets.size() - whole);
    sum_ += sum + rest;
  }
  void add(std::uint16_t value) {
    std::uint16_t word = 0;
    store_be16(reinterpret_cast<std::uint8_t*>(&word), value);
    sum_ += word;
  }
  // Writes a header's words and adds them: to read them back right then would wait for the stores.
  // Returns where they end.
  std::uint8_t* put(std::initializer_list<std::uint16_t> words, std::uint8_t* at) {
    for (const std::uint16_t word : words) {
      add(word);
      store_be16(at, word);
      at += 2;
    }
    return at;
  }
  // The pseudo-header's last words (RFC 768, RFC 8200 section 8.1), the addresses having been
  // added.
  void add_udp(std::size_t length) {
    add(std::uint16_t{kProtocolUdp});
    add(static_cast<std::uint16_t>(length));
  }
  // Of octets that hold their own checksum: 0 when it is right.
  std::uint16_t complement() const {
    std::uint64_t folded = sum_;
    while (folded >> 16 != 0) folded = (folded & 0xffff) + (folded >> 16);
    return static_cast<std::uint16_t>(~folded);
  }
  // As it is stored in the header.
  void store(std::uint8_t* at) const {
    const std::uint16_t value = complement();
    std::memcpy(at, &value, sizeof value);
  }

 private:
  std::uint64_t sum_ = 0;  // of 32-bit words of at most 64 KiB: never full
};

IpAddress ipv4_at(const std::uint8_t* p) {
  return IpAddress::from_v4(load_be32(p));
}

IpAddress ipv6_at(const std::uint8_t* p) {
  IpAddress address;
  std::copy_n(p, address.octets.size(), address.octets.begin());
  return address;
}

// As it stands in an IP header.
Bytes in_header(const IpAddress& address, bool v4) {
  return Bytes(address.octets).subspan(v4 ? kV4Offset : 0);
}

// `ip` begins with the header. Returns what follows it, empty on a fault.
Bytes open_ipv4(Bytes ip, UdpFlow& flow, FrameFault& fault) {
  fault = FrameFault::kMalformed;
  if (ip.size() < kIpv4 + kUdp || ip[0] != 0x45 || ip[9] != kProtocolUdp) return {};
  const std::size_t length = load_be16(&ip[2]);
  const bool fragment = (load_be16(&ip[6]) & ~kDontFragment) != 0;
  if (fragment || length < kIpv4 + kUdp || length > ip.size()) return {};
  Checksum sum;
  sum.add(ip.first(kIpv4));
  fault = sum.complement() == 0 ? FrameFault::kNone : FrameFault::kBadChecksum;
  if (fault != FrameFault::kNone) return {};
  flow.peer.address = ipv4_at(&ip[12]);
  flow.local.address = ipv4_at(&ip[16]);
  return ip.subspan(kIpv4, length - kIpv4);
}

Bytes open_ipv6(Bytes ip, UdpFlow& flow, FrameFault& fault) {
  fault = FrameFault::kMalformed;
  if (ip.size() < kIpv6 + kUdp || ip[0] >> 4 != 6 || ip[6] != kProtocolUdp) return {};
  const std::size_t length = load_be16(&ip[4]);
  if (length < kUdp || length > ip.size() - kIpv6) return {};
  flow.peer.address = ipv6_at(&ip[8]);
  flow.local.address = ipv6_at(&ip[24]);
  // Addresses of the other family in disguise would be told as that.
  if (flow.peer.address.is_v4() || flow.local.address.is_v4()) return {};
  fault = FrameFault::kNone;
  return ip.subspan(kIpv6, length);
}

// `addresses`: both, as they stand in the IP header.
FrameFault open_udp(Bytes udp, Bytes addresses, UdpFlow& flow, Bytes& payload) {
  const bool v4 = addresses.size() == 8;
  const std::size_t length = load_be16(&udp[4]);
  if (length < kUdp || length > udp.size()) return FrameFault::kMalformed;
  const bool unchecked = load_be16(&udp[6]) == 0;
  if (unchecked && !v4) return FrameFault::kBadChecksum;  // RFC 8200 section 8.1
  if (!unchecked) {
    Checksum sum;
    sum.add(addresses);
    sum.add_udp(length);
    sum.add(udp.first(length));
    if (sum.complement() != 0) return FrameFault::kBadChecksum;
  }
  flow.peer.port = load_be16(&udp[0]);
  flow.local.port = load_be16(&udp[2]);
  payload = udp.subspan(kUdp, length - kUdp);
  return FrameFault::kNone;
}

void put_ipv4(const UdpFlow& flow, std::size_t length, std::uint8_t* ip) {
  const Bytes from = in_header(flow.local.address, true);
  const Bytes to = in_header(flow.peer.address, true);
  Checksum sum;
  sum.add(from);
  sum.add(to);
  ip = sum.put({0x4500,  // version 4, five words, no traffic class
                static_cast<std::uint16_t>(kIpv4 + length),
                0,  // identification: none is needed, nothing fragments it (RFC 6864)
                kDontFragment, kTtl << 8 | kProtocolUdp},
               ip);
  sum.store(ip);
  std::ranges::copy(from, ip + 2);
  std::ranges::copy(to, ip + 6);
}

void put_ipv6(const UdpFlow& flow, std::size_t length, std::uint8_t* ip) {
  ByteWriter out({ip, kIpv6});
  out.u32(0x60000000);
  out.u16(static_cast<std::uint16_t>(length));
  out.u8(kProtocolUdp);
  out.u8(kTtl);
  out.put(flow.local.address.octets);
  out.put(flow.peer.address.octets);
}

}  // namespace

FrameFault parse_udp_frame(Bytes frame, UdpFlow& flow, Bytes& payload) {
  if (frame.size() < kEthernet) return FrameFault::kMalformed;
  std::copy_n(frame.begin(), 6, flow.local_mac.begin());
  std::copy_n(frame.begin() + 6, 6, flow.peer_mac.begin());
  const std::uint16_t type = load_be16(&frame[12]);
  const Bytes ip = frame.subspan(kEthernet);
  FrameFault fault = FrameFault::kMalformed;
  Bytes udp;
  if (type == kEtherIpv4) udp = open_ipv4(ip, flow, fault);
  if (type == kEtherIpv6) udp = open_ipv6(ip, flow, fault);
  if (fault != FrameFault::kNone) return fault;
  const Bytes addresses = type == kEtherIpv4 ? ip.subspan(12, 8) : ip.subspan(8, 32);
  return open_udp(udp, addresses, flow, payload);
}

MutableBytes write_udp_frame(const UdpFlow& flow, MutableBytes room) {
  assert(room.size() >= kMaxFrameHeaders && room.size() <= kMaxFrameHeaders + 65'000);
  const bool v4 = flow.peer.address.is_v4();
  const std::size_t ip_length = v4 ? kIpv4 : kIpv6;
  const MutableBytes frame = room.subspan(kMaxFrameHeaders - kEthernet - ip_length - kUdp);
  std::uint8_t* const ip = frame.data() + kEthernet;
  std::uint8_t* const udp = ip + ip_length;
  const std::size_t length = frame.size() - kEthernet - ip_length;

  std::copy_n(flow.peer_mac.begin(), 6, frame.begin());
  std::copy_n(flow.local_mac.begin(), 6, frame.begin() + 6);
  store_be16(&frame[12], v4 ? kEtherIpv4 : kEtherIpv6);
  v4 ? put_ipv4(flow, length, ip) : put_ipv6(flow, length, ip);
  Checksum sum;
  sum.add(in_header(flow.local.address, v4));
  sum.add(in_header(flow.peer.address, v4));
  sum.add_udp(length);
  sum.put({flow.local.port, flow.peer.port, static_cast<std::uint16_t>(length)}, udp);
  sum.add({udp + kUdp, length - kUdp});
  sum.store(udp + 6);
  if (load_be16(udp + 6) == 0) store_be16(udp + 6, 0xffff);  // 0 says that there is none
  return frame;
}

}  // namespace timeball::net
