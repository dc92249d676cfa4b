#include "common/net/xdp_queue.h"

#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>

#include "common/net/xdp_filter.h"

namespace timeball::net {
namespace {

constexpr std::uint32_t kRing = XdpQueue::kChunks;
// As many are the kernel's to fill, or filled; the others are for what is held and sent.
constexpr std::size_t kMostToFill = XdpQueue::kChunks / 2;
// As many wait to be filled: by turns, so that each of them passes through the CPU's caches.
constexpr std::size_t kWaiting = kMostToFill / 2;
// The kernel, copying, takes so many frames in a call.
constexpr int kMostFlushes = static_cast<int>(XdpQueue::kChunks / 32);
// The kernel counts frames it has copied and not yet given away against the socket's buffer.
constexpr int kSendBuffer = 4 << 20;

tl::unexpected<Error> refuse(const std::string& interface, unsigned queue, int error) {
  std::string advice = "the kernel or the driver refuses it";
  if (error == EPERM || error == EACCES) {
    advice = "it needs CAP_NET_RAW; start as root or grant it";
  } else if (error == ENOBUFS || error == ENOMEM) {
    advice = "memory cannot be locked; grant CAP_IPC_LOCK or raise LimitMEMLOCK (ulimit -l)";
  } else if (error == EBUSY) {
    advice = "another program has an AF_XDP socket on it; stop it (ss --xdp shows which)";
  } else if (error == EAFNOSUPPORT || error == EPROTONOSUPPORT) {
    advice = "the kernel has no AF_XDP (CONFIG_XDP_SOCKETS)";
  }
  return fail("cannot open an AF_XDP socket on " + interface + " queue " + std::to_string(queue) +
              ": " + advice + " (" + std::strerror(error) + ")");
}

}  // namespace

Result<std::shared_ptr<XdpQueue>> XdpQueue::open(const std::string& interface, unsigned queue,
                                                 bool native) {
  std::shared_ptr<XdpQueue> made(new XdpQueue);
  if (auto bound = made->bind(interface, queue, native); !bound) {
    return tl::unexpected(bound.error());
  }
  made->fill();
  return made;
}

Result<void> XdpQueue::bind(const std::string& interface, unsigned queue, bool native) {
  constexpr std::size_t kSize = kChunks * kChunkSize;
  native_ = native;
  void* const memory = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) return refuse(interface, queue, errno);
  memory_ = static_cast<std::uint8_t*>(memory);
  const xsk_umem_config memory_config{kRing, kRing, kChunkSize, 0, 0};
  int error = ::xsk_umem__create(&umem_, memory_, kSize, &to_fill_, &transmitted_, &memory_config);
  if (error != 0) return refuse(interface, queue, -error);

  // Without XDP_COPY or XDP_ZEROCOPY the kernel takes zero copy where the driver offers it.
  xsk_socket_config config{};
  config.rx_size = kRing;
  config.tx_size = kRing;
  config.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD;
  config.bind_flags = static_cast<__u16>(XDP_USE_NEED_WAKEUP | (native ? 0 : XDP_COPY));
  error = ::xsk_socket__create(&socket_, interface.c_str(), queue, umem_, &arrived_, &to_transmit_,
                               &config);
  if (error != 0) return refuse(interface, queue, -error);

  xdp_options options{};
  socklen_t length = sizeof options;
  ::getsockopt(descriptor(), SOL_XDP, XDP_OPTIONS, &options, &length);
  zero_copy_ = (options.flags & XDP_OPTIONS_ZEROCOPY) != 0;
  if (::setsockopt(descriptor(), SOL_SOCKET, SO_SNDBUFFORCE, &kSendBuffer, sizeof kSendBuffer) != 0)
    ::setsockopt(descriptor(), SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof kSendBuffer);
  free_.reserve(kChunks);
  for (std::uint32_t chunk = kChunks; chunk-- > 0;) free_.push_back(chunk);
  return {};
}

XdpQueue::~XdpQueue() {
  if (socket_ != nullptr) ::xsk_socket__delete(socket_);
  if (umem_ != nullptr) ::xsk_umem__delete(umem_);
  if (memory_ != nullptr) ::munmap(memory_, kChunks * kChunkSize);
}

Result<void> XdpQueue::enter(int map) {
  const int error = ::xsk_socket__update_xskmap(socket_, map);
  if (error == 0) return {};
  return fail(std::string("the XDP program's map refuses the socket: ") + std::strerror(-error));
}

