#include "server/shard.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "common/base/cpus.h"
#include "common/crypto/entropy.h"
#include "server/clocks.h"
#include "server/transmit_delay.h"

namespace timeball::server {
namespace {

// After a batch of fewer, to look for another would mostly be a system call in vain.
constexpr std::size_t kLikelyMore = net::kBatchCapacity / 4;

// Batches taken from one socket before the others get their turn.
constexpr int kMaxRounds = 8;

// How long a shard that nobody asks may hold on to keys that have retired, and seem not to move.
constexpr int kIdle_ms = 1000;

}  // namespace

// Nothing of it shares a cache line with another shard.
struct alignas(64) Shard::Impl {
  // A reply whose transmit time was asked for.
  struct Sample {
    std::size_t group = 0;  // how many replies
    std::size_t position = 0;
    KernelTime read_at;
    KernelTime stamped;  // T3
    bool warm_up = false;
  };

  // A socket of the shard.
  struct Listener {
    explicit Listener(std::unique_ptr<net::UdpBatch> b)
        : batch(std::move(b)), group(std::min(batch->group(), TransmitDelay::kMaxGroup)) {}

    std::unique_ptr<net::UdpBatch> batch;
    std::size_t group;  // so many datagrams are stamped, sealed and sent together
    TransmitDelay delay;
    std::array<Sample, net::kBatchCapacity> samples;  // under way, by transmit key
    std::uint32_t next_sample = 0;
  };

  Impl(const ShardOptions& options, const Publications& publications,
       std::vector<std::unique_ptr<net::UdpBatch>> others)
      : clock(publications.clock),
        keys(publications.keys),
        access(publications.access),
        cpu(options.cpu),
        random(crypto::seeded_generator()),
        responder(options.responder, crypto::Engine(options.crypto), random) {
    if (options.clients != 0) {
      clients.emplace(options.clients, std::uint64_t{random.u32()} << 32 | random.u32());
    }
    for (const net::Endpoint& local : options.listen) {
      const auto socket = net::open_udp_socket(local);
      if (!socket) throw std::runtime_error(socket.error().message);
      if (!options.steer_by_cpu.empty() && !net::steer_by_cpu(*socket, options.steer_by_cpu)) {
        close(*socket);
        throw std::runtime_error("the kernel refuses to steer by CPU; set steering to \"flow\"");
      }
      auto batch = net::make_udp_batch(*socket, options.io);
      if (!batch) throw std::runtime_error(batch.error().message);
      listeners.push_back(std::make_unique<Listener>(std::move(*batch)));
    }
    for (auto& batch : others) listeners.push_back(std::make_unique<Listener>(std::move(batch)));
  }

  // Until stop() says so. poll: few sockets, and one call where epoll would need two.
  void serve() {
    std::vector<pollfd> handles;
    for (const auto& listener : listeners) {
      handles.push_back({listener->batch->wait_handle(), POLLIN, 0});
    }
    handles.push_back({end.fd, POLLIN, 0});
    for (;;) {
      const int ready = poll(handles.data(), handles.size(), kIdle_ms);
      counters.turns.add();
      if (ready == 0) refresh();
      if (ready <= 0) continue;  // or a signal
      if (handles.back().revents != 0) return;
      for (std::size_t i = 0; i < listeners.size(); ++i) {
        if (handles[i].revents != 0) on_readable(*listeners[i]);
      }
    }
  }

  void on_readable(Listener& listener) {
    for (int round = 0; round < kMaxRounds; ++round) {
      const std::span<net::Datagram> batch = listener.batch->receive();
      if (!batch.empty()) answer(listener, batch);
      if (batch.size() < kLikelyMore) break;
    }
    take_over();
  }

  void refresh() {
    keys.refresh();
    access.refresh();
  }

  void answer(Listener& listener, std::span<net::Datagram> batch) {
    counters.batches.add();
    refresh();
    const ClockState now = clock.load();
    std::span<const Verdict> verdicts;
    try {
      const MonotonicTime at = read_monotonic_time();
      (void)crypto::reseed_if_due(random, at.ns);  // without entropy it goes on, and tries again
      verdicts = responder.prepare(batch, World{now, *keys, *access}, at);
      if (clients) note_clients(batch, verdicts, at);
    } catch (const std::runtime_error&) {  // the generator: no randomness, no replies
      counters.verdicts[static_cast<std::size_t>(Verdict::kDroppedInternal)].add(batch.size());
      return;
    }
    for (std::size_t first = 0; first < batch.size(); first += listener.group) {
      const auto part = batch.subspan(first, std::min(listener.group, batch.size() - first));
      stamp(listener, part);
      responder.seal(part, first);
      count(part, verdicts.subspan(first, part.size()));  // before anybody can have the reply
      listener.batch->send(part);
      learn(listener);
    }
  }

