// io_uring: one multishot recvmsg that fills provided buffers, and a sendmsg for each reply.
//
// With DEFER_TASKRUN the kernel works only inside our calls: datagrams stay in the socket until
// receive() collects them, and sends (MSG_DONTWAIT) have ended when their submission returns. So
// the socket is the handle to wait for. (The ring's own descriptor does not wake a waiter in this
// mode.)
//
// seccomp sees none of what a ring does, so the ring itself is restricted to that: messages on open
// sockets, and no registration of anything.
#include <liburing.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "common/net/transmit_times.h"
#include "common/net/udp_backends.h"
#include "common/net/udp_message.h"

namespace timeball::net {
namespace {

constexpr std::uint64_t kReceive = 1;
constexpr std::uint64_t kSend = 2;
constexpr std::uint64_t kOther = 3;

constexpr unsigned kSubmissions = 2 * kBatchCapacity;
constexpr unsigned kCompletions = 4 * kBatchCapacity;  // arrivals, refused sends, and change
constexpr std::uint16_t kBufferGroup = 0;
constexpr std::size_t kNameRoom = 32;
static_assert(kNameRoom >= sizeof(sockaddr_in6));

// One provided buffer, as multishot recvmsg lays it out for kNameRoom and kControlRoom.
struct Arrival {
  io_uring_recvmsg_out out;
  alignas(8) std::array<std::uint8_t, kNameRoom> name;
  alignas(8) std::array<std::uint8_t, kControlRoom> control;
  std::array<std::uint8_t, kMaxDatagram> octets;
};
static_assert(offsetof(Arrival, octets) == sizeof(io_uring_recvmsg_out) + kNameRoom + kControlRoom);

class UringBatch final : public UdpBatch {
 public:
  explicit UringBatch(int socket) : socket_(socket), transmit_times_(socket) {
    shape_.msg_namelen = kNameRoom;
    shape_.msg_controllen = kControlRoom;
  }
  ~UringBatch() override;
  UringBatch(const UringBatch&) = delete;
  UringBatch& operator=(const UringBatch&) = delete;

  // Once, before anything else. The ring starts disabled, because the thread that enables it
  // becomes the only one that may submit.
  Result<void> set_up();
  Result<void> restrict_it();

  int wait_handle() const override { return socket_; }
  std::span<Datagram> receive() override;
  std::span<Datagram> compose(std::size_t count) override;
  void send(std::span<const Datagram> part) override;
  std::span<const TransmitTime> transmit_times() override { return transmit_times_.take(); }
  const UdpCounters& counters() const override { return counters_; }

 private:
  void own();
  void provide(std::uint32_t slot);
  void arm();
  void submit_and_collect();
  bool reap();
  void take(const io_uring_cqe& completion);
  io_uring_sqe* queue_send(const Datagram& datagram);
  unsigned submit_sends(std::span<io_uring_sqe* const> sends);
  unsigned count_refusals(unsigned seen);

