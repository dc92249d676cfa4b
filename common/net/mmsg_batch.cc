// recvmmsg and sendmmsg. Slot i receives into requests_[i] and sends from outgoing_[i].
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "common/net/transmit_times.h"
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
  explicit MmsgBatch(int socket) : socket_(socket), transmit_times_(socket) {
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
  std::span<Datagram> compose(std::size_t count) override;
  void send(std::span<const Datagram> part) override;
  std::span<const TransmitTime> transmit_times() override { return transmit_times_.take(); }
  const UdpCounters& counters() const override { return counters_; }

 private:
  bool transmit(std::span<mmsghdr> messages);

  int socket_;
  UdpCounters counters_;
  TransmitTimes transmit_times_;
  std::array<mmsghdr, kBatchCapacity> incoming_{};
  std::array<mmsghdr, kBatchCapacity> messages_{};  // to be sent
  std::array<Datagram, kBatchCapacity> datagrams_;
  std::array<RequestSlot, kBatchCapacity> requests_;
  std::array<OutgoingSlot, kBatchCapacity> outgoing_;
};

std::span<Datagram> MmsgBatch::receive() {
  for (mmsghdr& m : incoming_) {
    m.msg_hdr.msg_namelen = sizeof(RequestSlot::source);
    m.msg_hdr.msg_controllen = kControlRoom;
  }
  const int taken = recvmmsg(socket_, incoming_.data(), kBatchCapacity, MSG_DONTWAIT, nullptr);
  if (taken < 0 && errno != EAGAIN && errno != EINTR) ++counters_.receive_errors;
  if (taken < 0) transmit_times_.collect();

  std::size_t count = 0;
  for (std::uint32_t i = 0; static_cast<int>(i) < taken; ++i) {
    Datagram& datagram = datagrams_[count];
    datagram.slot = i;
    mmsghdr& m = incoming_[i];
    if (outgoing_[i].accept(m.msg_hdr, m.msg_len, datagram, counters_)) ++count;
  }
  return std::span(datagrams_).first(count);
}

std::span<Datagram> MmsgBatch::compose(std::size_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    datagrams_[i].slot = i;
    outgoing_[i].compose(datagrams_[i]);
  }
  return std::span(datagrams_).first(count);
}

void MmsgBatch::send(std::span<const Datagram> part) {
  std::size_t count = 0;
  for (const Datagram& d : part) {
    if (d.reply_length == 0) continue;
    messages_[count++].msg_hdr = *outgoing_[d.slot].header(d);
    if (d.want_transmit_time) transmit_times_.expect(d.transmit_key);
  }
  const bool all = transmit(std::span(messages_).first(count));
  transmit_times_.sent(!all);
}

// sendmmsg stops before the first message the kernel refuses, and fails when that is the first of
// all: that one is dropped. Returns whether none was.
bool MmsgBatch::transmit(std::span<mmsghdr> messages) {
  bool all = true;
  while (!messages.empty()) {
    const int taken =
        sendmmsg(socket_, messages.data(), static_cast<unsigned>(messages.size()), MSG_DONTWAIT);
    if (taken > 0) {
      counters_.sent += static_cast<unsigned>(taken);
      messages = messages.subspan(static_cast<unsigned>(taken));
    } else {
      all = false;
      ++counters_.send_refused;
      messages = messages.subspan(1);
    }
  }
  return all;
}

}  // namespace

std::unique_ptr<UdpBatch> make_mmsg_batch(int socket) {
  return std::make_unique<MmsgBatch>(socket);
}

}  // namespace timeball::net
