// The constructors of the UDP back ends, for make_udp_batch alone. Each takes the socket, and
// closes it at the end, or at once on an error.
#pragma once

#include <memory>

#include "common/base/error.h"
#include "common/net/udp_batch.h"

namespace timeball::net {

std::unique_ptr<UdpBatch> make_mmsg_batch(int socket);
Result<std::unique_ptr<UdpBatch>> make_uring_batch(int socket);

}  // namespace timeball::net
