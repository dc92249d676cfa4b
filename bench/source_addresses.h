// The addresses of --source-net, one after another, so that a server sees many clients. Pure; one
// thread, which begins at its own place in the network.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/base/bytes.h"
#include "common/net/address.h"

namespace timeball::bench {

class SourceAddresses {
 public:
  // Leaves out the first address of the network and the last one, where there are others.
  SourceAddresses(const net::IpPrefix& network, unsigned index, unsigned threads)
      : network_(network.address.octets) {
    const unsigned host_bits = std::min(128 - network.bits, 40U);
    const std::uint64_t size = std::uint64_t{1} << host_bits;
    first_ = size > 2 ? 1 : 0;
    count_ = size > 2 ? size - 2 : size;
    next_ = count_ * index / threads;
  }

  net::IpAddress next() {
    const std::uint64_t host = first_ + next_;
    next_ = (next_ + 1) % count_;
    net::IpAddress address{network_};
    store_be64(&address.octets[8], load_be64(&address.octets[8]) | host);
    return address;
  }

 private:
  std::array<std::uint8_t, 16> network_;
  std::uint64_t first_;
  std::uint64_t count_;
  std::uint64_t next_;
};

}  // namespace timeball::bench
