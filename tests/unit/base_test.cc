#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/counter.h"
#include "common/base/log.h"
#include "common/base/published.h"
#include "common/base/secret.h"
#include "common/base/secret_memory.h"
#include "common/base/seqlock.h"

namespace timeball {
namespace {

using std::chrono::seconds;

TEST(ByteReader, ReadsBigEndianInOrder) {
  const std::array<std::uint8_t, 15> octets = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  ByteReader reader(octets);
  EXPECT_EQ(reader.u8(), 1);
  EXPECT_EQ(reader.u16(), 0x0203);
  EXPECT_EQ(reader.u32(), 0x04050607U);
  EXPECT_EQ(reader.u64(), 0x08090a0b0c0d0e0fU);
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(reader.remaining(), 0U);
}

TEST(ByteReader, ErrorSticksAndEverythingAfterIsZero) {
  const std::array<std::uint8_t, 3> octets = {1, 2, 3};
  ByteReader reader(octets);
  EXPECT_EQ(reader.u32(), 0U);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.u8(), 0);
  EXPECT_TRUE(reader.take(1).empty());
  EXPECT_FALSE(reader.ok());
}

TEST(ByteWriter, NeverWritesPastItsEnd) {
  std::array<std::uint8_t, 6> room{};
  ByteWriter writer(MutableBytes(room).first(5));
  writer.u32(0x01020304);
  EXPECT_TRUE(writer.ok());
  writer.u16(0xffff);
  EXPECT_FALSE(writer.ok());
  EXPECT_EQ(writer.size(), 4U);
  EXPECT_EQ(room, (std::array<std::uint8_t, 6>{1, 2, 3, 4, 0, 0}));
}

TEST(Bytes, Padded4RoundsUp) {
  EXPECT_EQ(padded4(0), 0U);
  EXPECT_EQ(padded4(1), 4U);
  EXPECT_EQ(padded4(4), 4U);
  EXPECT_EQ(padded4(13), 16U);
}

// What the kernel says of the mapping that this lies in.
std::string mapping_flags(const void* memory) {
  const auto wanted = reinterpret_cast<std::uintptr_t>(memory);
  std::ifstream smaps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    std::uintptr_t low = 0;
    std::uintptr_t high = 0;
    char dash = 0;
    if (std::istringstream(line) >> std::hex >> low >> dash >> high && dash == '-') {
      inside = low <= wanted && wanted < high;
    }
    if (inside && line.starts_with("VmFlags:")) return line + " ";
  }
  return {};
}

// Not under the sanitizers, which make nothing of it and say that it was done.
bool mlock_locks() {
  static std::uint8_t octet = 0;
  if (mlock(&octet, 1) != 0) return true;
  const bool locked = mapping_flags(&octet).find(" lo ") != std::string::npos;
  munlock(&octet, 1);
  return locked;
}

