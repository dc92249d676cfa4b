// The heart: from what the drivers report to the time that is served, and to how wrong it may be.
//
//   step(observation)   takes in what a driver reports, in the order of its arrival
//   tick(now)           once a second: decides the state; returns what the caller shall do
//   publish(pair)       the ClockState to serve from now on
//
// States, in the order in which a start goes through them:
//
//   COLD       nothing has come yet
//   WARMUP     the rubidium is not locked to its line yet, and no second has a number
//   NUMBERING  pulses come; which second they mark is not known (PulseLabeler)
//   ACQUIRE    time is known; its bound is above `locked_bound`
//   LOCKED     GNSS in use, bound <= locked_bound                           served at stratum 1
//   HOLDOVER   after LOCKED: GNSS not in use or just back,
//              bound <= holdover_limit                                      served at stratum 1
//   FREERUN    bound > holdover_limit
//
//   COLD -> WARMUP -> NUMBERING -> ACQUIRE -> LOCKED <-> HOLDOVER -> FREERUN -> ACQUIRE ...
//
// Flags beside them: SUSPECT (GNSS is excluded: a threat), DEGRADED (a rubidium is configured and
// out of use), LEAP_UNKNOWN (no trusted source of leap seconds).
//
// The promise: in every world within ClockContract, |UTC - served| <= bound at every moment, in
// every state; the states only decide whether it is served as synchronised. Estimator has the
// mathematics. Worlds outside are noticed (Alarm) where two witnesses contradict each other; a GNSS
// that walks more slowly than the rubidium itself may drift cannot be.
//
// What GNSS has to show: a pulse is used when its receiver, after it, said that it is usable.
// Jamming and spoofing indicators, a moved antenna, labels or pulses that contradict our own clocks
// exclude it (Threats): an hour of clean seconds, or readmit(), brings it back.
//
// Other sources (TimeSample) are selected by majority. While no receiver's pulses are in use they
// are the time; while they are, they are its check; and they name the seconds of a bare PPS.
//
// Leap seconds: UTC repeats no second here. From four seconds before a change that may come
// (23:59:60, or 23:59:59 when that is left out) until it is over, the state published is
// unsynchronised: NTP has no number for 23:59:60. A change that two sources announce is applied
// then. One that only one source claims is neither announced nor believed: we wait, unsynchronised,
// until five labels in a row say which it was.
//
// Pure: reads no clock and does no I/O. One thread (the refclock's) owns it and calls.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "refclock/alarms.h"
#include "refclock/estimator.h"
#include "refclock/leap_seconds.h"
#include "refclock/observations.h"
#include "refclock/publisher.h"
#include "refclock/pulse_labeler.h"
#include "refclock/sample_filter.h"
#include "refclock/selection.h"
#include "refclock/threats.h"

namespace timeball::refclock {

enum class State : std::uint8_t {
  kCold,
  kWarmup,
  kNumbering,
  kAcquire,
  kLocked,
  kHoldover,
  kFreerun
};

constexpr std::string_view name_of(State state) {
  constexpr std::array<std::string_view, 7> kNames{"COLD",   "WARMUP",   "NUMBERING", "ACQUIRE",
                                                   "LOCKED", "HOLDOVER", "FREERUN"};
  return kNames[static_cast<std::size_t>(state)];
}

struct DisciplineOptions {
  ClockContract contract;
  bool rubidium = true;  // one is configured
  // It is left to its own loop: while that follows the receiver's pulse it is no second witness,
  // which is as it should be; in an outage it is a rubidium whose frequency nobody has measured.
  bool rubidium_follows = false;
  bool bare_pps = false;  // pulses without a receiver's word: other sources name their seconds
  Duration locked_bound = std::chrono::nanoseconds(500);
  Duration holdover_limit = std::chrono::microseconds(100);
  std::array<char, 4> reference_id{'G', 'P', 'S', '\0'};  // IANA: GPS, GAL or PPS
  LabelingRules labeling;
  ThreatLimits threats;
};

// What the caller shall do after a tick.
struct Action {
  State state = State::kCold;
  bool state_changed = false;  // log it
  AlarmSet raised;             // log each, once
  AlarmSet cleared;
};

class Discipline {
 public:
  explicit Discipline(const DisciplineOptions& options);

