// A batch of NTP requests in, a batch of replies out: pure. The three verbs, in this order:
//
//   prepare   everything that does not depend on the transmit timestamp: refusals, cheapest first,
//   then
//             cookies, authenticators, new cookies, the reply but for T3 and its seal
//   stamp     writes T3, and the root dispersion as it is then, into each prepared reply
//   seal      authenticates each NTS reply over its finished header: nothing but this stands
//   between
//             the clock reading and the wire
//
// stamp and seal take consecutive parts of the prepared batch, so that T3 can be read just before
// each part is sent. RFC 5905 section 9.2 (server), RFC 8915 section 5.7. Thread rules: one thread
// (it holds the shard's cipher contexts and generator). No lock, no allocation after construction,
// no log, no exception.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "common/base/bytes.h"
#include "common/crypto/aead.h"
#include "common/crypto/random.h"
#include "common/net/udp_batch.h"
#include "common/nts/key_ring.h"
#include "common/time/clock_state.h"
#include "common/time/time_scales.h"
#include "server/access_policy.h"
#include "server/rate_limiter.h"
#include "server/verdict.h"

namespace timeball::server {

// The published snapshots one batch is answered from.
struct World {
  const ClockState& clock;
  const nts::KeyRing& keys;
  const AccessPolicy& access;
};

struct ResponderOptions {
  bool symmetric_active = false;
  bool require_nts = false;
  RateLimits rate;
};

class Responder {
 public:
  // random must outlive the responder.
  Responder(const ResponderOptions& options, crypto::Engine engine,
            crypto::RandomGenerator& random);
  ~Responder();

  // Sets reply_length (0: no reply) and the reply's octets but for T3 and the seal, for each
  // datagram. Returns one verdict each; valid until the next prepare. batch: at most
  // net::kBatchCapacity. A reply may be written over its request, and over no other.
  std::span<const Verdict> prepare(std::span<net::Datagram> batch, const World& world,
                                   MonotonicTime now);
  // transmit: when the part leaves. A receive time that may be late adds to its root dispersion.
  void stamp(std::span<net::Datagram> part, KernelTime transmit);
  // first: index in the prepared batch of part[0].
  // A reply whose seal fails in the library is not sent: reply_length becomes 0, its verdict
  // kDroppedInternal. Returns how many.
  std::size_t seal(std::span<net::Datagram> part, std::size_t first);

 private:
  struct Work;
  std::unique_ptr<Work> work_;
};

}  // namespace timeball::server
