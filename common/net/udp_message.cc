#include "common/net/udp_message.h"

#include <cassert>
#include <cstring>
#include <optional>

namespace timeball::net {
namespace {

template <class T>
T load(const cmsghdr& message) {
  T value;
  std::memcpy(&value, CMSG_DATA(&message), sizeof value);
  return value;
}

bool is(const cmsghdr& message, int level, int type) {
  return message.cmsg_level == level && message.cmsg_type == type;
}

KernelTime to_kernel_time(const timespec& t) {
  return KernelTime{std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec};
}

KernelTime read_clock() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return to_kernel_time(now);
}

}  // namespace

struct ReplySlot::Control {
  std::optional<KernelTime> receive_time;
  bool unicast = true;
};

ReplySlot::ReplySlot() {
  control_.fill(0);
  header_.msg_iov = &vector_;
  header_.msg_iovlen = 1;
}

bool ReplySlot::accept(msghdr& message, std::size_t length, Datagram& out, UdpCounters& counters) {
  if ((message.msg_flags & MSG_TRUNC) != 0) {
    ++counters.truncated;
    return false;
  }
  const Control control = read_control(message);
  out.source = Endpoint::from_sockaddr(static_cast<const sockaddr*>(message.msg_name));
  if (out.source.port == 0 || !control.unicast) {
    ++counters.unanswerable;
    return false;
  }
  header_.msg_name = message.msg_name;
  header_.msg_namelen = message.msg_namelen;
  out.request = {static_cast<const std::uint8_t*>(message.msg_iov->iov_base), length};
  out.reply_room = {octets_.data(), length};
  out.reply_length = 0;
  out.kernel_timestamp = control.receive_time.has_value();
  out.receive_time = out.kernel_timestamp ? *control.receive_time : read_clock();
  ++counters.received;
  return true;
}

msghdr* ReplySlot::reply_header(const Datagram& request) {
  assert(request.reply_length <= request.reply_room.size());
  vector_ = {octets_.data(), request.reply_length};
  return &header_;
}

// The reply's interface is left to the routing table, except where the address means nothing
// without it.
ReplySlot::Control ReplySlot::read_control(msghdr& message) {
  Control found;
  header_.msg_control = nullptr;
  header_.msg_controllen = 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (is(*c, SOL_SOCKET, SCM_TIMESTAMPNS)) {
      found.receive_time = to_kernel_time(load<timespec>(*c));
    } else if (is(*c, IPPROTO_IP, IP_PKTINFO)) {
      auto info = load<in_pktinfo>(*c);
      // ipi_spec_dst differs from the header's destination just when that is no unicast address.
      found.unicast = info.ipi_addr.s_addr == info.ipi_spec_dst.s_addr;
      info.ipi_ifindex = 0;
      set_control(IPPROTO_IP, IP_PKTINFO, info);
    } else if (is(*c, IPPROTO_IPV6, IPV6_PKTINFO)) {
      auto info = load<in6_pktinfo>(*c);
      found.unicast = !IN6_IS_ADDR_MULTICAST(&info.ipi6_addr);
      if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) info.ipi6_ifindex = 0;
      set_control(IPPROTO_IPV6, IPV6_PKTINFO, info);
    }
  }
  return found;
}

template <class PacketInfo>
void ReplySlot::set_control(int level, int type, const PacketInfo& info) {
  header_.msg_control = control_.data();
  header_.msg_controllen = CMSG_SPACE(sizeof info);
  cmsghdr* const c = CMSG_FIRSTHDR(&header_);
  c->cmsg_level = level;
  c->cmsg_type = type;
  c->cmsg_len = CMSG_LEN(sizeof info);
  std::memcpy(CMSG_DATA(c), &info, sizeof info);
}

}  // namespace timeball::net
