// In place of xdp_interface.cc in a build without libxdp.
#include "common/net/xdp_interface.h"

namespace timeball::net {

Result<std::unique_ptr<XdpInterface>> XdpInterface::open(const XdpOptions&) {
  return fail(
      "this build has no AF_XDP; build it with libxdp-dev, libbpf-dev, bpftool and clang "
      "installed (meson -Dxdp=enabled), or set io to \"auto\"");
}

}  // namespace timeball::net
