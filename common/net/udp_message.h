// What the back ends over kernel sockets share: taking in a received message, and the message to be
// sent: a reply that leaves from the address that was asked, or one the owner composed. Internal to
// common/net; the thread rules are the batch's.
#pragma once

#include <ctime>  // before linux/errqueue.h, which needs it

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "common/base/bytes.h"
#include "common/net/udp_batch.h"

namespace timeball::net {

// SO_TIMESTAMPING of every socket: arrivals are stamped; of what is sent, just the messages that
// ask (kStampThis), told by number and without their octets.
inline constexpr std::uint32_t kTimestamping = SOF_TIMESTAMPING_RX_SOFTWARE |
                                               SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_ID |
                                               SOF_TIMESTAMPING_OPT_TSONLY;
inline constexpr std::uint32_t kStampThis = SOF_TIMESTAMPING_TX_SOFTWARE;

// Control room of a received message: its timestamp and packet information of either family.
inline constexpr std::size_t kControlRoom =
    CMSG_SPACE(sizeof(scm_timestamping)) + CMSG_SPACE(sizeof(in6_pktinfo));

template <class T>
T load(const cmsghdr& message) {
  T value;
  std::memcpy(&value, CMSG_DATA(&message), sizeof value);
  return value;
}

inline bool is(const cmsghdr& message, int level, int type) {
  return message.cmsg_level == level && message.cmsg_type == type;
}

inline KernelTime to_kernel_time(const timespec& t) {
  return KernelTime{std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec};
}

// The octets of one message to be sent, and its header. Never moved: the header points into it.
class OutgoingSlot {
 public:
  OutgoingSlot();
  OutgoingSlot(const OutgoingSlot&) = delete;
  OutgoingSlot& operator=(const OutgoingSlot&) = delete;

  // Makes `out` of a received message of `length` octets, and addresses the reply. False: dropped
  // and counted. The message's octets and msg_name must live until the reply has been sent.
  bool accept(msghdr& message, std::size_t length, Datagram& out, UdpCounters& counters);
  // Makes `out` a datagram of the owner's own, still to be addressed.
  void compose(Datagram& out);
  // The header that sends `datagram`, which accept() or compose() made. Until the next of either.
  msghdr* header(const Datagram& datagram);

 private:
  struct Control;
  Control read_control(msghdr& message);
  void address(const Datagram& datagram);
  template <class PacketInfo>
  void set_packet_info(int level, int type, const PacketInfo& info);

  std::array<std::uint8_t, kMaxDatagram> octets_;
  // Packet information, if any, then the wish for a transmit time.
  alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(sizeof(in6_pktinfo)) +
                                                CMSG_SPACE(sizeof kStampThis)> control_;
  std::size_t packet_info_length_ = 0;  // of control_
  bool composed_ = false;
  sockaddr_storage peer_;  // when composed
  iovec vector_{};
  msghdr header_{};
};

}  // namespace timeball::net
