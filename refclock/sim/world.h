// A world in virtual time: oscillators, receiver, stamps and kernel clock, whose truth is known,
// and the real Discipline, which sees only what drivers would report. Every second it asks: does
// what is served differ from the truth by more than the bound?
//
// A scenario is a value: what happens when. One seed and one scenario make one world, always the
// same. A second takes well under a microsecond, so that a month takes about one second. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "refclock/discipline.h"

namespace timeball::refclock::sim {

enum class Stamps : std::uint8_t { kPhc, kIrq };

struct Scenario {
  std::string_view name;
  // In the contract: not one violation may occur. Outside: the alarm must come, and none after it.
  bool within_contract = true;
  std::optional<Alarm> alarm;  // must be raised after event_h
  bool must_stop = false;      // and service as synchronised must stop after it
  Stamps stamps = Stamps::kPhc;

  unsigned one_in = 1;  // so many seeds are run

  double event_h = 72;  // what happens, happens then
  bool cold = false;    // the receiver, too, was just switched on
  // Hours; 0: does not happen.
  double outage_h = 0;
  double rubidium_unlock_h = 0;  // into the outage
  bool ramp = false;             // temperature, over 6 h from the event on
  bool frequency_steps = false;  // a step as large as allowed every other day
  bool latency_spikes = false;
  bool hanging = false;  // TIM-TP is silent, on hanging bridges
  bool adverse = false;  // every limit saturated, sides change at random
  bool push = false;     // every limit saturated against us at the event
  bool has_rubidium = true;
  std::int64_t label_off_s = 0;  // for ten minutes
  bool rollover = false;
  double reboot_every_h = 0;
  int leap = 0;
  bool leap_in_file = true;
  bool jammed = false;
  double spoof_step_ns = 0;  // for two hours
  double spoof_walk_ns_per_s = 0;
  // Out of the contract, from the event on.
  double rubidium_frequency = 0;  // step, ns/s
  double rubidium_phase_ns = 0;
  double host_frequency = 0;
  double late_ns = 0;  // stamps beyond the latency, now and then
  double too_warm_c = 0;
  double kernel_step_ns = 0;
};

struct WorldOptions {
  std::uint64_t seed = 1;
  double days = 30;
  ClockContract contract;                // what the world keeps to
  std::optional<ClockContract> claimed;  // what the estimator is told; the same unless a test lies
};

// Sums of a ratio or a length, for quantiles to 3 %.
class LogHistogram {
 public:
  void add(double value);
  void add(const LogHistogram& other);
  double quantile(double q) const;
  double min() const { return count_ ? min_ : 0; }
  double max() const { return max_; }
  std::uint64_t count() const { return count_; }
  // All that it is, to be written down or read back.
  void each_number(auto&& visit) {
    for (std::uint32_t& bin : bins_) visit(bin);
    visit(count_);
    visit(min_);
    visit(max_);
  }

 private:
  static constexpr int kPerOctave = 24;
  static constexpr int kOctaves = 48;
  std::array<std::uint32_t, kPerOctave * kOctaves> bins_{};
  std::uint64_t count_ = 0;
  double min_ = 1e300;
  double max_ = 0;
};

// So long after the signal went.
struct HoldoverSample {
  double bound_ns = 0;
  double error_ns = 0;
  bool served = false;
};

struct WorldResult {
  std::uint64_t checks = 0;      // moments at which |true - served| <= bound was asked
  std::uint64_t violations = 0;  // synchronised or not
  std::uint64_t violations_served = 0;
  std::uint64_t violations_after_alarm = 0;  // from a second after the scenario's
  double first_violation_s = 0;
  double worst_excess_ns = 0;
  LogHistogram ratio;  // bound / error, while served
  LogHistogram locked_bound;
  LogHistogram locked_error;
  std::array<std::optional<HoldoverSample>, 3> holdover;  // after 1 h, 24 h, 7 d
  std::optional<double> locked_after_s;
  std::optional<double> alarm_after_s;  // the scenario's alarm, after the event
  std::optional<double> stopped_after_s;
  std::optional<double> readmitted_after_s;
  double worst_error_before_alarm_ns = 0;  // after the event
  double worst_served_error_ns = 0;
  AlarmSet alarms;        // all that were raised
  AlarmSet alarms_early;  // before the event, start-up apart
  std::uint64_t served_s = 0;
  bool served_at_end = false;
};

WorldResult run_world(const Scenario& scenario, const WorldOptions& options);

}  // namespace timeball::refclock::sim
