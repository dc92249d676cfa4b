// UTC of a world whose time runs evenly: the same count until a leap second, then one more or less.
// As in SecondLabel, 23:59:60 has the number of 00:00:00. Values; any thread.
#pragma once

#include "common/time/clock_state.h"
#include "refclock/sim/rubidium_model.h"

namespace timeball::refclock::sim {

class LeapCalendar {
 public:
  // event: the first second after it. kNone: it was a mistake, no leap second is planned.
  void plan(SimTime now, LeapIndicator change, UtcTime event) {
    shift_ = shift(now);
    change_ = change;
    event_ = event;
    const auto before = change == LeapIndicator::kInsert ? kSecond : -kSecond;
    at_ = SimTime{(event - shift_).ns} + before;
  }
  UtcTime utc(SimTime t) const { return UtcTime{t.ns} + shift(t); }
  int gps_minus_utc_s(SimTime t) const { return 18 - static_cast<int>(shift(t) / kSecond); }
  LeapIndicator announced(SimTime t) const { return t < at_ ? change_ : LeapIndicator::kNone; }
  UtcTime event() const { return event_; }
  bool in_leap_second(SimTime t) const {
    return announced(t) == LeapIndicator::kInsert && t >= at_ - kSecond;
  }

 private:
  static constexpr std::chrono::seconds kSecond{1};

  Duration shift(SimTime t) const {
    if (change_ == LeapIndicator::kNone || t < at_) return shift_;
    return shift_ + (change_ == LeapIndicator::kInsert ? -kSecond : kSecond);
  }

  LeapIndicator change_ = LeapIndicator::kNone;
  UtcTime event_;
  SimTime at_;        // the first moment of the new count
  Duration shift_{};  // until then
};

}  // namespace timeball::refclock::sim
