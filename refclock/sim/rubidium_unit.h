// A rubidium oscillator in a rack: the atomic line's noise (Rubidium) under the device's own
// behaviour (RubidiumModel), and the pulses that come of both.
//
// Pure: call advance() to a time, then whatever happens at that time. Owned by a Rack. One thread.
#pragma once

#include <memory>
#include <optional>

#include "refclock/sim/oscillators.h"
#include "refclock/sim/rubidium_model.h"

namespace timeball::refclock::sim {

enum class RubidiumKind : std::uint8_t { kNone, kPrs10, kSa5x, kSa22c };

class RubidiumUnit {
 public:
  RubidiumUnit(RubidiumKind kind, Duration warm_up, SimTime now, Random random);

  void advance(SimTime now);
  // When the next pulse leaves, if nobody moves it until then.
  SimTime next_pulse() const;
  // The pulse that leaves now, to the nanosecond; nothing when it was moved.
  std::optional<SimTime> take_pulse();

  // Power off and on: its pulse comes back wherever.
  void reboot() { model_->power_cycle(random_.within(0.45)); }
  RubidiumModel& model() { return *model_; }
  const RubidiumModel& model() const { return *model_; }
  double frequency() const { return line_.frequency() * 1e-9 + model_->added_frequency(); }

 private:
  // Of the second by its own clock that is under way.
  Duration into_second() const;

  Random random_;
  Rubidium line_;
  std::unique_ptr<RubidiumModel> model_;
  double first_phase_s_;
  double mean_temperature_c_;
  SimTime now_;
  SimTime second_;  // of the line's newest noise
  SimTime last_pulse_;
};

}  // namespace timeball::refclock::sim
