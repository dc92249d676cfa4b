#include "server/ke_admission.h"

#include <algorithm>

#include "common/time/ntp_timestamp.h"

namespace timeball::server {
namespace {

constexpr unsigned kRatesKept = 1u << 14;  // prefixes whose rate is known at a time: some 600 KB

constexpr unsigned kLeastQueue = 16;

Duration patience_of(const NtsKeConfig& config) {
  return config.deadline / 5;
}

Duration interval_of(unsigned rate) {
  return Duration(kNsPerSecond / rate);
}

RateLimits rates_of(const NtsKeConfig& config) {
  RateLimits limits;
  limits.enabled = config.rate_per_address != 0;
  if (limits.enabled) limits.interval = interval_of(config.rate_per_address);
  limits.burst = config.burst_per_address;
  limits.ipv4_prefix = config.ipv4_prefix;
  limits.ipv6_prefix = config.ipv6_prefix;
  limits.table_size = kRatesKept;
  return limits;
}

}  // namespace

KeQueueLimit::KeQueueLimit(const NtsKeConfig& config) : patience_(patience_of(config)) {}

void KeQueueLimit::was_empty(MonotonicTime now) {
  empty_ = counted_from_ = now;
  served_ = 0;
  length_ = kMost;
}

bool KeQueueLimit::admits(MonotonicTime now, Duration waited) const {
  return waited <= (is_overload(now) ? patience_ / 2 : patience_);
}

unsigned KeQueueLimit::length(MonotonicTime now) {
  const Duration counted = now - counted_from_;
  if (!is_overload(now) || counted < patience_) return length_;
  const auto in_half_of_it = static_cast<std::uint64_t>(served_ * (patience_ / 2) / counted);
  length_ = static_cast<unsigned>(std::clamp<std::uint64_t>(in_half_of_it, kLeastQueue, kMost));
  counted_from_ = now;
  served_ = 0;
  return length_;
}

KeAdmission::KeAdmission(const NtsKeConfig& config, std::uint64_t hash_key)
    : patience_(patience_of(config)),
      busy_after_(config.busy_after),
      max_per_address_(config.max_connections_per_address),
      ipv4_prefix_(config.ipv4_prefix),
      ipv6_prefix_(config.ipv6_prefix),
      rate_(config.rate),
      burst_(config.burst),
      max_total_(config.max_connections),
      rates_(rates_of(config), hash_key) {}

net::IpAddress KeAdmission::prefix_of(const net::IpAddress& client) const {
  return client.masked(client.is_v4() ? 96 + ipv4_prefix_ : ipv6_prefix_);
}

std::optional<KeOutcome> KeAdmission::refuse(const net::IpAddress& prefix, MonotonicTime now,
                                             Duration waited) {
  const std::lock_guard lock(mutex_);
  if (!rates_.within(prefix, now) && waited >= busy_after_) return KeOutcome::kRefusedAddressRate;
  if (rate_ != 0 && !all_.take(now, interval_of(rate_), burst_)) return KeOutcome::kRefusedRate;
  return std::nullopt;
}

std::optional<KeOutcome> KeAdmission::enter(const net::IpAddress& prefix) {
  const std::lock_guard lock(mutex_);
  const auto own = places_.find(prefix);
  if (own != places_.end() && own->second >= max_per_address_) return KeOutcome::kRefusedAddress;
  if (open() >= max_total_) return KeOutcome::kRefusedTotal;
  ++places_[prefix];
  open_.fetch_add(1, std::memory_order_relaxed);
  return std::nullopt;
}

void KeAdmission::leave(const net::IpAddress& prefix) {
  const std::lock_guard lock(mutex_);
  const auto own = places_.find(prefix);
  if (--own->second == 0) places_.erase(own);
  open_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace timeball::server
