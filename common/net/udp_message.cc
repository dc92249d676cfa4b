#include "common/net/udp_message.h"

#include <cassert>
#include <optional>

namespace timeball::net {
namespace {

KernelTime read_clock() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return to_kernel_time(now);
}

template <class T>
void put_control(std::uint8_t* at, int level, int type, const T& value) {
  const cmsghdr head{CMSG_LEN(sizeof value), level, type};
  std::memcpy(at, &head, sizeof head);
  std::memcpy(at + CMSG_LEN(0), &value, sizeof value);
}

IpAddress to_address(const in6_addr& address) {
  IpAddress out;
  std::memcpy(out.octets.data(), &address, sizeof address);
  return out;
}

}  // namespace

struct OutgoingSlot::Control {
  std::optional<KernelTime> receive_time;
  IpAddress local;
  bool unicast = true;
};

OutgoingSlot::OutgoingSlot() {
  control_.fill(0);
  header_.msg_iov = &vector_;
  header_.msg_iovlen = 1;
}

bool OutgoingSlot::accept(msghdr& message, std::size_t length, Datagram& out,
                          UdpCounters& counters) {
  if ((message.msg_flags & MSG_TRUNC) != 0) {
    ++counters.truncated;
    return false;
  }
  const Control control = read_control(message);
  out.peer = Endpoint::from_sockaddr(static_cast<const sockaddr*>(message.msg_name));
  if (out.peer.port == 0 || !control.unicast) {
    ++counters.unanswerable;
    return false;
  }
  composed_ = false;
  header_.msg_name = message.msg_name;
  header_.msg_namelen = message.msg_namelen;
  out.local = control.local;
  out.request = {static_cast<const std::uint8_t*>(message.msg_iov->iov_base), length};
  out.reply_room = {octets_.data(), length};
  out.reply_length = 0;
  out.want_transmit_time = false;
  out.kernel_timestamp = control.receive_time.has_value();
  out.receive_time = out.kernel_timestamp ? *control.receive_time : read_clock();
  ++counters.received;
  return true;
}

void OutgoingSlot::compose(Datagram& out) {
  composed_ = true;
  out.request = {};
  out.reply_room = octets_;
  out.reply_length = 0;
  out.peer = {};
  out.local = {};
  out.want_transmit_time = false;
}

msghdr* OutgoingSlot::header(const Datagram& datagram) {
  assert(datagram.reply_length <= datagram.reply_room.size());
  if (composed_) address(datagram);
  vector_ = {octets_.data(), datagram.reply_length};
  std::size_t length = packet_info_length_;
  if (datagram.want_transmit_time) {
    put_control(&control_[length], SOL_SOCKET, SO_TIMESTAMPING, kStampThis);
    length += CMSG_SPACE(sizeof kStampThis);
  }
  header_.msg_control = length == 0 ? nullptr : control_.data();
  header_.msg_controllen = length;
  return &header_;
}

void OutgoingSlot::address(const Datagram& datagram) {
  header_.msg_name = &peer_;
  header_.msg_namelen = datagram.peer.to_sockaddr(peer_);
  packet_info_length_ = 0;
  if (datagram.local.is_unspecified()) return;
  const std::uint8_t* const octets = datagram.local.octets.data();
  if (datagram.local.is_v4()) {
    in_pktinfo info{};
    std::memcpy(&info.ipi_spec_dst, octets + kV4Offset, sizeof info.ipi_spec_dst);
    set_packet_info(IPPROTO_IP, IP_PKTINFO, info);
  } else {
    in6_pktinfo info{};
    std::memcpy(&info.ipi6_addr, octets, sizeof info.ipi6_addr);
    set_packet_info(IPPROTO_IPV6, IPV6_PKTINFO, info);
  }
}

// The reply's interface is left to the routing table, except where the address means nothing
// without it.
OutgoingSlot::Control OutgoingSlot::read_control(msghdr& message) {
  Control found;
  packet_info_length_ = 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (is(*c, SOL_SOCKET, SCM_TIMESTAMPING)) {
      found.receive_time = to_kernel_time(load<scm_timestamping>(*c).ts[0]);
    } else if (is(*c, IPPROTO_IP, IP_PKTINFO)) {
      auto info = load<in_pktinfo>(*c);
      // ipi_spec_dst differs from the header's destination just when that is no unicast address.
      found.unicast = info.ipi_addr.s_addr == info.ipi_spec_dst.s_addr;
      found.local = IpAddress::from_v4(ntohl(info.ipi_addr.s_addr));
      info.ipi_ifindex = 0;
      set_packet_info(IPPROTO_IP, IP_PKTINFO, info);
    } else if (is(*c, IPPROTO_IPV6, IPV6_PKTINFO)) {
      auto info = load<in6_pktinfo>(*c);
      found.unicast = !IN6_IS_ADDR_MULTICAST(&info.ipi6_addr);
      found.local = to_address(info.ipi6_addr);
      if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) info.ipi6_ifindex = 0;
      set_packet_info(IPPROTO_IPV6, IPV6_PKTINFO, info);
    }
  }
  return found;
}

template <class PacketInfo>
void OutgoingSlot::set_packet_info(int level, int type, const PacketInfo& info) {
  put_control(control_.data(), level, type, info);
  packet_info_length_ = CMSG_SPACE(sizeof info);
}

}  // namespace timeball::net
