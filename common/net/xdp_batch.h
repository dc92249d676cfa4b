// UdpBatch over a queue of an interface. Internal to common/net; the thread rules are UdpBatch's.
#pragma once

#include <memory>
#include <optional>

#include "common/net/udp_batch.h"
#include "common/net/xdp_interface.h"
#include "common/net/xdp_queue.h"

namespace timeball::net {

// What a client's composed datagrams take from their interface.
struct XdpOrigin {
  MacAddress mac{};
  XdpClient client;
};

std::unique_ptr<UdpBatch> make_xdp_batch(std::shared_ptr<XdpQueue> queue,
                                         std::optional<XdpOrigin> origin);

}  // namespace timeball::net
