// Which second a pulse marks. A pulse is exact and nameless, a receiver's message names a second
// and is late; this pairs them, once, and then counts.
//
//   UNNUMBERED -> CANDIDATE -> NUMBERED   after `agreeing_seconds` consecutive pulses, each with a
//                                         trusted label that is the one before plus one
//
// Once NUMBERED no label renumbers: one that disagrees is an alarm (spoofed or buggy times of day),
// except when it is off by whole periods of 1024 weeks, which is firmware past its rollover and
// still names the right second of its week. Only restart() or a gap that nobody can bridge forgets.
//
// Seconds here are continuous, leap seconds counted (the discipline converts). Owned by the
// discipline; its thread calls. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "refclock/observations.h"

namespace timeball::refclock {

struct LabelingRules {
  int agreeing_seconds = 5;
  // First byte of the message after the edge. Beyond it, the label is not paired with that pulse.
  Duration latency_min = std::chrono::milliseconds(0);
  Duration latency_max = std::chrono::milliseconds(950);
};

class PulseLabeler {
 public:
  enum class State : std::uint8_t { kUnnumbered, kCandidate, kNumbered };
  enum class Verdict : std::uint8_t {
    kIgnored,   // not trusted, or no pulse to pair it with
    kCounting,  // towards NUMBERED
    kAgrees,    // with our count
    kDisagrees,
    kWeekRollover,  // agrees, but for its week
  };

  explicit PulseLabeler(const LabelingRules& rules) : rules_(rules) {}

  // An edge. `known`: its second, when the discipline's time tells it; without it the host's
  // crystal counts, across gaps of at most kMaxGap.
  void pulse(HostTime edge, std::optional<std::int64_t> known = std::nullopt);
  // `second`: the label's, continuous.
  Verdict label(const SecondLabel& label, std::int64_t second);

  State state() const { return state_; }
  // Of the newest pulse, when NUMBERED.
  std::optional<std::int64_t> second() const;
  // Disagreeing labels since the last that agreed.
  int disagreements() const { return disagreements_; }
  void restart() { *this = PulseLabeler(rules_); }

  // 500 s at 100 ppm is 50 ms: no doubt which second.
  static constexpr Duration kMaxGap = std::chrono::seconds(500);

 private:
  Verdict compare(std::int64_t second);
  Verdict count(std::int64_t second);

  LabelingRules rules_;
  State state_ = State::kUnnumbered;
  std::optional<HostTime> edge_;
  bool labelled_ = false;    // the newest pulse has had its label
  std::int64_t second_ = 0;  // of the newest pulse, when CANDIDATE or NUMBERED
  int agreeing_ = 0;
  int disagreements_ = 0;
};

}  // namespace timeball::refclock
