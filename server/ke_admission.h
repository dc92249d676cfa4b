// Which NTS-KE connections are served: decided when one has been accepted, before anything is spent
// on TLS. Over a limit it is reset and counted; the limits are those of [nts_ke].
//
//   wait    The kernel queues what has not been accepted. Who has waited there for longer than a
//           fifth of the deadline is refused: most likely the client has given up already, and
//           those behind wait less. A queue that has not been empty for as long is no burst but
//           overload: then half of that is the limit, and the queue as short as what is served in
//           that time. What comes beyond it the kernel drops, which costs next to nothing; as many
//           are served, and all of them sooner.
//   rate    Token buckets, over all connections and for each prefix. The prefix's one is in force
//           only for who has waited for busy_after or longer: it shares a busy server out, and
//           never leaves one idle.
//   places  How many are open, in all and per prefix. When all are taken, the oldest of those gives
//           way that have not sent a whole ClientHello, which a client has ready when it connects,
//           if it is older than a hundredth of the deadline; failing that the oldest of the others,
//           if it is older than a fifth. Slow clients (slow loris) would hold their places until
//           the deadline, and a few thousand of them would keep everybody out. Who is younger
//           stays, or a crowd in a hurry would have itself cut short for newcomers that are cut
//           short in turn.
//
// Pure: time is an argument. Any thread; one lock, held for a look at two small tables.
// Inside of the NTS-KE service; others use server/ke_service.h.
#pragma once

#include <atomic>
#include <compare>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "common/net/address.h"
#include "common/time/time_scales.h"
#include "server/config.h"
#include "server/ke_service.h"
#include "server/rate_limiter.h"

namespace timeball::server {

// Who gives way first: those that have not spoken, and among them the oldest.
struct KeSeniority {
  bool has_spoken = false;   // sent a whole ClientHello
  std::uint64_t number = 0;  // counts up

  friend auto operator<=>(const KeSeniority&, const KeSeniority&) = default;
};

// How long a connection may wait in one listener's queue, and how many may. Pure; one thread.
class KeQueueLimit {
 public:
  static constexpr unsigned kMost = 1024;

  explicit KeQueueLimit(const NtsKeConfig& config);

  void was_empty(MonotonicTime now);
  bool admits(MonotonicTime now, Duration waited) const;
  // Counts one that is served.
  void served() { ++served_; }
  // How many may wait from now on.
  unsigned length(MonotonicTime now);

 private:
  bool is_overload(MonotonicTime now) const { return now - empty_ > patience_; }

  const Duration patience_;
  MonotonicTime empty_{};  // when the queue was last
  MonotonicTime counted_from_{};
  unsigned served_ = 0;
  unsigned length_ = kMost;
};

class KeAdmission {
 public:
  // hash_key: random, as RateLimiter's.
  KeAdmission(const NtsKeConfig& config, std::uint64_t hash_key);

  // Fewer connections in all than configured. Before the others are called.
  void lower_total(unsigned most) { max_total_ = most; }

  // Under what the limits of this client are counted: its address without the host's bits.
  net::IpAddress prefix_of(const net::IpAddress& client) const;
  // Which rate a connection is over that waited so long to be accepted.
  std::optional<KeOutcome> refuse(const net::IpAddress& prefix, MonotonicTime now, Duration waited);
  // Takes a place, to be given back by leave(); or says which limit is reached.
  std::optional<KeOutcome> enter(const net::IpAddress& prefix);
  void leave(const net::IpAddress& prefix);
  // Whether a connection gives its place to a newcomer.
  bool gives_way(Duration age, bool has_spoken) const {
    return age > (has_spoken ? patience_ : patience_ / kSilenceShare);
  }
  unsigned open() const { return open_.load(std::memory_order_relaxed); }

 private:
  static constexpr unsigned kSilenceShare = 20;  // of the patience

  const Duration patience_;  // a fifth of the deadline
  const Duration busy_after_;
  const unsigned max_per_address_;
  const unsigned ipv4_prefix_;
  const unsigned ipv6_prefix_;
  const unsigned rate_;
  const unsigned burst_;
  unsigned max_total_;
  std::atomic<unsigned> open_{0};
  std::mutex mutex_;  // over what follows
  TokenBucket all_;
  RateLimiter rates_;
  std::map<net::IpAddress, unsigned> places_;
};

// One place among the open connections, given back at the end.
class KeLease {
 public:
  KeLease(KeAdmission& admission, const net::IpAddress& prefix)
      : admission_(&admission), prefix_(prefix) {}
  KeLease(KeLease&& other) noexcept
      : admission_(std::exchange(other.admission_, nullptr)), prefix_(other.prefix_) {}
  KeLease& operator=(KeLease&&) = delete;
  ~KeLease() { end(); }

  void end() {
    if (admission_ != nullptr) std::exchange(admission_, nullptr)->leave(prefix_);
  }
  const net::IpAddress& prefix() const { return prefix_; }

 private:
  KeAdmission* admission_;
  net::IpAddress prefix_;
};

}  // namespace timeball::server
