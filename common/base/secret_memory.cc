#include "common/base/secret_memory.h"

#include <sys/mman.h>

#include <atomic>
#include <new>

#include "common/base/secret.h"

namespace timeball {
namespace {

std::atomic<std::uint64_t> unlocked{0};  // the kernel's limit too is one for the whole process

}  // namespace

void* allocate_secret(std::size_t size) {
  void* const memory =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  // A kernel without the advice is older than any that runs this.
  madvise(memory, size, MADV_DONTDUMP);
  madvise(memory, size, MADV_WIPEONFORK);
  if (mlock(memory, size) != 0) unlocked.fetch_add(1, std::memory_order_relaxed);
  return memory;
}

void free_secret(void* memory, std::size_t size) noexcept {
  wipe({static_cast<std::uint8_t*>(memory), size});
  munmap(memory, size);
}

std::uint64_t unlocked_secrets() {
  return unlocked.load(std::memory_order_relaxed);
}

}  // namespace timeball
