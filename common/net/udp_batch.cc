#include "common/net/udp_batch.h"

#include "common/net/udp_backends.h"

namespace timeball::net {

Result<std::unique_ptr<UdpBatch>> make_udp_batch(int socket, IoBackend backend) {
  if (backend == IoBackend::kIoUring) return make_uring_batch(socket);
  return make_mmsg_batch(socket);
}

}  // namespace timeball::net
