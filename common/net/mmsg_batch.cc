// recvmmsg and sendmmsg. Slot i receives into requests_[i] and replies from replies_[i].
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "common/net/udp_backends.h"
#include "common/net/udp_message.h"

namespace timeball::net {
namespace {

struct RequestSlot {
  std::array<std::uint8_t, kMaxDatagram> octets;
  sockaddr_in6 source;  // longer than sockaddr_in
  alignas(cmsghdr) std::array<std::uint8_t, kControlRoom> control;
  iovec vector;
};

class MmsgBatch final : public UdpBatch {
 public:
  explicit MmsgBatch(int socket) : socket_(socket) {
    for (std::size_t i = 0; i < kBatchCapacity; ++i) {
      RequestSlot& slot = requests_[i];
      slot.vector = {slot.octets.data(), slot.octets.size()};
      msghdr& header = incoming_[i].msg_hdr;
      header.msg_name = &slot.source;
      header.msg_iov = &slot.vector;
      header.msg_iovlen = 1;
      header.msg_control = slot.control.data();
    }
  }
  ~MmsgBatch() override { close(socket_); }
  MmsgBatch(const MmsgBatch&) = delete;
  MmsgBatch& operator=(const MmsgBatch&) = delete;

  int wait_handle() const override { return socket_; }
  std::span<Datagram> receive() override;
  void send(std::span<const Datagram> part) override;
  const UdpCounters& counters() const override { return counters_; }

 private:
  void transmit(std::span<mmsghdr> replies);

  int socket_;
  UdpCounters counters_;
  std::array<mmsghdr, kBatchCapacity> incoming_{};
  std::array<mmsghdr, kBatchCapacity> outgoing_{};
  std::array<Datagram, kBatchCapacity> datagrams_;
  std::array<RequestSlot, kBatchCapacity> requests_;
  std::array<ReplySlot, kBatchCapacity> replies_;
};

std::span<Datagram> MmsgBatch::receive() {
  for (mmsghdr& m : incoming_) {
    m.msg_hdr.msg_namelen = sizeof(RequestSlot::source);
    m.msg_hdr.msg_controllen = kControlRoom;
  }
  const int taken = recvmmsg(socket_, incoming_.data(), kBatchCapacity, MSG_DONTWAIT, nullptr);
  if (taken < 0 && errno != EAGAIN && errno != EINTR) ++counters_.receive_errors;

  std::size_t count = 0;
  for (std::uint32_t i = 0; static_cast<int>(i) < taken; ++i) {
    Datagram& datagram = datagrams_[count];
    datagram.slot = i;
    mmsghdr& m = incoming_[i];
    if (replies_[i].accept(m.msg_hdr, m.msg_len, datagram, counters_)) ++count;
  }
  return std::span(datagrams_).first(count);
}

void MmsgBatch::send(std::span<const Datagram> part) {
  std::size_t count = 0;
  for (const Datagram& d : part) {
    if (d.reply_length == 0) continue;
    outgoing_[count++].msg_hdr = *replies_[d.slot].reply_header(d);
  }
  transmit(std::span(outgoing_).first(count));
}

// sendmmsg stops before the first reply the kernel refuses, and fails when that is the first of
// all: that one is dropped.
void MmsgBatch::transmit(std::span<mmsghdr> replies) {
  while (!replies.empty()) {
    const int taken =
        sendmmsg(socket_, replies.data(), static_cast<unsigned>(replies.size()), MSG_DONTWAIT);
    if (taken > 0) {
      counters_.sent += static_cast<unsigned>(taken);
      replies = replies.subspan(static_cast<unsigned>(taken));
    } else {
      ++counters_.send_refused;
      replies = replies.subspan(1);
    }
  }
}

}  // namespace

std::unique_ptr<UdpBatch> make_mmsg_batch(int socket) {
  return std::make_unique<MmsgBatch>(socket);
}

}  // namespace timeball::net
