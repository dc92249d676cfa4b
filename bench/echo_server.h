// The floor: every datagram goes back as it came, or as the least NTP reply there is, over the back
// ends the daemon uses, waiting as the daemon waits. What a server costs beyond this is its own.
#pragma once

#include <poll.h>

#include <atomic>
#include <cstring>

#include "common/base/bytes.h"
#include "common/net/udp_batch.h"
#include "common/ntp/packet.h"

namespace timeball::bench {

inline void copy_request(net::Datagram& d) {
  std::memmove(d.reply_room.data(), d.request.data(), d.request.size());  // over itself by AF_XDP
  d.reply_length = d.request.size();
}

// The least that an NTP client accepts: its request as a server's of stratum 1, with T2 for T3 too.
inline void answer_as_ntp(net::Datagram& d) {
  if (d.request.size() < ntp::kHeaderLength) return;
  copy_request(d);
  const NtpTimestamp now = NtpTimestamp::from_utc(UtcTime{d.receive_time.ns});
  ntp::Header header;
  header.mode = ntp::Mode::kServer;
  header.stratum = 1;
  header.origin = NtpTimestamp{load_be64(&d.request[ntp::kTransmitOffset])};
  header.receive = header.transmit = now;
  ntp::write_header(header, d.reply_room.first(ntp::kHeaderLength));
}

// Answers until `stop`, on the calling thread, which becomes the batch's owner.
inline void echo(net::UdpBatch& batch, const std::atomic<bool>& stop,
                 void (*answer)(net::Datagram&) = copy_request) {
  constexpr int kLook_ms = 50;                                  // for stop
  constexpr std::size_t kLikelyMore = net::kBatchCapacity / 4;  // as server/shard.cc
  while (!stop) {
    pollfd handle{batch.wait_handle(), POLLIN, 0};
    if (poll(&handle, 1, kLook_ms) != 1) continue;
    std::size_t count = 0;
    do {
      const auto got = batch.receive();
      count = got.size();
      for (net::Datagram& d : got) answer(d);
      batch.send(got);
    } while (count >= kLikelyMore);
  }
}

}  // namespace timeball::bench
