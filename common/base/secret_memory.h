// Memory for secrets that live long: pages of their own, locked (never in swap), left out of core
// dumps, empty in a forked child, and wiped before they go back.
//
// An allocation takes whole pages and a few system calls: for a ring of keys or a file's text, not
// for small change (common/base/secret.h). When the kernel will not lock more (RLIMIT_MEMLOCK) the
// secret is kept all the same, and unlocked_secrets() tells. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace timeball {

// Zeroed. Throws std::bad_alloc.
void* allocate_secret(std::size_t size);
// size: as it was allocated with.
void free_secret(void* memory, std::size_t size) noexcept;
// How many of this process's allocations the kernel refused to lock.
std::uint64_t unlocked_secrets();

template <class T>
struct SecretAllocator {
  using value_type = T;

  SecretAllocator() = default;
  template <class U>
  explicit SecretAllocator(const SecretAllocator<U>&) {}
  T* allocate(std::size_t count) {
    return static_cast<T*>(allocate_secret(count * sizeof(T)));  // the container bounds count
  }
  void deallocate(T* memory, std::size_t count) noexcept { free_secret(memory, count * sizeof(T)); }
  bool operator==(const SecretAllocator&) const { return true; }
};

// Text of key material. Up to 15 characters stay in the object itself, where nothing protects them.
using SecretText = std::basic_string<char, std::char_traits<char>, SecretAllocator<char>>;

}  // namespace timeball
