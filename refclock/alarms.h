// What may be wrong with the reference clocks, one name for each: drives the log, the metric, the
// manual and the tests. Values; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace timeball::refclock {

enum class Alarm : std::uint8_t {
  kPulsesMissing,   // the receiver's, for some seconds
  kLabelDisagrees,  // a receiver's label is not the second that we count
  kWeekRollover,    // the label is whole periods of 1024 weeks off; taken as right
  kPhaseStep,       // pulses are not where the host's crystal, or the rubidium, says
  kPhaseSlope,      // GNSS and rubidium part faster than both may
  kJamming,
  kSpoofing,
  kPosition,  // the receiver is not where it was surveyed
  kAntenna,
  kRubidiumUnlocked,
  kRubidiumSilent,       // no word of its condition, or no pulse
  kRubidiumJumped,       // its pulse moved
  kRubidiumTemperature,  // beyond the range of the contract
  kLeapUnknown,          // no source that is trusted and current
  kLeapDisagreement,     // sources, or the labels after the event, contradict each other
  kHostClock,            // the host's crystal left its limits: every pulse at once is elsewhere
  kSourcesDisagree,      // no majority of the other sources, or one that contradicts us
  kForeignSteering,      // somebody else moves the kernel's clock
  kBoundExceeded,        // the error bound passed the limit; no longer served as synchronised
};
inline constexpr std::size_t kAlarmCount = 19;

constexpr std::string_view name_of(Alarm alarm) {
  constexpr std::array<std::string_view, kAlarmCount> kNames{"pulses-missing",
                                                             "label-disagrees",
                                                             "week-rollover",
                                                             "phase-step",
                                                             "phase-slope",
                                                             "jamming",
                                                             "spoofing",
                                                             "position",
                                                             "antenna",
                                                             "rubidium-unlocked",
                                                             "rubidium-silent",
                                                             "rubidium-jumped",
                                                             "rubidium-temperature",
                                                             "leap-unknown",
                                                             "leap-disagreement",
                                                             "host-clock",
                                                             "sources-disagree",
                                                             "foreign-steering",
                                                             "bound-exceeded"};
  return kNames[static_cast<std::size_t>(alarm)];
}

class AlarmSet {
 public:
  constexpr bool has(Alarm alarm) const { return (bits_ & bit(alarm)) != 0; }
  constexpr bool any() const { return bits_ != 0; }
  constexpr void set(Alarm alarm, bool on = true) {
    bits_ = on ? bits_ | bit(alarm) : bits_ & ~bit(alarm);
  }
  // What is here and not there.
  constexpr AlarmSet without(AlarmSet other) const {
    AlarmSet set;
    set.bits_ = bits_ & ~other.bits_;
    return set;
  }
  friend constexpr AlarmSet operator|(AlarmSet a, AlarmSet b) {
    a.bits_ |= b.bits_;
    return a;
  }
  friend constexpr bool operator==(AlarmSet, AlarmSet) = default;

 private:
  static constexpr std::uint32_t bit(Alarm a) {
    return std::uint32_t{1} << static_cast<unsigned>(a);
  }

  std::uint32_t bits_ = 0;
};

}  // namespace timeball::refclock
