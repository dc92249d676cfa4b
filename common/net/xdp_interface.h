// AF_XDP on one network interface: UDP that goes past the kernel's network stack.
//
// A small XDP program (xdp_filter.bpf.c) hands the datagrams to the served addresses and ports to
// an AF_XDP socket for each receive queue of the device; whatever needs something of the kernel it
// leaves to the kernel, and ordinary sockets on the same ports answer that. So sockets must listen
// too: they are also what serves while the interface has none of this.
//
// The program and the sockets go with the process, however it ends. Rights are needed by open()
// alone: CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON (the program reckons with pointers), CAP_NET_RAW, and
// CAP_IPC_LOCK or room in RLIMIT_MEMLOCK.
//
// open(), batches(), tick() and status() are one thread's. Receive times are those at which the
// program saw the datagram, earlier than a socket's; transmit times are estimates between the
// clock before and after the kernel took the frames.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/net/address.h"
#include "common/net/udp_batch.h"
#include "common/net/udp_frame.h"
#include "common/time/time_scales.h"

namespace timeball::net {

enum class XdpMode : std::uint8_t {
  kAuto,     // native where the driver has it
  kNative,   // in the driver
  kGeneric,  // in the kernel, after it has copied the frame: any device
};

struct XdpOptions {
  std::string interface;
  XdpMode mode = XdpMode::kAuto;
  // What is served; 0.0.0.0 and [::] mean every address of this host. Never loopback.
  std::vector<Endpoint> listen;
};

// Where a client's composed datagrams go: every one by this gateway, from this port.
struct XdpClient {
  MacAddress gateway{};
  IpAddress source;  // unless the datagram says
  std::uint16_t port = 0;
};

// Totals since open() of all queues.
struct XdpStatus {
  std::string interface;
  bool native = false;     // else generic
  bool zero_copy = false;  // on every queue
  unsigned queues = 0;
  // False: the watchdog has seen the program hand over datagrams that the sockets did not get, and
  // has left everything to the kernel since.
  bool taking = false;
  std::uint64_t taken = 0;             // by the program
  std::uint64_t without_metadata = 0;  // left to the kernel: the driver has no room for their time
  std::uint64_t received = 0;
  std::uint64_t malformed = 0;
  std::uint64_t bad_checksum = 0;
  std::uint64_t sent = 0;
  std::uint64_t refused = 0;       // replies
  std::uint64_t ring_full = 0;     // arrivals lost: the shard is late
  std::uint64_t fill_starved = 0;  // times that the device had no chunk to fill: likewise
  std::uint64_t strays = 0;        // frames the kernel named that were not its own: must be 0
};

// Where the chunks of memory are, of which each holds a frame; always kinds of one whole.
struct XdpChunks {
  std::size_t all = 0, free = 0, to_fill = 0, held = 0, to_transmit = 0;
};

class XdpInterface {
 public:
  // Attaches the program and makes the sockets. The error is one sentence that says what to do.
  static Result<std::unique_ptr<XdpInterface>> open(const XdpOptions& options);
  virtual ~XdpInterface() = default;

  // One for each queue, in the queues' order; once. They outlive this. For a client's, say so.
  virtual std::vector<std::unique_ptr<UdpBatch>> batches(const XdpClient* client = nullptr) = 0;
  // Every second: follows the addresses of the host, and watches. Returns a line for the log when
  // something has changed that a person must know.
  virtual std::string tick() = 0;
  virtual XdpStatus status() const = 0;
  // Only while no batch is in use.
  virtual XdpChunks chunks() const = 0;
};

}  // namespace timeball::net