TEST(SecretMemory, IsNotDumpedNorInheritedAndLockedOrCounted) {
  const std::uint64_t unlocked_before = unlocked_secrets();
  const std::vector<std::uint64_t, SecretAllocator<std::uint64_t>> secret(10'000, 7);
  for (const std::uint64_t* at : {&secret.front(), &secret.back()}) {
    const std::string flags = mapping_flags(at);
    EXPECT_NE(flags.find(" dd "), flags.npos) << flags;
    EXPECT_NE(flags.find(" wf "), flags.npos) << flags;
    if (!mlock_locks()) continue;
    const bool locked = flags.find(" lo ") != flags.npos;
    EXPECT_EQ(locked, unlocked_secrets() == unlocked_before) << flags;
  }
}

TEST(SecretMemory, IsZeroAtFirstAndGoneAtTheEnd) {
  constexpr std::size_t kSize = 3 * 4096 + 1;
  auto* const memory = static_cast<std::uint8_t*>(allocate_secret(kSize));
  EXPECT_EQ(std::count(memory, memory + kSize, 0), kSize);
  std::fill(memory, memory + kSize, 1);
  free_secret(memory, kSize);
  EXPECT_EQ(mapping_flags(memory).find(" dd "), std::string::npos);
}

TEST(Secret, ShrinkingWipesWhatIsCutOff) {
  Secret<8> secret(std::array<std::uint8_t, 8>{1, 2, 3, 4, 5, 6, 7, 8});
  const std::uint8_t* const octets = secret.bytes().data();
  secret.resize(2);
  EXPECT_EQ(octets[1], 2);
  for (int i = 2; i < 8; ++i) EXPECT_EQ(octets[i], 0);
}

// The object is gone, its memory is not: the compiler must take what is there as it comes.
TEST(Secret, DestructionWipes) {
  alignas(Secret<16>) std::array<std::uint8_t, sizeof(Secret<16>)> storage{};
  auto* const secret =
      new (storage.data()) Secret<16>(std::array<std::uint8_t, 3>{0xaa, 0xbb, 0xcc});
  secret->~Secret<16>();
  asm volatile("" : : "r"(storage.data()) : "memory");
  // Only the length is left, which is no secret.
  EXPECT_EQ(std::count(storage.begin(), storage.end(), 0xaa), 0);
  EXPECT_EQ(std::count(storage.begin(), storage.end(), 0xbb), 0);
}

TEST(Secret, ConstantTimeEqualityComparesLengthAndEveryOctet) {
  const std::array<std::uint8_t, 3> a = {1, 2, 3};
  for (std::size_t i = 0; i < a.size(); ++i) {
    auto b = a;
    b[i] ^= 0x80;
    EXPECT_FALSE(equal_constant_time(a, b));
  }
  EXPECT_TRUE(equal_constant_time(a, a));
  EXPECT_FALSE(equal_constant_time(a, Bytes(a).first(2)));
}

// A torn read would show words of two different stores.
TEST(Seqlock, ReadersNeverSeeATornValue) {
  struct Value {
    std::array<std::uint64_t, 9> words;
  };
  Seqlock<Value> lock(Value{});
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (std::uint64_t n = 1; !stop.load(); ++n) {
      Value value{};
      value.words.fill(n);
      lock.store(value);
    }
  });
  std::uint64_t last = 0;
  for (int i = 0; i < 20'000; ++i) {
    const Value value = lock.load();
    for (const std::uint64_t word : value.words) ASSERT_EQ(word, value.words[0]);
    ASSERT_GE(value.words[0], last);
    last = value.words[0];
  }
  stop = true;
  writer.join();
}

TEST(Published, SubscriptionSeesEachNewSnapshotOnce) {
  Published<int> source(std::make_shared<const int>(1));
  Subscription<int> reader(source);
  EXPECT_EQ(*reader, 1);
  EXPECT_FALSE(reader.refresh());
  source.publish(std::make_shared<const int>(2));
  EXPECT_EQ(*reader, 1);  // until it looks
  EXPECT_TRUE(reader.refresh());
  EXPECT_EQ(*reader, 2);
  EXPECT_FALSE(reader.refresh());
}

TEST(Published, ManyReadersOneWriter) {
  Published<std::vector<int>> source(std::make_shared<const std::vector<int>>(3, 0));
  std::vector<std::thread> readers;
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&source] {
      Subscription<std::vector<int>> reader(source);
      for (int i = 0; i < 5'000; ++i) {
        reader.refresh();
        ASSERT_EQ((*reader)[0], (*reader)[2]);
      }
    });
  }
  for (int i = 1; i < 1'000; ++i) source.publish(std::make_shared<const std::vector<int>>(3, i));
  for (auto& reader : readers) reader.join();
}

TEST(Counter, AddsAndTakesOver) {
  Counter counter;
  counter.add();
  counter.add(4);
  EXPECT_EQ(counter.value(), 5U);
  counter.set(9);
  EXPECT_EQ(counter.value(), 9U);
}

TEST(LogLimiter, LetsABurstThroughThenOneEachInterval) {
  LogLimiter limiter(seconds(10), 3);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(limiter.admit(seconds(100)));
  for (int i = 0; i < 7; ++i) EXPECT_FALSE(limiter.admit(seconds(101)));
  EXPECT_TRUE(limiter.admit(seconds(111)));
  EXPECT_EQ(limiter.suppressed(), 7U);
  EXPECT_FALSE(limiter.admit(seconds(112)));
}

TEST(LogLimiter, NeverSavesUpMoreThanItsBurst) {
  LogLimiter limiter(seconds(1), 2);
  int admitted = 0;
  for (int i = 0; i < 10; ++i) admitted += limiter.admit(seconds(100'000)) ? 1 : 0;
  EXPECT_EQ(admitted, 2);
}

}  // namespace
}  // namespace timeball
