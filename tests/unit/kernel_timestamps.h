// The kernel begins to stamp arrivals a moment after the first socket has asked for it (it patches
// its own code, from a work queue). Tests that want every stamp wait for that moment first.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <ctime>
#include <tuple>

namespace timeball {

// True once arrivals are stamped; they stay so until the program ends.
inline bool await_kernel_timestamps() {
  static const bool stamped = [] {
    const int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);  // stays open, and the stamps on
    const int one = 1;
    setsockopt(s, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* const self = reinterpret_cast<sockaddr*>(&address);
    if (bind(s, self, length) != 0 || getsockname(s, self, &length) != 0) return false;
    for (int i = 0; i < 1000; ++i) {
      timespec sent{}, stamp{};
      sendto(s, "x", 1, 0, self, length);
      clock_gettime(CLOCK_REALTIME, &sent);
      usleep(1000);
      std::array<char, CMSG_SPACE(sizeof stamp)> control;
      char octet = 0;
      iovec part{&octet, 1};
      msghdr message{nullptr, 0, &part, 1, control.data(), control.size(), 0};
      if (recvmsg(s, &message, 0) != 1) return false;
      // For want of a stamp SO_TIMESTAMPNS gives the time of reading.
      if (message.msg_controllen == 0) continue;
      std::memcpy(&stamp, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof stamp);
      if (std::tie(stamp.tv_sec, stamp.tv_nsec) <= std::tie(sent.tv_sec, sent.tv_nsec)) return true;
    }
    return false;
  }();
  return stamped;
}

}  // namespace timeball
