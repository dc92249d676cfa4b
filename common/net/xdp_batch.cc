// A request lies where the kernel put it; the reply is written over it and leaves from there. A
// composed datagram has a chunk to itself.
#include "common/net/xdp_batch.h"

#include <array>
#include <cassert>
#include <cstdlib>
#include <ctime>

#include "common/net/tai_offset.h"
#include "common/net/xdp_filter.h"

namespace timeball::net {
namespace {

// Where the payload of a composed datagram begins in its chunk: on a cache line.
constexpr std::size_t kComposedAt = 64;
static_assert(kComposedAt >= kMaxFrameHeaders);
static_assert(kComposedAt + kMaxDatagram <= XdpQueue::kChunkSize);
// The kernel's headroom (XDP_PACKET_HEADROOM) and the longest frame.
static_assert(256 + XDP_FILTER_LONGEST <= XdpQueue::kChunkSize);

constexpr std::int64_t kSecond_ns = 1'000'000'000;
// In generic mode the program runs after the kernel's timestamp: of 100 times 99 within this, on a
// slow machine in a slow minute too (bench/receive_times).
constexpr Duration kGenericLate(2000);

std::int64_t read_realtime_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_REALTIME, &t);
  return std::int64_t{t.tv_sec} * kSecond_ns + t.tv_nsec;
}

class XdpBatch final : public UdpBatch {
 public:
  XdpBatch(std::shared_ptr<XdpQueue> queue, std::optional<XdpOrigin> origin)
      : queue_(std::move(queue)), origin_(std::move(origin)) {}
  ~XdpBatch() override { let_go(); }
  XdpBatch(const XdpBatch&) = delete;
  XdpBatch& operator=(const XdpBatch&) = delete;

  int wait_handle() const override { return queue_->descriptor(); }
  std::span<Datagram> receive() override;
  std::span<Datagram> compose(std::size_t count) override;
  void send(std::span<const Datagram> part) override;
  std::span<const TransmitTime> transmit_times() override;
  // Beside its frames each call costs a microsecond or two; a frame a third of what a socket takes.
  std::size_t group() const override { return 32; }
  const UdpCounters& counters() const override { return counters_; }

 private:
  // What belongs to a datagram, by its slot.
  struct Slot {
    std::uint32_t chunk = 0;
    bool held = false;
    UdpFlow flow;
  };

  void let_go();
  bool accept(const XdpQueue::Frame& frame, Datagram& out);
  bool queue_frame(const Datagram& datagram);

  std::shared_ptr<XdpQueue> queue_;
  std::optional<XdpOrigin> origin_;
  UdpCounters counters_;
  std::size_t count_ = 0;  // of datagrams_ and slots_
  std::int64_t tai_offset_ns_ = 0;
  std::int64_t now_ns_ = 0;  // as of the last receive()
  std::array<XdpQueue::Frame, kBatchCapacity> frames_;
  std::array<Datagram, kBatchCapacity> datagrams_;
  std::array<Slot, kBatchCapacity> slots_;
  std::size_t times_count_ = 0;
  std::array<TransmitTime, kBatchCapacity> times_;
};

// Gives back the chunks of what was received or composed and not sent.
void XdpBatch::let_go() {
  for (std::size_t i = 0; i < count_; ++i) {
    if (slots_[i].held) queue_->release(slots_[i].chunk);
    slots_[i].held = false;
  }
  count_ = 0;
}

std::span<Datagram> XdpBatch::receive() {
  let_go();
  queue_->recycle();
  const auto arrived = queue_->receive(frames_);
  if (arrived.empty()) {
    queue_->flush();  // what the device would not take before
    return {};
  }
  now_ns_ = read_realtime_ns();
  tai_offset_ns_ = tai_offset().count();
  for (const XdpQueue::Frame& frame : arrived) {
    if (accept(frame, datagrams_[count_])) {
      ++count_;
    } else {
      queue_->release(frame.chunk);
    }
  }
  counters_.received += count_;
  queue_->counters().received.add(count_);
  return std::span(datagrams_).first(count_);
}

