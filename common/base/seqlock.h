// One writer publishes a small value to many readers, who never block it.
//
// The value travels as relaxed atomic words between two counter updates; no fences, so that
// ThreadSanitizer understands every ordering. T: trivially copyable.
// Thread rules: store() from one thread at a time; load() from any.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace timeball {

template <class T>
class Seqlock {
  static_assert(std::is_trivially_copyable_v<T>, "a torn copy must be harmless to discard");

 public:
  explicit Seqlock(const T& initial) { store(initial); }

  void store(const T& value) {
    Words words{};
    std::memcpy(words.data(), &value, sizeof(T));
    const std::uint64_t sequence = sequence_.load(std::memory_order_relaxed);
    sequence_.store(sequence + 1, std::memory_order_relaxed);
    // Each word is a release store: whoever reads one of them also sees the odd sequence before it.
    for (std::size_t i = 0; i < kWords; ++i) words_[i].store(words[i], std::memory_order_release);
    sequence_.store(sequence + 2, std::memory_order_release);
  }

  T load() const {
    for (;;) {
      const std::uint64_t before = sequence_.load(std::memory_order_acquire);
      Words words;
      for (std::size_t i = 0; i < kWords; ++i) words[i] = words_[i].load(std::memory_order_acquire);
      const std::uint64_t after = sequence_.load(std::memory_order_relaxed);
      if (before != after || (before & 1) != 0) continue;
      T value;
      std::memcpy(static_cast<void*>(&value), words.data(), sizeof(T));
      return value;
    }
  }

 private:
  static constexpr std::size_t kWords = (sizeof(T) + 7) / 8;
  using Words = std::array<std::uint64_t, kWords>;

  alignas(64) std::atomic<std::uint64_t> sequence_{0};
  std::array<std::atomic<std::uint64_t>, kWords> words_{};
};

}  // namespace timeball
