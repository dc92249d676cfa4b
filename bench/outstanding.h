// The requests that are on their way, found again by the timestamp that a reply gives back.
//
// A request's transmit timestamp is random to look at, and hides the place of its record in a ring:
// no search, no hash table. The ring forgets the oldest record first; until then a second reply
// is known for a duplicate, and one after the timeout for a late one.
//
// Pure but for the memory it holds; one thread. No allocation after construction.
#pragma once

#include <array>
#include <bit>
#include <cassert>
#include <cstdint>
#include <vector>

#include "bench/timeline.h"
#include "common/time/ntp_timestamp.h"
#include "common/time/time_scales.h"

namespace timeball::bench {

// What is sent. The server owes an answer to the first two.
enum class RequestKind : std::uint8_t { kPlain, kNts, kBadAuthenticator, kGarbage };
inline constexpr std::size_t kRequestKinds = 4;
constexpr bool owed_an_answer(RequestKind kind) {
  return kind == RequestKind::kPlain || kind == RequestKind::kNts;
}

struct SentRecord {
  enum class State : std::uint8_t { kUnused, kWaiting, kAnswered, kLost };

  NtpTimestamp transmit;
  SteadyTime intended;             // when it should have left: latencies count from here
  SteadyTime sent;                 // when it was given to the kernel: the timeout counts from here
  KernelTime transmit_time;        // the kernel's, when `stamped`
  std::uint64_t cookie_print = 0;  // of the cookie it spent
  std::uint32_t association = 0;
  std::uint16_t length = 0;        // octets
  std::uint8_t cookies_asked = 0;  // that a good reply brings
  RequestKind kind = RequestKind::kPlain;
  State state = State::kUnused;
  bool measured = false;  // intended within the window that is measured
  bool stamped = false;
  std::array<std::uint8_t, 32> unique_identifier{};
};

class OutstandingTable {
 public:
  // capacity: rounded up to a power of two. secret: any random number.
  OutstandingTable(std::size_t capacity, std::uint64_t secret)
      : records_(std::bit_ceil(capacity)), mask_(records_.size() - 1), secret_(secret | 1) {}

  // For so many more; none until the oldest is settled, and expire() has seen it.
  std::size_t room() const { return records_.size() - (newest_ - oldest_); }
  std::size_t waiting() const { return waiting_; }

  // A record that waits, with its transmit timestamp; the caller fills in the rest, with `sent` not
  // before that of the record added before. random: 64 random bits. Requires room() > 0.
  SentRecord& add(std::uint64_t random) {
    assert(room() > 0);
    const std::size_t index = newest_++ & mask_;
    SentRecord& record = records_[index];
    record = {};
    record.transmit.bits = (random & ~mask_) | (index ^ disguise(random));
    record.state = SentRecord::State::kWaiting;
    ++waiting_;
    return record;
  }

  // Of the request with this transmit timestamp; null: there was none, or it is forgotten.
  SentRecord* find(NtpTimestamp origin) {
    SentRecord& record = records_[(origin.bits & mask_) ^ disguise(origin.bits)];
    const bool ours = record.state != SentRecord::State::kUnused && record.transmit == origin;
    return ours ? &record : nullptr;
  }

  std::uint32_t index_of(const SentRecord& record) const {
    return static_cast<std::uint32_t>(&record - records_.data());
  }
  SentRecord& at(std::uint32_t index) { return records_[index]; }

  // Requires that it waits.
  void answered(SentRecord& record) { settle(record, SentRecord::State::kAnswered); }

  // Those sent at `limit` or before that wait still are lost; told to `lost`, oldest first.
  template <class Lost>
  void expire(SteadyTime limit, const Lost& lost) {
    for (; oldest_ != newest_; ++oldest_) {
      SentRecord& record = records_[oldest_ & mask_];
      if (record.state != SentRecord::State::kWaiting) continue;
      if (record.sent > limit) return;
      settle(record, SentRecord::State::kLost);
      lost(record);
    }
  }

 private:
  // Bits of the index, from the bits above it.
  std::uint64_t disguise(std::uint64_t timestamp) const {
    return ((timestamp & ~mask_) * secret_ >> 32) & mask_;
  }
  void settle(SentRecord& record, SentRecord::State state) {
    assert(record.state == SentRecord::State::kWaiting);
    record.state = state;
    --waiting_;
  }

  std::vector<SentRecord> records_;
  std::uint64_t mask_;
  std::uint64_t secret_;
  std::uint64_t newest_ = 0;  // ever added
  std::uint64_t oldest_ = 0;  // all before it are settled
  std::size_t waiting_ = 0;
};

}  // namespace timeball::bench