bool XdpBatch::accept(const XdpQueue::Frame& frame, Datagram& out) {
  Slot& slot = slots_[count_];
  Bytes payload;
  const FrameFault fault = parse_udp_frame(frame.octets, slot.flow, payload);
  if (fault != FrameFault::kNone) {
    const bool checksum = fault == FrameFault::kBadChecksum;
    (checksum ? queue_->counters().bad_checksum : queue_->counters().malformed).add();
    return false;
  }
  if (slot.flow.peer.port == 0 || payload.size() > XDP_FILTER_LONGEST) {
    ++counters_.unanswerable;
    return false;
  }
  slot.chunk = frame.chunk;
  slot.held = true;
  out = {};
  out.request = payload;
  const MutableBytes chunk = queue_->octets(frame.chunk);
  out.reply_room =
      chunk.subspan(static_cast<std::size_t>(payload.data() - chunk.data()), payload.size());
  out.peer = slot.flow.peer;
  out.local = slot.flow.local.address;
  const std::int64_t seen_ns = static_cast<std::int64_t>(frame.time) - tai_offset_ns_;
  // Beside the frame there was no time, or the clock has been set since.
  out.kernel_timestamp = std::llabs(now_ns_ - seen_ns) < kSecond_ns;
  out.receive_time = KernelTime{out.kernel_timestamp ? seen_ns : now_ns_};
  if (!queue_->native()) out.receive_late = kGenericLate;
  out.slot = static_cast<std::uint32_t>(count_);
  return true;
}

std::span<Datagram> XdpBatch::compose(std::size_t count) {
  assert(origin_ && count <= kBatchCapacity);
  let_go();
  queue_->recycle();
  while (count_ < count) {
    const auto chunk = queue_->take();
    if (!chunk) break;  // all are under way
    Slot& slot = slots_[count_];
    slot = {*chunk, true, {origin_->client.gateway, origin_->mac, {}, {}}};
    Datagram& out = datagrams_[count_];
    out = {};
    out.reply_room = queue_->octets(*chunk).subspan(kComposedAt, kMaxDatagram);
    out.slot = static_cast<std::uint32_t>(count_++);
  }
  return std::span(datagrams_).first(count_);
}

bool XdpBatch::queue_frame(const Datagram& datagram) {
  Slot& slot = slots_[datagram.slot];
  if (!slot.held) return false;  // sent before
  if (datagram.request.empty() && origin_) {
    const bool given = datagram.local != IpAddress{};
    slot.flow.peer = datagram.peer;
    slot.flow.local = {given ? datagram.local : origin_->client.source, origin_->client.port, 0};
  }
  const MutableBytes room(datagram.reply_room.data() - kMaxFrameHeaders,
                          kMaxFrameHeaders + datagram.reply_length);
  slot.held = false;
  return queue_->transmit(slot.chunk, write_udp_frame(slot.flow, room));
}

void XdpBatch::send(std::span<const Datagram> part) {
  std::array<std::uint32_t, kBatchCapacity> keys;
  std::array<std::size_t, kBatchCapacity> places;
  std::size_t wanted = 0;
  std::size_t sent = 0;
  for (const Datagram& d : part) {
    if (d.reply_length == 0) continue;
    if (!queue_frame(d)) {
      ++counters_.send_refused;
      continue;
    }
    if (d.want_transmit_time) {
      keys[wanted] = d.transmit_key;
      places[wanted++] = sent;
    }
    ++sent;
  }
  counters_.sent += sent;
  if (wanted == 0) return queue_->flush();
  const std::int64_t before = read_realtime_ns();
  queue_->flush();
  const std::int64_t taken = read_realtime_ns() - before;
  times_count_ = 0;
  for (std::size_t i = 0; i < wanted; ++i) {
    const auto nth = static_cast<std::int64_t>(places[i] + 1);
    const std::int64_t at = before + taken * nth / static_cast<std::int64_t>(sent);
    times_[times_count_++] = {keys[i], KernelTime{at}};
  }
}

std::span<const TransmitTime> XdpBatch::transmit_times() {
  const std::size_t count = times_count_;
  times_count_ = 0;
  return std::span(times_).first(count);
}

}  // namespace

std::unique_ptr<UdpBatch> make_xdp_batch(std::shared_ptr<XdpQueue> queue,
                                         std::optional<XdpOrigin> origin) {
  return std::make_unique<XdpBatch>(std::move(queue), std::move(origin));
}

}  // namespace timeball::net
