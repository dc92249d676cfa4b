// An immutable snapshot that one thread replaces and many read: key ring, access policy, TLS
// context.
//
// std::atomic<std::shared_ptr> is not lock-free in GCC 12, so: a pointer under a mutex and an
// atomic version beside it. A reader keeps its own Subscription and looks at the version once a
// batch; only when it changed does it take the mutex. Thread rules: publish() and current() from
// any thread; a Subscription belongs to one thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace timeball {

template <class T>
class Published {
 public:
  explicit Published(std::shared_ptr<const T> initial) : value_(std::move(initial)) {}

  void publish(std::shared_ptr<const T> value) {
    {
      const std::lock_guard lock(mutex_);
      std::swap(value_, value);
      version_.fetch_add(1, std::memory_order_release);
    }
    // What was replaced is destroyed here, outside the lock.
  }

  std::shared_ptr<const T> current() const {
    const std::lock_guard lock(mutex_);
    return value_;
  }

  std::uint64_t version() const { return version_.load(std::memory_order_acquire); }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const T> value_;
  std::atomic<std::uint64_t> version_{1};
};

// One thread's view of a Published value. The Published must outlive it.
template <class T>
class Subscription {
 public:
  explicit Subscription(const Published<T>& source) : source_(&source) { refresh(); }

  // Returns whether the snapshot changed.
  bool refresh() {
    const std::uint64_t version = source_->version();
    if (version == version_) return false;
    value_ = source_->current();
    version_ = version;
    return true;
  }
  const T& operator*() const { return *value_; }
  const T* operator->() const { return value_.get(); }

 private:
  const Published<T>* source_;
  std::shared_ptr<const T> value_;
  std::uint64_t version_ = 0;
};

}  // namespace timeball
