// Stanford Research Systems PRS10: the words of its serial line (9600 8N1, XON/XOFF, ASCII, one
// command per CR, answers end in CR; a bad command has no answer but sets a bit of ST6).
//
// Status bits latch until they are read: the second of two reads is the state, the first holds what
// has been since the last read. Nobody else may poll it.
// FC!? (how often the EEPROM was written) is never asked: one lost octet would make it FC!, a
// write.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/time/time_scales.h"

namespace timeball::refclock::rubidium::prs10 {

inline constexpr std::string_view kBanner = "PRS_10";    // after power-up and after RS1
inline constexpr std::string_view kIdentity = "PRS10_";  // ID?: PRS10_<firmware>_SN_<serial>
inline constexpr int kSteeringLimit = 2000;              // SF, PI
inline constexpr double kSteeringStep = 1e-12;           // of SF

// The bits that are used by name; byte 1 is st[0].
namespace bit {
inline constexpr std::uint8_t kLampLightLow = 0x10;   // ST1
inline constexpr std::uint8_t kLampLightHigh = 0x20;  // ST1
inline constexpr std::uint8_t kRfUnlocked = 0x01;     // ST2
inline constexpr std::uint8_t kFllOff = 0x01;         // ST4: warm-up
inline constexpr std::uint8_t kPllDisabled = 0x01;    // ST5, and all below
inline constexpr std::uint8_t kFewGoodPulses = 0x02;
inline constexpr std::uint8_t kPllActive = 0x04;
inline constexpr std::uint8_t kManyBadPulses = 0x08;
inline constexpr std::uint8_t kPllRestarted = 0x20;
inline constexpr std::uint8_t kFrequencySaturated = 0x40;
inline constexpr std::uint8_t kNoPulse = 0x80;
inline constexpr std::uint8_t kLampRestart = 0x01;  // ST6, and all below
inline constexpr std::uint8_t kBadSyntax = 0x20;
inline constexpr std::uint8_t kBadParameter = 0x40;
inline constexpr std::uint8_t kReset = 0x80;
}  // namespace bit

struct Status {
  std::array<std::uint8_t, 6> st{};

  bool locked() const {
    return (st[3] & bit::kFllOff) == 0 && (st[1] & bit::kRfUnlocked) == 0 &&
           (st[0] & (bit::kLampLightLow | bit::kLampLightHigh)) == 0;
  }
  bool pll_active() const {
    return (st[4] & (bit::kPllActive | bit::kPllDisabled)) == bit::kPllActive;
  }
};

// What TT? tells: how long the last pulse in came after the pulse out, in (-0.5 s, 0.5 s]; nothing
// when no pulse came in since the last TT?.
struct TimeTag {
  std::optional<Duration> in_after_out;
};

// Answers, without their CR. Nothing when the text is none.
std::optional<Status> parse_status(std::string_view answer);
std::optional<TimeTag> parse_time_tag(std::string_view answer);

// Names of the faults among the bits, for alarms: ST1 to ST4, and ST6 without its restart bits.
std::vector<std::string_view> faults(const Status& status);

// "SF n" for a fractional frequency, clipped and rounded.
int steering_word(double y);

}  // namespace timeball::refclock::rubidium::prs10
