// How often one prefix is answered: token buckets in a table of fixed size, and one bucket for
// refusals.
//
// A random share of what is over the limit is let through, so that an attacker who spoofs a
// victim's address cannot silence the victim. Pure: time and randomness are arguments. One thread.
#pragma once

#include <cstdint>
#include <vector>

#include "common/crypto/random.h"
#include "common/net/address.h"
#include "common/time/ntp_timestamp.h"
#include "common/time/time_scales.h"

namespace timeball::server {

struct RateLimits {
  bool enabled = false;
  Duration interval = std::chrono::seconds(1);  // one request per prefix, on average
  unsigned burst = 8;
  bool kiss = false;         // answer plain requests over the limit with RATE
  unsigned let_through = 4;  // one in this many over the limit passes; 0: none
  unsigned ipv4_prefix = 32;
  unsigned ipv6_prefix = 64;
  unsigned table_size = 65536;
  unsigned refusals_per_second = 1000;
};

// A bucket as the time at which it will be full again (the generic cell rate algorithm): one word.
class TokenBucket {
 public:
  // Takes one token when there is one.
  bool take(MonotonicTime now, Duration interval, unsigned burst);
  MonotonicTime full_at() const { return full_at_; }

 private:
  MonotonicTime full_at_{};
};

class RateLimiter {
 public:
  // hash_key: random, so that nobody can choose addresses that collide.
  RateLimiter(const RateLimits& limits, std::uint64_t hash_key);

  enum class Answer : std::uint8_t { kAdmit, kLimit };
  Answer admit(const net::IpAddress& client, MonotonicTime now, crypto::RandomGenerator& random);
  // The same where a source address cannot be forged: nothing over the limit passes.
  bool within(const net::IpAddress& client, MonotonicTime now);
  // Whether one more NAK or kiss may leave.
  bool admit_refusal(MonotonicTime now);

 private:
  struct Entry {
    net::IpAddress prefix;
    TokenBucket bucket;
    bool used = false;
  };
  static constexpr std::size_t kWays = 4;  // entries a prefix may stand in

  Entry& find(const net::IpAddress& prefix);

  RateLimits limits_;
  std::uint64_t hash_key_;
  std::vector<Entry> table_;
  TokenBucket refusals_;
};

}  // namespace timeball::server
