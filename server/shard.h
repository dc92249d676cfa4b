// One serving thread: its own sockets, batches, responder, rate limiter, generator and counters.
// Nothing is shared with another shard; the world arrives by published snapshots, read once a
// batch.
//
// on_readable: UdpBatch::receive -> refresh -> Responder::prepare -> [ stamp -> seal ->
// UdpBatch::send ] Thread rules: construct, start and stop from the control thread; counters() from
// any thread.
#pragma once

#include <pthread.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "common/base/counter.h"
#include "common/base/published.h"
#include "common/base/seqlock.h"
#include "common/crypto/aead.h"
#include "common/net/address.h"
#include "common/net/udp_batch.h"
#include "common/nts/key_ring.h"
#include "common/time/clock_state.h"
#include "server/access_policy.h"
#include "server/busiest_clients.h"
#include "server/responder.h"
#include "server/verdict.h"

namespace timeball::server {

// What every shard reads. All of it must outlive the shards.
struct Publications {
  const Seqlock<ClockState>& clock;
  const Published<nts::KeyRing>& keys;
  const Published<AccessPolicy>& access;
};

struct ShardOptions {
  std::vector<net::Endpoint> listen;
  net::IoBackend io = net::IoBackend::kAuto;
  ResponderOptions responder;
  crypto::Implementation crypto = crypto::Implementation::kAuto;
  // The shards' CPUs in the order of their making: requests go to the shard on the CPU they came in
  // on. Empty: by their addresses and ports.
  std::vector<unsigned> steer_by_cpu;
  std::optional<unsigned> cpu;  // where its thread runs; nothing: where the kernel likes
  unsigned clients = 0;         // so many of the busiest are kept; 0: none
};

// From T3 to the wire, as the kernel's transmit timestamps of a sample tell. Counters as below.
struct T3ToWire {
  // Upper bounds; one more bucket, without a bound, follows them. Negative: left before T3.
  static constexpr std::array<std::int64_t, 12> kBounds_ns = {
      -8'000, -4'000, -2'000, -1'000, 0, 1'000, 2'000, 4'000, 8'000, 16'000, 64'000, 256'000};

  void add(Duration delay) {
    const auto bucket = std::ranges::lower_bound(kBounds_ns, delay.count()) - kBounds_ns.begin();
    counts[static_cast<std::size_t>(bucket)].add();
    sum_ns.add(static_cast<std::uint64_t>(delay.count()));
  }

  std::array<Counter, kBounds_ns.size() + 1> counts;  // per bucket, not cumulative
  Counter sum_ns;                                     // two's complement
};

// Single-writer totals since the start; the shard writes, anybody reads.
struct ShardCounters {
  std::array<Counter, kVerdicts> verdicts;
  Counter batches;  // received
  Counter datagrams_received;
  Counter datagrams_sent;
  Counter datagrams_truncated;
  Counter datagrams_unanswerable;
  Counter sends_refused;
  Counter receive_errors;
  Counter octets_received;
  Counter octets_sent;
  Counter without_kernel_timestamp;
  Counter turns;  // of its loop: while the thread lives, one a second and more
  T3ToWire t3_to_wire;
  Counter t3_compensation_ns;  // what the last sampled reply's T3 was ahead of the clock reading
};

class Shard {
 public:
  // Binds the sockets; serves `others` too. Throws std::runtime_error with one sentence when it
  // cannot.
  Shard(const ShardOptions& options, const Publications& publications,
        std::vector<std::unique_ptr<net::UdpBatch>> others = {});
  ~Shard();  // stops

  void start();
  // Returns when the thread has finished its last batch.
  void stop();
  const ShardCounters& counters() const;
  // Of the last whole minute; any thread.
  std::vector<BusyClient> busiest_clients(MonotonicTime now) const;
  pthread_t thread() const;  // while started

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace timeball::server
