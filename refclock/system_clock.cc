#include <sys/timex.h>

#include <condition_variable>
#include <ctime>
#include <mutex>
#include <stop_token>
#include <thread>

#include "refclock/refclock.h"

namespace timeball::refclock {
namespace {

constexpr auto kPollInterval = std::chrono::seconds(1);
// The kernel does not name its reference: at stratum 1 RFC 5905's code for a local clock, "LOCL";
// below it the address that NTP implementations use for one.
constexpr std::uint32_t kLocalCode = 0x4c4f434c;
constexpr std::uint32_t kLocalAddress = 0x7f7f0101;  // 127.127.1.1
// The kernel counts maxerror up in steps of one second; a reading may be that old.
constexpr auto kMaxerrorStep = std::chrono::microseconds(500);

KernelTime kernel_now() {
  timespec t{};
  clock_gettime(CLOCK_REALTIME, &t);
  return {t.tv_sec * kNsPerSecond + t.tv_nsec};
}

// log2 of the reading resolution in seconds, rounded up.
std::int8_t precision_of(std::int64_t us) {
  std::int8_t exponent = -20;  // 2^-20 s is just under one microsecond
  while (exponent < 0 && (std::int64_t{1'000'000} >> -exponent) < us) ++exponent;
  return exponent;
}

LeapIndicator leap_of(const KernelClock& kernel) {
  if ((kernel.status & STA_INS) != 0) return LeapIndicator::kInsert;
  if ((kernel.status & STA_DEL) != 0) return LeapIndicator::kDelete;
  return LeapIndicator::kNone;
}

}  // namespace

ClockState state_of(const KernelClock& kernel, const SystemClockOptions& options, KernelTime now) {
  const bool synchronised = kernel.state != TIME_ERROR && (kernel.status & STA_UNSYNC) == 0;
  ClockState state;
  state.as_of = now;
  state.reference_time = now;
  state.precision = precision_of(kernel.precision_us);
  state.error_bound = std::chrono::microseconds(kernel.maxerror_us) + kMaxerrorStep;
  state.growth_ppb = kernel.tolerance_ppm * 1000;
  if (!synchronised) {
    if (!options.trust) return state;
    state.error_bound = options.error_bound;
  }
  state.leap = leap_of(kernel);
  state.stratum = static_cast<std::uint8_t>(options.stratum);
  state.reference_id = options.stratum == 1 ? kLocalCode : kLocalAddress;
  return state;
}

KernelClock read_kernel_clock() {
  timex t{};  // modes 0: read only
  KernelClock kernel;
  kernel.state = ntp_adjtime(&t);
  if (kernel.state < 0) {
    kernel.state = TIME_ERROR;
    return kernel;
  }
  kernel.status = static_cast<unsigned>(t.status);
  kernel.maxerror_us = t.maxerror;
  kernel.esterror_us = t.esterror;
  kernel.precision_us = t.precision;
  kernel.tolerance_ppm = t.tolerance >> 16;
  return kernel;
}

struct SystemClock::Impl {
  Impl(const SystemClockOptions& o, ReadKernelClock r)
      : options(o), read(r), state(state_of(read(), options, kernel_now())) {}

  void run(const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    while (!stop.stop_requested()) {
      wake.wait_for(lock, stop, kPollInterval, [] { return false; });
      state.store(state_of(read(), options, kernel_now()));
    }
  }

  SystemClockOptions options;
  ReadKernelClock read;
  Seqlock<ClockState> state;
  std::mutex mutex;
  std::condition_variable_any wake;
  std::jthread thread;  // last: it uses everything above
};

SystemClock::SystemClock(const SystemClockOptions& options, ReadKernelClock read)
    : impl_(std::make_unique<Impl>(options, read)) {}
SystemClock::~SystemClock() = default;

void SystemClock::start() {
  impl_->thread = std::jthread([this](const std::stop_token& stop) { impl_->run(stop); });
}

const Seqlock<ClockState>& SystemClock::state() const {
  return impl_->state;
}

}  // namespace timeball::refclock
