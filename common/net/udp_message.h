// What the back ends over kernel sockets share: taking in a received message, and the reply that
// leaves from the address that was asked. Internal to common/net; the thread rules are the batch's.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <ctime>

#include "common/base/bytes.h"
#include "common/net/udp_batch.h"

namespace timeball::net {

// Control room of a received message: its timestamp and packet information of either family.
inline constexpr std::size_t kControlRoom =
    CMSG_SPACE(sizeof(timespec)) + CMSG_SPACE(sizeof(in6_pktinfo));

// One reply's octets and the header to send it with. Never moved: the header points into it.
class ReplySlot {
 public:
  ReplySlot();
  ReplySlot(const ReplySlot&) = delete;
  ReplySlot& operator=(const ReplySlot&) = delete;

  // Makes `out` of a received message of `length` octets, and addresses the reply. False: dropped
  // and counted. The message's octets and msg_name must live until the reply has been sent.
  bool accept(msghdr& message, std::size_t length, Datagram& out, UdpCounters& counters);
  // The header that sends the reply to `request`, which accept() made. Until the next accept().
  msghdr* reply_header(const Datagram& request);

 private:
  struct Control;
  Control read_control(msghdr& message);
  template <class PacketInfo>
  void set_control(int level, int type, const PacketInfo& info);

  std::array<std::uint8_t, kMaxDatagram> octets_;
  alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(sizeof(in6_pktinfo))> control_;
  iovec vector_{};
  msghdr header_{};
};

}  // namespace timeball::net
