// The floor: every datagram goes back as it came, over the back ends the daemon uses, waiting as
// the daemon waits. What a server costs beyond this is its own.
#pragma once

#include <poll.h>

#include <algorithm>
#include <atomic>

#include "common/net/udp_batch.h"

namespace timeball::bench {

// Answers until `stop`, on the calling thread, which becomes the batch's owner.
inline void echo(net::UdpBatch& batch, const std::atomic<bool>& stop) {
  constexpr int kLook_ms = 50;                                  // for stop
  constexpr std::size_t kLikelyMore = net::kBatchCapacity / 4;  // as server/shard.cc
  while (!stop) {
    pollfd handle{batch.wait_handle(), POLLIN, 0};
    if (poll(&handle, 1, kLook_ms) != 1) continue;
    std::size_t count = 0;
    do {
      const auto got = batch.receive();
      count = got.size();
      for (net::Datagram& d : got) {
        std::ranges::copy(d.request, d.reply_room.begin());
        d.reply_length = d.request.size();
      }
      batch.send(got);
    } while (count >= kLikelyMore);
  }
}

}  // namespace timeball::bench