  void step(const Pulse& pulse);
  void step(const SecondLabel& label);
  void step(const QuantisationError& error);
  void step(const GnssCondition& condition);
  void step(const OscillatorCondition& condition);
  void step(const TimeSample& sample);
  void step(const LeapNotice& notice) { leaps_.hear(notice); }
  Action tick(HostTime now);
  // The pair is read just before; at least every contract.publish_interval_s.
  ClockState publish(const ClockPair& pair);

  // The operator's command: GNSS is right, whatever our own clocks say.
  void readmit(HostTime now);
  // We changed the kernel's clock ourselves (clock.mode "system").
  void steered(const Steered& what) { publisher_.steered(what); }

  State state() const { return state_; }
  bool suspect() const { return threats_.excluded(); }
  bool degraded() const { return options_.rubidium && !rubidium_good_ && !rubidium_following_; }
  bool leap_unknown() const { return leaps_.unknown(); }
  AlarmSet alarms() const { return alarms_; }
  // As served until the next publication, at most; of the last tick. Nothing: time is unknown.
  std::optional<Duration> bound() const { return bound_; }

 private:
  struct PendingPulse {
    HostTime edge;
    double reading_error_ns = 0;
  };
  struct LeapPassage {
    LeapEvent event;
    bool agreed = false;
    int said = 0;  // the change that the newest labels after it show, and so many in a row
    int labels = 0;
  };

  void settle(const PendingPulse& pulse, bool usable);
  void heed(Estimator::Verdict verdict, HostTime at, std::optional<HostTime>& used);
  double source_seconds(HostTime t) const;
  void label_by_sources(HostTime edge);
  void ask_sources(HostTime now);
  void note_temperature(double celsius, HostTime at);
  double temperature_range() const;
  void compare_leap(const SecondLabel& label);
  void pass_leap(UtcTime utc);
  void finish_leap(int change);
  std::int64_t continuous(const SecondLabel& label) const;
  bool gnss_in_use(HostTime now) const;
  State next_state(HostTime now) const;
  AlarmSet current_alarms(HostTime now, std::optional<UtcTime> utc);

  DisciplineOptions options_;
  static constexpr std::size_t kMaxSources = 8;

  PulseLabeler labeler_;
  std::array<std::optional<SampleFilter>, kMaxSources> sources_;
  bool sources_heard_ = false;
  std::int64_t sources_offset_ns_ = 0;  // UTC - host time of the first sample
  HostTime sources_start_;
  std::optional<Interval> sources_agree_;  // on the rest, at the last tick
  Threats threats_;
  LeapSeconds leaps_;
  Estimator estimator_;
  Publisher publisher_;

  State state_ = State::kCold;
  AlarmSet alarms_;
  AlarmSet seen_;  // since the last tick
  std::optional<Duration> bound_;
  std::optional<HostTime> started_;  // the first observation
  std::optional<HostTime> gnss_used_;
  std::optional<HostTime> sources_used_;
  std::optional<HostTime> corrected_;  // by GNSS, last
  std::optional<PendingPulse> pending_;
  std::array<std::optional<QuantisationError>, 2> quantisation_;
  bool rubidium_good_ = false;
  bool rubidium_following_ = false;
  std::optional<HostTime> rubidium_heard_;  // of its condition
  std::optional<HostTime> rubidium_pulse_;
  std::optional<Interval> temperature_;         // seen since then, at most a day
  std::optional<Interval> temperature_before_;  // and in the day before
  HostTime temperature_since_;
  std::int64_t leap_s_ = 0;  // leap seconds passed since the start
  std::optional<LeapPassage> passage_;
  std::optional<LeapEvent> passed_;
};

}  // namespace timeball::refclock
