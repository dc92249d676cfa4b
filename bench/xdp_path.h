// The way from this machine to a server by AF_XDP: the interface, the address and port we have
// there, and whom to hand frames to. Main thread.
#pragma once

#include <memory>

#include "common/base/error.h"
#include "common/net/address.h"
#include "common/net/xdp_interface.h"

namespace timeball::bench {

class XdpPath {
 public:
  // By the kernel's routes and its table of neighbours. The server has an IPv4 address in a network
  // of the interface. The error is one sentence that says what to do. Takes root's rights.
  static Result<std::unique_ptr<XdpPath>> open(const net::Endpoint& server, net::XdpMode mode);
  ~XdpPath();
  XdpPath(const XdpPath&) = delete;
  XdpPath& operator=(const XdpPath&) = delete;

  // One for each queue; once.
  std::vector<std::unique_ptr<net::UdpBatch>> batches() { return interface_->batches(&client_); }

 private:
  XdpPath() = default;

  int port_ = -1;  // a socket that keeps our port from others
  net::XdpClient client_;
  std::unique_ptr<net::XdpInterface> interface_;
};

}  // namespace timeball::bench
