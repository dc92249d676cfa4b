// One AF_XDP socket: a device queue's frames, in memory of ours that the kernel fills and empties.
//
// The memory is chunks, each of one frame; at any moment each belongs to just one of us: free, the
// kernel's to fill, held by the owner, or the kernel's to transmit. A chunk the kernel names that
// is not its own is counted (strays) and left alone: frames never leak, and never have two owners.
//
// Internal to common/net. One thread, the owner; what is said to be for any thread is. Never
// blocks.
#pragma once

#include <xdp/xsk.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/counter.h"
#include "common/base/error.h"

namespace timeball::net {

class XdpQueue {
 public:
  static constexpr std::size_t kChunks = 2048;
  static constexpr std::size_t kChunkSize = 4096;

  enum class Owner : std::uint8_t { kNobody, kToFill, kHeld, kToTransmit };

  struct Frame {
    std::uint32_t chunk = 0;
    Bytes octets;
    std::uint64_t time = 0;  // TAI, nanoseconds: the program's
  };

  // Single writer, the owner; any thread reads.
  struct Counters {
    Counter received;
    Counter malformed;
    Counter bad_checksum;
    Counter sent;
    Counter refused;  // no chunk or no place in the ring, or the device would not take it
    Counter strays;
  };

  // Binds to that queue of the interface. The error is a sentence. CAP_NET_RAW; CAP_IPC_LOCK, or
  // room in RLIMIT_MEMLOCK.
  static Result<std::shared_ptr<XdpQueue>> open(const std::string& interface, unsigned queue,
                                                bool native);
  ~XdpQueue();
  XdpQueue(const XdpQueue&) = delete;
  XdpQueue& operator=(const XdpQueue&) = delete;

  // Enters the socket in the XDP program's map: from then on it receives.
  Result<void> enter(int map);

  // Of what has arrived, at most out.size(); each chunk is held until release() or transmit().
  std::span<Frame> receive(std::span<Frame> out);
  // A chunk to write into, held; nothing when all are under way.
  std::optional<std::uint32_t> take();
  MutableBytes octets(std::uint32_t chunk);
  void release(std::uint32_t chunk);
  // Puts the frame, which lies in that held chunk, in the queue. False: released, and counted.
  bool transmit(std::uint32_t chunk, Bytes frame);
  // Has the kernel take what is in the queue, as far as it will.
  void flush();
  // What the kernel is done with is free again, and it has chunks to fill.
  void recycle();

  std::size_t owned_by(Owner owner) const;  // the owner's thread
  int descriptor() const { return xsk_socket__fd(socket_); }
  bool native() const { return native_; }
  bool zero_copy() const { return zero_copy_; }
  const Counters& counters() const { return counters_; }  // any thread
  Counters& counters() { return counters_; }
  xdp_statistics statistics() const;  // the kernel's own; any thread

 private:
  XdpQueue() = default;
  Result<void> bind(const std::string& interface, unsigned queue, bool native);
  bool move(std::uint32_t chunk, Owner from, Owner to);
  void fill();

  std::uint8_t* memory_ = nullptr;
  xsk_umem* umem_ = nullptr;
  xsk_socket* socket_ = nullptr;
  xsk_ring_prod to_fill_{};
  xsk_ring_cons arrived_{};
  xsk_ring_prod to_transmit_{};
  xsk_ring_cons transmitted_{};
  bool native_ = false;
  bool zero_copy_ = false;
  std::array<Owner, kChunks> owners_{};
  std::vector<std::uint32_t> free_;  // last in, first out: warm
  std::size_t filling_ = 0;          // the kernel's to fill, and filled
  Counters counters_;
};

}  // namespace timeball::net
