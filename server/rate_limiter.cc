#include "server/rate_limiter.h"

#include <algorithm>

#include "server/address_hash.h"

namespace timeball::server {
bool TokenBucket::take(MonotonicTime now, Duration interval, unsigned burst) {
  const MonotonicTime begin = std::max(full_at_, now);
  if (begin + interval - now > interval * burst) return false;
  full_at_ = begin + interval;
  return true;
}

RateLimiter::RateLimiter(const RateLimits& limits, std::uint64_t hash_key)
    : limits_(limits), hash_key_(hash_key) {
  if (limits_.enabled) table_.resize(std::max<std::size_t>(limits_.table_size / kWays, 1) * kWays);
}

RateLimiter::Answer RateLimiter::admit(const net::IpAddress& client, MonotonicTime now,
                                       crypto::RandomGenerator& random) {
  if (!limits_.enabled || within(client, now)) return Answer::kAdmit;
  const bool lucky = limits_.let_through != 0 && random.u32() % limits_.let_through == 0;
  return lucky ? Answer::kAdmit : Answer::kLimit;
}

bool RateLimiter::within(const net::IpAddress& client, MonotonicTime now) {
  if (!limits_.enabled) return true;
  const unsigned bits = client.is_v4() ? 96 + limits_.ipv4_prefix : limits_.ipv6_prefix;
  return find(client.masked(bits)).bucket.take(now, limits_.interval, limits_.burst);
}

bool RateLimiter::admit_refusal(MonotonicTime now) {
  const unsigned rate = limits_.refusals_per_second;
  return rate != 0 && refusals_.take(now, Duration(kNsPerSecond / rate), rate);
}

// The prefix's entry; a new one takes the place of whichever of its set has been idle longest.
RateLimiter::Entry& RateLimiter::find(const net::IpAddress& prefix) {
  const std::size_t sets = table_.size() / kWays;
  Entry* const set = &table_[hash(prefix, hash_key_) % sets * kWays];
  Entry* oldest = set;
  for (Entry* e = set; e != set + kWays; ++e) {
    if (e->used && e->prefix == prefix) return *e;
    if (!e->used || e->bucket.full_at() < oldest->bucket.full_at()) oldest = e;
  }
  *oldest = Entry{prefix, TokenBucket{}, true};
  return *oldest;
}

}  // namespace timeball::server
