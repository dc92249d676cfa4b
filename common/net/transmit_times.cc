#include "common/net/transmit_times.h"

#include <sys/socket.h>

#include <optional>

#include "common/net/udp_message.h"

namespace timeball::net {
namespace {

// Room for what an error queue's message carries: the timestamp, and the extended error with the
// address of an offender.
constexpr std::size_t kErrorControlRoom =
    CMSG_SPACE(sizeof(scm_timestamping)) +
    CMSG_SPACE(sizeof(sock_extended_err) + sizeof(sockaddr_in6)) + kControlRoom;

}  // namespace

void TransmitTimes::expect(std::uint32_t key) {
  keys_[next_ % keys_.size()] = key;
  ++next_;
}

void TransmitTimes::sent(bool any_refused) {
  if (next_ == part_) return;
  if (any_refused) {
    restart();
  } else {
    collect();
  }
  part_ = next_;
}

// Whether a refused message took a number depends on why it was refused: what was sent with it
// cannot be told apart, and numbering starts anew.
void TransmitTimes::restart() {
  next_ = part_;
  while (read_one()) {
  }
  for (const std::uint32_t flags : {kTimestamping & ~SOF_TIMESTAMPING_OPT_ID, kTimestamping}) {
    setsockopt(socket_, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags);
  }
  next_ = told_ = 0;
}

void TransmitTimes::collect() {
  while (told_ != next_ && read_one()) {
  }
}

bool TransmitTimes::read_one() {
  alignas(cmsghdr) std::array<std::uint8_t, kErrorControlRoom> control;
  msghdr message{};
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (recvmsg(socket_, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return false;

  std::optional<KernelTime> time;
  std::optional<std::uint32_t> number;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (is(*c, SOL_SOCKET, SCM_TIMESTAMPING)) {
      time = to_kernel_time(load<scm_timestamping>(*c).ts[0]);
    } else if (is(*c, IPPROTO_IP, IP_RECVERR) || is(*c, IPPROTO_IPV6, IPV6_RECVERR)) {
      const auto error = load<sock_extended_err>(*c);
      if (error.ee_origin == SO_EE_ORIGIN_TIMESTAMPING) number = error.ee_data;
    }
  }
  if (!time || !number || next_ - *number - 1 >= keys_.size()) return true;
  told_ = *number + 1;
  if (taken_) count_ = 0;
  taken_ = false;
  if (count_ < times_.size()) times_[count_++] = {keys_[*number % keys_.size()], *time};
  return true;
}

std::span<const TransmitTime> TransmitTimes::take() {
  if (taken_) return {};
  taken_ = true;
  return std::span(times_).first(count_);
}

}  // namespace timeball::net