  int socket_;
  io_uring ring_{};
  bool set_up_ = false;
  bool enabled_ = false;
  bool armed_ = false;  // the multishot receive has not ended
  UdpCounters counters_;
  TransmitTimes transmit_times_;
  msghdr shape_{};  // of arrivals: only the rooms count
  io_uring_buf_ring* buffer_ring_ = nullptr;
  std::size_t count_ = 0;                           // of datagrams_
  std::size_t lent_count_ = 0;                      // of lent_
  std::array<std::uint32_t, kBatchCapacity> lent_;  // slots whose arrivals the owner may still read
  std::array<Datagram, kBatchCapacity> datagrams_;
  std::array<Arrival, kBatchCapacity> arrivals_;
  std::array<OutgoingSlot, kBatchCapacity> outgoing_;
};

constexpr std::size_t kBufferRingSize = kBatchCapacity * sizeof(io_uring_buf);

tl::unexpected<Error> refuse(int error) {
  return fail(
      std::string("io_uring cannot be used: it needs Linux 6.1, kernel.io_uring_disabled = 0, "
                  "and a container runtime that permits it; allow it, or set io to \"mmsg\" (") +
      std::strerror(error) + ")");
}

// liburing 2.3 declares io_uring_enable_rings and io_uring_register_restrictions, but its shared
// library does not export them.
bool register_with(const io_uring& ring, unsigned what, const void* values = nullptr,
                   std::size_t count = 0) {
  return syscall(__NR_io_uring_register, ring.ring_fd, what, values, count) == 0;
}

Result<void> UringBatch::set_up() {
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
  params.cq_entries = kCompletions;
  const int made = io_uring_queue_init_params(kSubmissions, &ring_, &params);
  if (made < 0) return refuse(-made);
  set_up_ = true;

  void* const memory =
      mmap(nullptr, kBufferRingSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return refuse(errno);
  buffer_ring_ = static_cast<io_uring_buf_ring*>(memory);
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uintptr_t>(memory);
  registration.ring_entries = kBatchCapacity;
  registration.bgid = kBufferGroup;
  const int registered = io_uring_register_buf_ring(&ring_, &registration, 0);
  if (registered < 0) return refuse(-registered);
  for (std::uint32_t slot = 0; slot < kBatchCapacity; ++slot) provide(slot);
  return restrict_it();
}

// In force once the ring is enabled.
Result<void> UringBatch::restrict_it() {
  constexpr std::array<std::uint8_t, 4> kOperations = {IORING_OP_RECVMSG, IORING_OP_SENDMSG,
                                                       IORING_OP_ASYNC_CANCEL, IORING_OP_NOP};
  std::array<io_uring_restriction, kOperations.size() + 1> all{};
  for (std::size_t i = 0; i < kOperations.size(); ++i) {
    all[i].opcode = IORING_RESTRICTION_SQE_OP;
    all[i].sqe_op = kOperations[i];
  }
  all.back().opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
  all.back().sqe_flags = IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS;
  if (!register_with(ring_, IORING_REGISTER_RESTRICTIONS, all.data(), all.size())) {
    return refuse(errno);
  }
  return {};
}

// Cancels the receive, so that the socket is free when this returns. From a thread that is not the
// owner the kernel refuses, and cancels by itself, later.
UringBatch::~UringBatch() {
  if (io_uring_sqe* const sqe = enabled_ ? io_uring_get_sqe(&ring_) : nullptr; sqe != nullptr) {
    io_uring_prep_cancel64(sqe, kReceive, 0);
    io_uring_sqe_set_data64(sqe, kOther);
    submit_and_collect();
  }
  if (set_up_) io_uring_queue_exit(&ring_);
  if (buffer_ring_ != nullptr) munmap(buffer_ring_, kBufferRingSize);
  close(socket_);
}

// The buffer's identifier is its slot.
void UringBatch::provide(std::uint32_t slot) {
  io_uring_buf_ring_add(buffer_ring_, &arrivals_[slot], sizeof(Arrival),
                        static_cast<std::uint16_t>(slot), io_uring_buf_ring_mask(kBatchCapacity),
                        0);
  io_uring_buf_ring_advance(buffer_ring_, 1);
}

// The ring belongs to the thread that enables it.
void UringBatch::own() {
  if (!enabled_) enabled_ = register_with(ring_, IORING_REGISTER_ENABLE_RINGS);
}

// An empty datagram ends the multishot receive too: more may wait behind it.
std::span<Datagram> UringBatch::receive() {
  own();
  for (const std::uint32_t slot : std::span(lent_).first(lent_count_)) provide(slot);
  lent_count_ = 0;
  count_ = 0;
  do {
    if (!armed_) arm();
    submit_and_collect();
  } while (reap());
  if (count_ == 0) transmit_times_.collect();
  return std::span(datagrams_).first(count_);
}

void UringBatch::arm() {
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) return;
  io_uring_prep_recvmsg_multishot(sqe, socket_, &shape_, 0);
  io_uring_sqe_set_flags(sqe, IOSQE_BUFFER_SELECT);
  io_uring_sqe_set_data64(sqe, kReceive);
  sqe->buf_group = kBufferGroup;
  armed_ = true;
}

void UringBatch::submit_and_collect() {
  if (io_uring_submit_and_get_events(&ring_) < 0) ++counters_.receive_errors;
}

// Empties the completion queue. Returns whether a datagram ended the multishot receive. When an
// error or the want of buffers (ENOBUFS, counted as no error) did, the next receive() arms it anew.
bool UringBatch::reap() {
  bool ended_by_datagram = false;
  io_uring_cqe* completion = nullptr;
  while (io_uring_peek_cqe(&ring_, &completion) == 0) {
    if (io_uring_cqe_get_data64(completion) == kReceive) {
      armed_ = (completion->flags & IORING_CQE_F_MORE) != 0;
      ended_by_datagram = !armed_ && completion->res >= 0;
      take(*completion);
    }
    io_uring_cqe_seen(&ring_, completion);
  }
  return ended_by_datagram;
}

void UringBatch::take(const io_uring_cqe& completion) {
  if (completion.res < 0 && completion.res != -ENOBUFS) ++counters_.receive_errors;
  if ((completion.flags & IORING_CQE_F_BUFFER) == 0) return;
  const std::uint32_t slot = completion.flags >> IORING_CQE_BUFFER_SHIFT;
  lent_[lent_count_++] = slot;
  if (completion.res < static_cast<int>(offsetof(Arrival, octets))) return;
  Arrival& arrival = arrivals_[slot];
  iovec octets = {arrival.octets.data(), arrival.octets.size()};
  msghdr message{};
  message.msg_name = arrival.name.data();
  message.msg_namelen = std::min<socklen_t>(arrival.out.namelen, kNameRoom);
  message.msg_control = arrival.control.data();
  message.msg_controllen = std::min<std::size_t>(arrival.out.controllen, kControlRoom);
  message.msg_flags = static_cast<int>(arrival.out.flags);
  message.msg_iov = &octets;
  message.msg_iovlen = 1;
  const std::size_t length = static_cast<unsigned>(completion.res) - offsetof(Arrival, octets);
  datagrams_[count_].slot = slot;
  if (outgoing_[slot].accept(message, length, datagrams_[count_], counters_)) ++count_;
}

std::span<Datagram> UringBatch::compose(std::size_t count) {
  own();
  for (std::uint32_t i = 0; i < count; ++i) {
    datagrams_[i].slot = i;
    outgoing_[i].compose(datagrams_[i]);
  }
  return std::span(datagrams_).first(count);
}

void UringBatch::send(std::span<const Datagram> part) {
  std::array<io_uring_sqe*, kBatchCapacity> sends;
  std::size_t queued = 0;
  unsigned refused = 0;
  for (const Datagram& d : part) {
    if (d.reply_length == 0) continue;
    io_uring_sqe* const sqe = queue_send(d);
    if (sqe != nullptr) {
      sends[queued++] = sqe;
      if (d.want_transmit_time) transmit_times_.expect(d.transmit_key);
    } else {
      ++refused;
    }
  }
  if (queued > 0) refused += submit_sends(std::span(sends).first(queued));
  counters_.send_refused += refused;
  transmit_times_.sent(refused > 0);
}

io_uring_sqe* UringBatch::queue_send(const Datagram& datagram) {
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) return nullptr;
  io_uring_prep_sendmsg(sqe, socket_, outgoing_[datagram.slot].header(datagram), MSG_DONTWAIT);
  io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
  io_uring_sqe_set_data64(sqe, kSend);
  return sqe;
}

// Returns how many were refused. Those the kernel had no memory to begin with become no-operations:
// a later submission must not send what their slots hold by then.
unsigned UringBatch::submit_sends(std::span<io_uring_sqe* const> sends) {
  const unsigned seen = io_uring_cq_ready(&ring_);
  io_uring_submit(&ring_);
  const std::size_t left = std::min<std::size_t>(io_uring_sq_ready(&ring_), sends.size());
  for (io_uring_sqe* const sqe : sends.last(left)) {
    io_uring_prep_nop(sqe);
    io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
    io_uring_sqe_set_data64(sqe, kOther);
  }
  const unsigned refused = static_cast<unsigned>(left) + count_refusals(seen);
  counters_.sent += sends.size() - refused;
  return refused;
}

// Sends that went well leave no completion. reap() passes over the others.
unsigned UringBatch::count_refusals(unsigned seen) {
  if (io_uring_cq_ready(&ring_) == seen) return 0;
  std::array<io_uring_cqe*, kCompletions> completions;
  const unsigned ready = io_uring_peek_batch_cqe(&ring_, completions.data(), kCompletions);
  const auto fresh = std::span(completions).first(ready).subspan(seen);
  return static_cast<unsigned>(std::ranges::count_if(
      fresh, [](io_uring_cqe* c) { return io_uring_cqe_get_data64(c) == kSend; }));
}

}  // namespace

Result<std::unique_ptr<UdpBatch>> make_uring_batch(int socket) {
  auto batch = std::make_unique<UringBatch>(socket);
  if (const auto ready = batch->set_up(); !ready) return tl::unexpected(ready.error());
  return batch;
}

}  // namespace timeball::net
