#include "server/shard.h"

#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <stdexcept>
#include <thread>

#include "common/base/cpus.h"
#include "common/crypto/entropy.h"
#include "server/clocks.h"
#include "server/transmit_delay.h"

namespace timeball::server {
namespace {

namespace asio = boost::asio;

// Datagrams stamped, sealed and sent together.
constexpr std::size_t kGroup = TransmitDelay::kMaxGroup;

// Batches taken from one socket before the others get their turn.
constexpr int kMaxRounds = 8;

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

  // A socket of the shard, and how Asio waits for it. The batch owns the descriptor.
  struct Listener {
    Listener(asio::io_context& io, std::unique_ptr<net::UdpBatch> b)
        : batch(std::move(b)), readable(io, batch->wait_handle()) {}
    ~Listener() { readable.release(); }

    std::unique_ptr<net::UdpBatch> batch;
    TransmitDelay delay;
    std::array<Sample, net::kBatchCapacity> samples;  // under way, by transmit key
    std::uint32_t next_sample = 0;
    asio::posix::stream_descriptor readable;
  };

  Impl(const ShardOptions& options, const Publications& publications)
      : clock(publications.clock),
        keys(publications.keys),
        access(publications.access),
        cpu(options.cpu),
        random(crypto::seeded_generator()),
        responder(options.responder, crypto::Engine(options.crypto), random) {
    for (const net::Endpoint& local : options.listen) {
      const auto socket = net::open_udp_socket(local);
      if (!socket) throw std::runtime_error(socket.error().message);
      if (!options.steer_by_cpu.empty() && !net::steer_by_cpu(*socket, options.steer_by_cpu)) {
        close(*socket);
        throw std::runtime_error("the kernel refuses to steer by CPU; set steering to \"flow\"");
      }
      auto batch = net::make_udp_batch(*socket, options.io);
      if (!batch) throw std::runtime_error(batch.error().message);
      listeners.push_back(std::make_unique<Listener>(io, std::move(*batch)));
    }
  }

  void wait(Listener& listener) {
    listener.readable.async_wait(asio::posix::stream_descriptor::wait_read,
                                 [this, &listener](const boost::system::error_code& error) {
                                   if (error) return;
                                   on_readable(listener);
                                   wait(listener);
                                 });
  }

  void on_readable(Listener& listener) {
    for (int round = 0; round < kMaxRounds; ++round) {
      const std::span<net::Datagram> batch = listener.batch->receive();
      if (batch.empty()) break;
      answer(listener, batch);
    }
    take_over();
  }

  void answer(Listener& listener, std::span<net::Datagram> batch) {
    keys.refresh();
    access.refresh();
    const ClockState now = clock.load();
    std::span<const Verdict> verdicts;
    try {
      verdicts = responder.prepare(batch, World{now, *keys, *access}, read_monotonic_time());
    } catch (const std::runtime_error&) {  // the generator: no randomness, no replies
      counters.verdicts[static_cast<std::size_t>(Verdict::kDroppedInternal)].add(batch.size());
      return;
    }
    for (std::size_t first = 0; first < batch.size(); first += kGroup) {
      const auto part = batch.subspan(first, std::min(kGroup, batch.size() - first));
      stamp(listener, part);
      responder.seal(part, first);
      listener.batch->send(part);
      learn(listener);
    }
    count(batch, verdicts);
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
      d.want_transmit_time = sampled.contains(position);
      if (d.want_transmit_time) {
        d.transmit_key = listener.next_sample++ % net::kBatchCapacity;
        listener.samples[d.transmit_key] = {group, position, now, leaves, sampled.warm_up};
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

  void count(std::span<const net::Datagram> batch, std::span<const Verdict> verdicts) {
    std::uint64_t received = 0;
    std::uint64_t sent = 0;
    std::uint64_t unstamped = 0;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      counters.verdicts[static_cast<std::size_t>(verdicts[i])].add();
      received += batch[i].request.size();
      sent += batch[i].reply_length;
      unstamped += batch[i].kernel_timestamp ? 0 : 1;
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

  asio::io_context io{1};
  const Seqlock<ClockState>& clock;
  Subscription<nts::KeyRing> keys;
  Subscription<AccessPolicy> access;
  std::optional<unsigned> cpu;
  crypto::RandomGenerator random;
  Responder responder;
  ShardCounters counters;
  std::vector<std::unique_ptr<Listener>> listeners;
  std::thread thread;
};

Shard::Shard(const ShardOptions& options, const Publications& publications)
    : impl_(std::make_unique<Impl>(options, publications)) {}
Shard::~Shard() {
  stop();
}

void Shard::start() {
  for (const auto& listener : impl_->listeners) impl_->wait(*listener);
  impl_->thread = std::thread([this] {
    pthread_setname_np(pthread_self(), "shard");
    if (impl_->cpu) pin_to_cpu(*impl_->cpu);  // as far as the system lets us
    impl_->io.run();
    // Here, by their owner: from another thread the kernel would keep an io_uring's socket a while.
    impl_->listeners.clear();
  });
}

void Shard::stop() {
  impl_->io.stop();
  if (impl_->thread.joinable()) impl_->thread.join();
}

pthread_t Shard::thread() const {
  return impl_->thread.native_handle();
}

const ShardCounters& Shard::counters() const {
  return impl_->counters;
}

}  // namespace timeball::server
