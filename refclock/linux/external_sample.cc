#include "refclock/linux/external_sample.h"

#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>

#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <utility>

#include "common/time/ntp_timestamp.h"
#include "refclock/linux/system_calls.h"

namespace timeball::refclock {
namespace {

static_assert(offsetof(NtpShmSegment, count) == 4 && offsetof(NtpShmSegment, clock_s) == 8 &&
              offsetof(NtpShmSegment, clock_us) == 16 && offsetof(NtpShmSegment, receive_s) == 24 &&
              offsetof(NtpShmSegment, receive_us) == 32 && offsetof(NtpShmSegment, leap) == 36 &&
              offsetof(NtpShmSegment, precision) == 40 && offsetof(NtpShmSegment, samples) == 44 &&
              offsetof(NtpShmSegment, valid) == 48 && offsetof(NtpShmSegment, clock_ns) == 52 &&
              offsetof(NtpShmSegment, receive_ns) == 56 && sizeof(NtpShmSegment) == 96);

constexpr key_t kShmKey = 0x4e545030;  // "NTP0"
constexpr unsigned kMostUnits = 256;

// Where the members of SOCK's datagram are.
constexpr std::size_t kSockSeconds = 0, kSockMicroseconds = 8, kSockOffset = 16, kSockPulse = 24,
                      kSockLeap = 28, kSockMagicAt = 36;
constexpr std::int32_t kSockMagic = 0x534f434b;  // "SOCK"

constexpr std::int64_t kMostSeconds = 0x1'ffff'ffff;  // until 2242: within 64-bit nanoseconds
constexpr double kMostOffsetS = 1e9;

std::int32_t load(std::int32_t& shared) {
  return std::atomic_ref(shared).load(std::memory_order_acquire);
}

// Writers that know nanoseconds write both; older ones leave what was there.
std::optional<std::int64_t> time_of(std::int64_t s, std::int32_t us, std::uint32_t ns) {
  if (s < 0 || s > kMostSeconds || us < 0 || us >= 1'000'000) return std::nullopt;
  const bool fine = ns / 1000 == static_cast<std::uint32_t>(us);
  return s * kNsPerSecond + (fine ? std::int64_t{ns} : std::int64_t{us} * 1000);
}

std::optional<LeapIndicator> leap_of(std::int32_t leap) {
  if (leap < 0 || leap > 3) return std::nullopt;
  return static_cast<LeapIndicator>(leap);
}

template <class T>
T native(Bytes datagram, std::size_t at) {
  T value{};
  std::memcpy(&value, datagram.data() + at, sizeof value);
  return value;
}

}  // namespace

ShmReading read_ntp_shm(NtpShmSegment& segment) {
  using Outcome = ShmReading::Outcome;
  if (load(segment.valid) == 0) return {Outcome::kNone, {}};
  const std::int32_t before = load(segment.count);
  const NtpShmSegment copy = segment;
  std::atomic_thread_fence(std::memory_order_acquire);
  const bool clash = copy.mode == 1 && load(segment.count) != before;
  std::atomic_ref(segment.valid).store(0, std::memory_order_release);
  if (clash) return {Outcome::kClash, {}};
  const auto clock = time_of(copy.clock_s, copy.clock_us, copy.clock_ns);
  const auto receive = time_of(copy.receive_s, copy.receive_us, copy.receive_ns);
  const auto leap = leap_of(copy.leap);
  if ((copy.mode != 0 && copy.mode != 1) || !clock || !receive || !leap) return {Outcome::kBad, {}};
  return {Outcome::kSample,
          {{*receive}, Duration(*clock - *receive), false, *leap, copy.precision}};
}

Result<NtpShm> NtpShm::attach(unsigned unit) {
  const std::string name = "NTP shared memory unit " + std::to_string(unit);
  if (unit >= kMostUnits) return fail(name + ": units are 0 to 255");
  const int id = ::shmget(kShmKey + static_cast<key_t>(unit), sizeof(NtpShmSegment),
                          IPC_CREAT | S_IRUSR | S_IWUSR);
  if (id < 0) return fail(errno_message(name, "shmget"));
  shmid_ds state{};
  if (::shmctl(id, IPC_STAT, &state) < 0) return fail(errno_message(name, "shmctl"));
  if ((state.shm_perm.mode & (S_IWGRP | S_IWOTH)) != 0) {
    return fail(name + ": others may write it, and so set this clock: use a unit of mode 0600");
  }
  void* at = ::shmat(id, nullptr, 0);
  if (reinterpret_cast<std::intptr_t>(at) == -1) return fail(errno_message(name, "shmat"));
  return NtpShm(static_cast<NtpShmSegment*>(at));
}

NtpShm::NtpShm(NtpShm&& other) noexcept : segment_(std::exchange(other.segment_, nullptr)) {}

NtpShm::~NtpShm() {
  if (segment_ != nullptr) ::shmdt(segment_);
}

std::optional<ExternalSample> parse_sock_datagram(Bytes datagram) {
  if (datagram.size() != kSockDatagramLength) return std::nullopt;
  if (native<std::int32_t>(datagram, kSockMagicAt) != kSockMagic) return std::nullopt;
  const auto s = native<std::int64_t>(datagram, kSockSeconds);
  const auto us = native<std::int64_t>(datagram, kSockMicroseconds);
  const auto offset_s = native<double>(datagram, kSockOffset);
  const auto leap = leap_of(native<std::int32_t>(datagram, kSockLeap));
  const bool pulse = native<std::int32_t>(datagram, kSockPulse) != 0;
  if (s < 0 || s > kMostSeconds || us < 0 || us >= 1'000'000 || !leap) return std::nullopt;
  if (!(std::fabs(offset_s) < (pulse ? 1 : kMostOffsetS))) return std::nullopt;
  return ExternalSample{{s * kNsPerSecond + us * 1000},
                        Duration(std::llround(offset_s * 1e9)),
                        pulse,
                        *leap,
                        std::nullopt};
}

}  // namespace timeball::refclock
