// One serving thread: its own sockets, batches, responder, rate limiter, generator and counters.
// Nothing is shared with another shard; the world arrives by published snapshots, read once a
// batch.
//
// on_readable: UdpBatch::receive -> refresh -> Responder::prepare -> [ stamp -> seal ->
// UdpBatch::send ] Thread rules: construct, start and stop from the control thread; counters() from
// any thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
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
};

// Single-writer totals since the start; the shard writes, anybody reads.
struct ShardCounters {
  std::array<Counter, kVerdicts> verdicts;
  Counter datagrams_received;
  Counter datagrams_sent;
  Counter datagrams_truncated;
  Counter datagrams_unanswerable;
  Counter sends_refused;
  Counter receive_errors;
  Counter octets_received;
  Counter octets_sent;
  Counter without_kernel_timestamp;
};

class Shard {
 public:
  // Binds the sockets. Throws std::runtime_error with one sentence when it cannot.
  Shard(const ShardOptions& options, const Publications& publications);
  ~Shard();  // stops

  void start();
  // Returns when the thread has finished its last batch.
  void stop();
  const ShardCounters& counters() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace timeball::server
