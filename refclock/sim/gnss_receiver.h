// A timing receiver as the discipline sees it: pulses with a sawtooth, labels, its own statements.
// Within its contract while it says that it is usable; faults and attacks are switched on by the
// world's scenario. A second at a time. Owned by a World. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "refclock/clock_contract.h"
#include "refclock/observations.h"
#include "refclock/sim/oscillators.h"
#include "refclock/sim/random.h"

namespace timeball::refclock::sim {

struct ReceiverFaults {
  bool off = false;        // no power or no sky: no pulse, not usable
  bool rebooting = false;  // pulses of its own, wherever; labels not trusted; says not usable
  double spoof_ns = 0;     // its pulse is late by this, and it does not notice
  std::int64_t label_off_s = 0;
  bool unsure = false;           // of UTC: its labels are not to be trusted
  bool jammed = false;           // says so
  bool no_quantisation = false;  // TIM-TP does not come
};

class GnssReceiver {
 public:
  GnssReceiver(const GnssContract& contract, Random& random, bool adverse);

  // One second on: the pulse of continuous second `second`.
  void advance(Random& random, std::int64_t second);

  ReceiverFaults faults;

  bool pulses() const { return !faults.off; }
  bool usable() const { return !faults.off && !faults.rebooting && !faults.jammed; }
  // Where the pulse is, against UTC: errors and sawtooth.
  double pulse_ns() const {
    return error_ + sawtooth_ + faults.spoof_ns + (faults.rebooting ? astray_ : 0);
  }
  // TIM-TP for it: what to add to its stamp.
  std::optional<std::int32_t> quantisation_ps() const;

 private:
  GnssContract contract_;
  bool adverse_;
  double fixed_;
  double tick_ns_;
  double astray_;
  double cycle_;       // fraction of the clock's period at the pulse
  double cycle_rate_;  // its change, a second: near 0, hanging bridges
  double error_ = 0;
  double sawtooth_ = 0;
  double flicker_ = 0;
  double day_phase_;
  BangBang side_;
};

}  // namespace timeball::refclock::sim