std::span<XdpQueue::Frame> XdpQueue::receive(std::span<Frame> out) {
  std::uint32_t first = 0;
  const std::uint32_t there =
      ::xsk_ring_cons__peek(&arrived_, static_cast<std::uint32_t>(out.size()), &first);
  std::size_t count = 0;
  for (std::uint32_t i = 0; i < there; ++i) {
    const xdp_desc& arrival = *::xsk_ring_cons__rx_desc(&arrived_, first + i);
    const auto chunk = static_cast<std::uint32_t>(arrival.addr / kChunkSize);
    const std::size_t offset = arrival.addr % kChunkSize;
    if (!move(chunk, Owner::kToFill, Owner::kHeld)) continue;
    --filling_;
    if (offset < XDP_FILTER_METADATA || offset + arrival.len > kChunkSize) {
      counters_.strays.add();
      release(chunk);
      continue;
    }
    Frame& frame = out[count++];
    const std::uint8_t* const octets = memory_ + arrival.addr;
    frame.chunk = chunk;
    frame.octets = {octets, arrival.len};
    std::memcpy(&frame.time, octets - XDP_FILTER_METADATA, sizeof frame.time);
  }
  if (there > 0) ::xsk_ring_cons__release(&arrived_, there);
  return out.first(count);
}

std::optional<std::uint32_t> XdpQueue::take() {
  if (free_.empty()) return std::nullopt;
  const std::uint32_t chunk = free_.back();
  free_.pop_back();
  owners_[chunk] = Owner::kHeld;
  return chunk;
}

MutableBytes XdpQueue::octets(std::uint32_t chunk) {
  assert(owners_[chunk] == Owner::kHeld);
  return {memory_ + chunk * kChunkSize, kChunkSize};
}

void XdpQueue::release(std::uint32_t chunk) {
  if (move(chunk, Owner::kHeld, Owner::kNobody)) free_.push_back(chunk);
}

bool XdpQueue::transmit(std::uint32_t chunk, Bytes frame) {
  std::uint32_t place = 0;
  if (::xsk_ring_prod__reserve(&to_transmit_, 1, &place) == 0) {
    counters_.refused.add();
    release(chunk);
    return false;
  }
  xdp_desc& departure = *::xsk_ring_prod__tx_desc(&to_transmit_, place);
  departure.addr = static_cast<std::uint64_t>(frame.data() - memory_);
  departure.len = static_cast<std::uint32_t>(frame.size());
  departure.options = 0;
  move(chunk, Owner::kHeld, Owner::kToTransmit);
  ::xsk_ring_prod__submit(&to_transmit_, 1);
  counters_.sent.add();
  return true;
}

// In zero copy the driver takes the frames when it likes; copying, the call takes them.
void XdpQueue::flush() {
  for (int tries = 0; tries < kMostFlushes; ++tries) {
    if (::xsk_ring_prod__needs_wakeup(&to_transmit_) == 0) return;
    if (__atomic_load_n(to_transmit_.consumer, __ATOMIC_ACQUIRE) == *to_transmit_.producer) return;
    const bool taken = ::sendto(descriptor(), nullptr, 0, MSG_DONTWAIT, nullptr, 0) >= 0;
    if (zero_copy_ || (!taken && errno != EAGAIN && errno != EBUSY && errno != ENOBUFS)) return;
  }
}

void XdpQueue::recycle() {
  std::uint32_t first = 0;
  const std::uint32_t done = ::xsk_ring_cons__peek(&transmitted_, kRing, &first);
  for (std::uint32_t i = 0; i < done; ++i) {
    const std::uint64_t address = *::xsk_ring_cons__comp_addr(&transmitted_, first + i);
    const auto chunk = static_cast<std::uint32_t>(address / kChunkSize);
    if (move(chunk, Owner::kToTransmit, Owner::kNobody)) free_.push_back(chunk);
  }
  if (done > 0) ::xsk_ring_cons__release(&transmitted_, done);
  fill();
  if (::xsk_ring_prod__needs_wakeup(&to_fill_) != 0)
    ::recvfrom(descriptor(), nullptr, 0, MSG_DONTWAIT, nullptr, nullptr);
}

void XdpQueue::fill() {
  const std::size_t waiting = kRing - ::xsk_prod_nb_free(&to_fill_, kRing);
  const auto wanted = static_cast<std::uint32_t>(
      std::min({kWaiting - waiting, kMostToFill - filling_, free_.size()}));
  std::uint32_t place = 0;
  if (wanted == 0 || ::xsk_ring_prod__reserve(&to_fill_, wanted, &place) == 0) return;
  for (std::uint32_t i = 0; i < wanted; ++i) {
    const std::uint32_t chunk = free_.back();
    free_.pop_back();
    owners_[chunk] = Owner::kToFill;
    *::xsk_ring_prod__fill_addr(&to_fill_, place + i) = std::uint64_t{chunk} * kChunkSize;
  }
  filling_ += wanted;
  ::xsk_ring_prod__submit(&to_fill_, wanted);
}

bool XdpQueue::move(std::uint32_t chunk, Owner from, Owner to) {
  if (chunk >= kChunks || owners_[chunk] != from) {
    counters_.strays.add();
    return false;
  }
  owners_[chunk] = to;
  return true;
}

std::size_t XdpQueue::owned_by(Owner owner) const {
  return static_cast<std::size_t>(std::ranges::count(owners_, owner));
}

xdp_statistics XdpQueue::statistics() const {
  xdp_statistics statistics{};
  socklen_t length = sizeof statistics;
  ::getsockopt(descriptor(), SOL_XDP, XDP_STATISTICS, &statistics, &length);
  return statistics;
}

}  // namespace timeball::net
