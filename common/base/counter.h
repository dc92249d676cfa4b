// A counter with one writer and any number of readers: no locked instruction on the writer's side.
#pragma once

#include <atomic>
#include <cstdint>

namespace timeball {

class Counter {
 public:
  // Only the owning thread.
  void add(std::uint64_t n = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  // Only the owning thread: takes over a running total counted elsewhere.
  void set(std::uint64_t total) { value_.store(total, std::memory_order_relaxed); }
  // Any thread.
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

}  // namespace timeball
