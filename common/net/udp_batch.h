// UDP in batches, for servers and clients: one interface over recvmmsg/sendmmsg, io_uring, and
// AF_XDP (common/net/xdp_interface.h).
//
// A batch belongs to one socket and one thread. Any thread may make it; the first that calls
// receive() or compose() owns it from then on, and only that one calls its functions. The owner
// waits until wait_handle() is readable (level-triggered), calls receive(), fills in replies, and
// calls send() on the whole result or on consecutive parts of it, any number of times, before the
// next receive(). Datagrams, and the octets they point to, live until then. compose() yields
// datagrams of the owner's own in the same way, in place of what receive() returned.
//
// Destroyed by its owner, or by any thread once the owner uses it no more. An io_uring not
// destroyed by its owner lets go of the socket only after a moment (0.1 s seen), and a socket with
// SO_REUSEPORT swallows its share of the datagrams until then.
//
// Knows nothing of NTP. Receive and transmit times are the kernel's (SO_TIMESTAMPING); replies
// leave from the address that was asked (IP_PKTINFO / IPV6_RECVPKTINFO). Requests to a broadcast or
// multicast address are dropped: one spoofed request would draw a reply from every server on the
// link.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "common/base/bytes.h"
#include "common/base/error.h"
#include "common/net/address.h"
#include "common/time/time_scales.h"

namespace timeball::net {

inline constexpr std::size_t kBatchCapacity = 64;
inline constexpr std::size_t kMaxDatagram = 2048;  // longer ones are counted and dropped

struct Datagram {
  Bytes request;  // as received; a client's are replies. Empty in a composed datagram
  // Exactly as long as the request: amplification cannot be expressed. Over AF_XDP the very octets
  // of the request: what is written is lost of it. kMaxDatagram when composed.
  MutableBytes reply_room;
  std::size_t reply_length = 0;     // 0: send nothing. At most reply_room.size()
  Endpoint peer;                    // where the request came from, and the reply goes
  IpAddress local;                  // that was asked; composed: to send from, if not unspecified
  KernelTime receive_time;          // CLOCK_REALTIME
  bool kernel_timestamp = true;     // false: receive_time was read after the call
  Duration receive_late{};          // so much later than the kernel's own it may be
  bool want_transmit_time = false;  // for a sample: each costs as much as a datagram
  std::uint32_t transmit_key = 0;   // the owner's name for it, given back with its transmit time
  std::uint32_t slot = 0;           // the back end's own
};

// When a datagram left: as it was handed to the network device.
struct TransmitTime {
  std::uint32_t key = 0;
  KernelTime time;
};

struct UdpCounters {
  std::uint64_t received = 0;        // returned by receive()
  std::uint64_t sent = 0;            // taken by the kernel
  std::uint64_t truncated = 0;       // longer than kMaxDatagram: dropped
  std::uint64_t unanswerable = 0;    // from port 0, or to a broadcast or multicast address: dropped
  std::uint64_t send_refused = 0;    // the kernel would not take a reply: dropped, never retried
  std::uint64_t receive_errors = 0;  // transient errors of the socket
};

class UdpBatch {
 public:
  virtual ~UdpBatch() = default;
  // Readable when receive() has something to return, or to drop. The socket; owned by the batch.
  virtual int wait_handle() const = 0;
  // Up to kBatchCapacity datagrams; empty when none is waiting, or after an error (counted,
  // transient: wait again). Never blocks.
  virtual std::span<Datagram> receive() = 0;
  // `count` (at most kBatchCapacity) datagrams to be filled in and sent; the owner sets peer,
  // reply_length, and local if it wants. Fewer over AF_XDP, while all its memory is under way. What
  // receive() returned is gone, its octets included.
  virtual std::span<Datagram> compose(std::size_t count) = 0;
  // Sends the replies of those with reply_length > 0. Never blocks.
  virtual void send(std::span<const Datagram> part) = 0;
  // How many replies one send() should take where it matters when each leaves: the longer a call
  // takes, the likelier something comes in between.
  virtual std::size_t group() const { return 5; }
  // The transmit times that have come since the last call; valid until the next send() or
  // receive(). Most devices tell at once; else the handle becomes readable. Of more than
  // kBatchCapacity wanted and not yet told the oldest are lost, and so are those sent together with
  // a refused one.
  virtual std::span<const TransmitTime> transmit_times() = 0;
  // Same thread.
  virtual const UdpCounters& counters() const = 0;
};

// kXdp: sockets as with kAuto, and AF_XDP beside them for the interfaces named.
enum class IoBackend : std::uint8_t { kAuto, kIoUring, kMmsg, kXdp };

// A bound, non-blocking UDP socket with SO_REUSEPORT, receive timestamps and packet information on;
// an IPv6 one takes IPv6 only. The error says which address, why, and what to do. Owned by the
// caller. Port 0 may yield a port that another socket of the same user shares (SO_REUSEPORT): do
// not use it.
Result<int> open_udp_socket(const Endpoint& local);

// Of the sockets bound to this one's address, the n-th by order of binding gets from now on what
// comes in on CPU cpus[n]; what comes in on another CPU, or where a socket is missing, goes by its
// addresses and ports as before. Applies to sockets bound later too. False: the kernel refused.
bool steer_by_cpu(int socket, std::span<const unsigned> cpus);

// A client's: as open_udp_socket(), but not bound: the kernel chooses a port, nobody else's, at the
// first datagram. It may send from every address that is routed to this host (IPV6_FREEBIND).
Result<int> open_client_socket(int family);

// Fails, as open_udp_socket() would, when another socket is bound there: SO_REUSEPORT alone lets
// two daemons of one user share a port unnoticed. Asked once, before the first of our own.
Result<void> require_udp_port_free(const Endpoint& local);

// Takes the socket: closes it at the end, or at once on an error. kAuto (and kXdp) is mmsg: the
// cheaper one wherever bench/serving has measured them. kIoUring fails with a sentence when the
// kernel does not offer it (Linux 6.1).
Result<std::unique_ptr<UdpBatch>> make_udp_batch(int socket, IoBackend backend);

}  // namespace timeball::net
