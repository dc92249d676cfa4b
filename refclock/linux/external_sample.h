// What other programs tell of the time through shared memory or a socket: NTP's shared memory
// (refclock driver 28) and chrony's SOCK. Codecs, and the segment to read from.
//
// Whoever may write there sets our clock: a segment that others may write is refused.
#pragma once

#include <cstdint>
#include <optional>

#include "common/base/bytes.h"
#include "common/base/error.h"
#include "common/time/clock_state.h"
#include "common/time/time_scales.h"

namespace timeball::refclock {

struct ExternalSample {
  KernelTime at;       // CLOCK_REALTIME, when the sample was taken
  Duration offset{};   // true time - `at`
  bool pulse = false;  // the offset is of a second's beginning only: which second is not said
  LeapIndicator leap = LeapIndicator::kUnknown;
  std::optional<int> precision;  // log2 s
};

// The segment as 64-bit Linux lays it out.
struct NtpShmSegment {
  std::int32_t mode;  // 1: `count` changes before and after each update
  std::int32_t count;
  std::int64_t clock_s;
  std::int32_t clock_us;
  std::int64_t receive_s;
  std::int32_t receive_us;
  std::int32_t leap;
  std::int32_t precision;
  std::int32_t samples;
  std::int32_t valid;  // set by the writer, cleared by the reader
  std::uint32_t clock_ns;
  std::uint32_t receive_ns;
  std::int32_t reserved[8];
};

struct ShmReading {
  enum class Outcome : std::uint8_t {
    kSample,
    kNone,   // nothing new
    kClash,  // it was being written: ask again
    kBad,    // no times
  };
  Outcome outcome = Outcome::kNone;
  ExternalSample sample;
};
// Takes the sample out of the segment, if one is there.
ShmReading read_ntp_shm(NtpShmSegment& segment);

// Attaches unit 0..255, made if it is not there, for our user only. Detaches when destroyed.
class NtpShm {
 public:
  static Result<NtpShm> attach(unsigned unit);
  NtpShm(NtpShm&& other) noexcept;
  NtpShm& operator=(NtpShm&&) = delete;
  ~NtpShm();
  ShmReading read() { return read_ntp_shm(*segment_); }

 private:
  explicit NtpShm(NtpShmSegment* segment) : segment_(segment) {}
  NtpShmSegment* segment_;
};

// One datagram of chrony's SOCK, as 64-bit Linux lays it out; nothing when it is none.
inline constexpr std::size_t kSockDatagramLength = 40;
std::optional<ExternalSample> parse_sock_datagram(Bytes datagram);

}  // namespace timeball::refclock
