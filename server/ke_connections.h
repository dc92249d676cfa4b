// The limits on NTS-KE connections: how many are open, in all and per address.
//
// Inside of the NTS-KE service; others use server/ke_service.h.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "common/net/address.h"
#include "server/ke_service.h"

namespace timeball::server {

// How many connections are open, in all and per address. Any thread.
class KeConnections {
 public:
  KeConnections(unsigned max_total, unsigned max_per_address)
      : max_total_(max_total), max_per_address_(max_per_address) {}

  // Nothing: admitted, and to be released.
  std::optional<KeOutcome> admit(const net::IpAddress& key) {
    const std::lock_guard lock(mutex_);
    if (open() >= max_total_) return KeOutcome::kRefusedTotal;
    unsigned& count = by_address_[key];
    if (count >= max_per_address_) return KeOutcome::kRefusedAddress;
    ++count;
    open_.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
  }
  void release(const net::IpAddress& key) {
    const std::lock_guard lock(mutex_);
    const auto entry = by_address_.find(key);
    if (--entry->second == 0) by_address_.erase(entry);
    open_.fetch_sub(1, std::memory_order_relaxed);
  }
  unsigned open() const { return open_.load(std::memory_order_relaxed); }

 private:
  const unsigned max_total_;
  const unsigned max_per_address_;
  std::atomic<unsigned> open_{0};
  std::mutex mutex_;
  std::map<net::IpAddress, unsigned> by_address_;
};

// One place among the open connections, given back at the end.
class KeLease {
 public:
  KeLease(KeConnections& connections, const net::IpAddress& key)
      : connections_(&connections), key_(key) {}
  KeLease(KeLease&& other) noexcept
      : connections_(std::exchange(other.connections_, nullptr)), key_(other.key_) {}
  KeLease& operator=(KeLease&&) = delete;
  ~KeLease() {
    if (connections_ != nullptr) connections_->release(key_);
  }

 private:
  KeConnections* connections_;
  net::IpAddress key_;
};

}  // namespace timeball::server
