// What the drivers report, as values. Drivers, simulators and the tests make them; pulse labelling,
// selection, threats and the discipline take them. Nothing here reads a clock or a device.
//
// One time scale for every arrival and every edge: HostTime, CLOCK_MONOTONIC_RAW in nanoseconds
// since boot, which nobody steps or slews. Drivers whose kernel interface stamps in CLOCK_REALTIME
// (RFC 2783 PPS) convert by bracketing clock reads, and say in `reading_error` what that cost.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <variant>

#include "common/time/clock_state.h"
#include "common/time/time_scales.h"

namespace timeball::refclock {

using HostTime = TimePoint<struct HostScale>;

// Which wire the edge came in on.
enum class PulseInput : std::uint8_t { kGnss, kOscillator };

// One edge of a pulse per second, as stamped. How late a stamp may be is the contract's business
// (ClockContract), not the edge's.
struct Pulse {
  PulseInput input = PulseInput::kGnss;
  HostTime edge;
  Duration reading_error{};    // half the bracket of the conversion to HostTime; >= 0
  std::uint32_t sequence = 0;  // of the device (RFC 2783 assert_sequence); a gap is missed pulses
};

// A receiver's name for a second. `trusted` only when every validity rule of its driver held: fix,
// date and time valid and confirmed, UTC offset known from the sky.
struct SecondLabel {
  enum class Names : std::uint8_t { kLastPulse, kNextPulse };

  HostTime arrival;  // of the message's first byte
  UtcTime second;    // a whole UTC second; 23:59:60 is given as 00:00:00 with `leap_second` set
  Names names = Names::kLastPulse;
  bool trusted = false;
  bool leap_second = false;  // the message said :60
};

// A receiver's own statement of how far its pulse is from its time grid (UBX TIM-TP).
// corrected pulse time = stamp + error.
struct QuantisationError {
  UtcTime second;  // the pulse that it is about
  std::int32_t error_ps = 0;
  bool valid = false;  // false: widen by half a tick of the receiver's clock instead
};

// UTC as another source tells it (gpsd, SHM, SOCK, NTP, the system's clock), with its error: a hard
// limit, that source's own promise.
struct TimeSample {
  std::uint8_t source = 0;  // which of them; the configuration's order
  HostTime at;
  UtcTime utc;
  Duration error{};
};

enum class Threat : std::uint8_t { kUnknown, kNone, kWarning, kCritical };
enum class Antenna : std::uint8_t { kUnknown, kOk, kShort, kOpen };

// The receiver's condition, once an epoch. Absent values were not reported.
struct GnssCondition {
  HostTime at;
  bool usable = false;  // its own fix is good enough for time
  std::optional<unsigned> satellites_used;
  std::optional<unsigned> satellites_in_view;
  std::optional<Duration> time_accuracy;    // the receiver's own estimate
  std::optional<double> position_offset_m;  // from the surveyed position
  Threat jamming = Threat::kUnknown;
  Threat spoofing = Threat::kUnknown;
  std::optional<unsigned> jamming_indicator;  // CW, 0..255
  int rollover_weeks = 0;                     // its date is so much early, and was put right
  Antenna antenna = Antenna::kUnknown;
};

// What a source says of leap seconds. `trusted` only when it has it from the sky or from a file
// that verifies and has not expired.
struct LeapNotice {
  enum class Source : std::uint8_t { kFile, kReceiver };

  Source source = Source::kFile;
  bool trusted = false;
  std::optional<int> tai_minus_utc_s;           // in force now
  LeapIndicator change = LeapIndicator::kNone;  // kInsert, kDelete, or none announced
  UtcTime event;  // with a change: the first second after it (00:00:00 UTC)
};

// The rubidium's condition, once a poll.
struct OscillatorCondition {
  HostTime at;
  bool locked = false;            // to the atomic line: frequency within the contract
  bool disciplined = false;       // its own loop is following a pulse: frequency is not the line's
  bool restarted = false;         // powered up or reset since the last poll: phase is a new one
  bool jumped = false;            // its pulse may have been moved since the last poll
  std::optional<Duration> phase;  // its own counter: pulse in after pulse out
  std::optional<double> temperature_c;
};

// Anything that a driver reports, and to whom.
using Observation = std::variant<Pulse, SecondLabel, QuantisationError, TimeSample, GnssCondition,
                                 LeapNotice, OscillatorCondition>;
using Observe = std::function<void(const Observation& observation)>;

}  // namespace timeball::refclock