  void note_clients(std::span<const net::Datagram> batch, std::span<const Verdict> verdicts,
                    MonotonicTime at) {
    for (std::size_t i = 0; i < batch.size(); ++i) {
      clients->count(batch[i].peer.address, verdicts[i] == Verdict::kAnsweredNts, at);
    }
  }

  // T3 is when each reply is expected to leave.
  void stamp(Listener& listener, std::span<net::Datagram> part) {
    const auto group = static_cast<std::size_t>(
        std::ranges::count_if(part, [](const net::Datagram& d) { return d.reply_length > 0; }));
    if (group == 0) return;
    const KernelTime now = read_kernel_time();
    const auto sampled = listener.delay.choose(group, now);
    std::size_t position = 0;
    for (net::Datagram& d : part) {
      if (d.reply_length == 0) continue;
      const KernelTime leaves = now + listener.delay.expected(group, position);
      responder.stamp({&d, 1}, leaves);
      d.want_transmit_time = sampled && sampled->position == position;
      if (d.want_transmit_time) {
        d.transmit_key = listener.next_sample++ % net::kBatchCapacity;
        listener.samples[d.transmit_key] = {group, position, now, leaves, sampled->warm_up};
      }
      ++position;
    }
  }

  void learn(Listener& listener) {
    for (const net::TransmitTime& t : listener.batch->transmit_times()) {
      const Sample& s = listener.samples[t.key];
      if (s.warm_up) continue;
      listener.delay.learn(s.group, s.position, t.time - s.read_at);
      counters.t3_to_wire.add(t.time - s.stamped);
      counters.t3_compensation_ns.set(static_cast<std::uint64_t>((s.stamped - s.read_at).count()));
    }
  }

  void count(std::span<const net::Datagram> part, std::span<const Verdict> verdicts) {
    std::uint64_t received = 0;
    std::uint64_t sent = 0;
    std::uint64_t unstamped = 0;
    for (std::size_t i = 0; i < part.size(); ++i) {
      counters.verdicts[static_cast<std::size_t>(verdicts[i])].add();
      received += part[i].request.size();
      sent += part[i].reply_length;
      unstamped += part[i].kernel_timestamp ? 0 : 1;
    }
    counters.octets_received.add(received);
    counters.octets_sent.add(sent);
    counters.without_kernel_timestamp.add(unstamped);
  }

  // Brings the sockets' own totals where other threads may read them.
  void take_over() {
    net::UdpCounters sum;
    for (const auto& listener : listeners) {
      const net::UdpCounters& c = listener->batch->counters();
      sum.received += c.received;
      sum.sent += c.sent;
      sum.truncated += c.truncated;
      sum.unanswerable += c.unanswerable;
      sum.send_refused += c.send_refused;
      sum.receive_errors += c.receive_errors;
    }
    counters.datagrams_received.set(sum.received);
    counters.datagrams_sent.set(sum.sent);
    counters.datagrams_truncated.set(sum.truncated);
    counters.datagrams_unanswerable.set(sum.unanswerable);
    counters.sends_refused.set(sum.send_refused);
    counters.receive_errors.set(sum.receive_errors);
  }

  // Readable once the shard is to end.
  struct End {
    End() : fd(eventfd(0, EFD_CLOEXEC)) {
      if (fd < 0) throw std::runtime_error(std::string("eventfd: ") + std::strerror(errno));
    }
    ~End() { close(fd); }
    void tell() const { eventfd_write(fd, 1); }
    int fd;
  };

  End end;
  const Seqlock<ClockState>& clock;
  Subscription<nts::KeyRing> keys;
  Subscription<AccessPolicy> access;
  std::optional<unsigned> cpu;
  crypto::RandomGenerator random;
  Responder responder;
  ShardCounters counters;
  std::optional<BusiestClients> clients;
  std::vector<std::unique_ptr<Listener>> listeners;
  std::thread thread;
};

Shard::Shard(const ShardOptions& options, const Publications& publications,
             std::vector<std::unique_ptr<net::UdpBatch>> others)
    : impl_(std::make_unique<Impl>(options, publications, std::move(others))) {}
Shard::~Shard() {
  stop();
}

void Shard::start() {
  impl_->thread = std::thread([this] {
    pthread_setname_np(pthread_self(), "shard");
    if (impl_->cpu) pin_to_cpu(*impl_->cpu);  // as far as the system lets us
    impl_->serve();
    // Here, by their owner: from another thread the kernel would keep an io_uring's socket a while.
    impl_->listeners.clear();
  });
}

void Shard::stop() {
  impl_->end.tell();
  if (impl_->thread.joinable()) impl_->thread.join();
}

pthread_t Shard::thread() const {
  return impl_->thread.native_handle();
}

std::vector<BusyClient> Shard::busiest_clients(MonotonicTime now) const {
  return impl_->clients ? impl_->clients->last_minute(now) : std::vector<BusyClient>();
}

const ShardCounters& Shard::counters() const {
  return impl_->counters;
}

}  // namespace timeball::server
