// What to do to the kernel's clock so that CLOCK_REALTIME follows UTC, too (clock.mode "system").
// What is served does not depend on it: ClockState says what the kernel's clock lacks.
//
// Only while what is served is synchronised: otherwise the kernel's clock goes on as it goes. Once,
// when LOCKED for the first time, it is stepped if it is off by more than kStepLimit; all that
// comes later is slewed away, by frequency, also in HOLDOVER: an offset dies away with
// kTimeConstant, within the kernel's +-500 ppm. One tick changes the frequency by kMostChange at
// most, so that who reads a state a moment too late is wrong by next to nothing; an offset that
// takes all 500 ppm is still come down from in time (kMostChange * kTimeConstant >= 500 ppm).
//
// Pure; one thread (the refclock's).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "common/time/clock_state.h"
#include "refclock/discipline.h"

namespace timeball::refclock {

// A frequency as adjtimex(2) has it: 2^-16 ppm.
inline constexpr std::int64_t kScaledPpm = 65536;

// What the kernel tells other programs of its clock.
struct KernelStatus {
  Duration most_error{};                      // a bound
  Duration estimated_error{};                 // its offset that is not yet slewed away
  LeapIndicator leap = LeapIndicator::kNone;  // at the end of this day the kernel leaps by itself
  std::optional<int> tai_minus_utc_s;
};

// Either a step or a frequency.
struct Correction {
  Duration step{};
  std::int64_t frequency = 0;  // to set, scaled; it was another
  std::int64_t change = 0;     // by which it is
  std::optional<KernelStatus> status;
  bool nothing() const { return step == Duration{} && change == 0; }
};

class Steering {
 public:
  static constexpr auto kStepLimit = std::chrono::milliseconds(128);
  static constexpr std::int64_t kMostFrequency = 500 * kScaledPpm;
  static constexpr std::int64_t kMostChange = 16 * kScaledPpm;
  static constexpr double kTimeConstant_s = 32;

  // Once a second: what is served at `now`, and the kernel's frequency.
  Correction tick(State state, const ClockState& served, KernelTime now, std::int64_t frequency);

 private:
  bool started_ = false;
};

}  // namespace timeball::refclock
