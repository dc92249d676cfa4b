// One source's samples made one interval for UTC now. The host's crystal carries each sample on, so
// that the interval is the intersection of many; a sample that contradicts them is dropped; three
// in a row are the source's new truth (it stepped: selection will tell who is right).
//
// Phases are UTC - host time in ns, against a base that all filters of a discipline share. Owned by
// the discipline; its thread calls. Pure.
#pragma once

#include <optional>

#include "refclock/phase_bound.h"

namespace timeball::refclock {

class SampleFilter {
 public:
  explicit SampleFilter(const HostContract& host) : bound_(host.limits(), PhaseMemory::host()) {}

  // False: dropped.
  bool accept(double t_s, Interval phase) {
    if (bound_.measure(t_s, phase)) {
      newest_s_ = t_s;
      dropped_ = 0;
      return true;
    }
    if (++dropped_ < kMostDropped) return false;
    bound_.forget();
    return accept(t_s, phase);
  }
  // Nothing when it has been silent for kSilent.
  std::optional<Interval> at(double t_s) {
    if (bound_.empty() || t_s - newest_s_ > kSilentS) return std::nullopt;
    return bound_.at(t_s);
  }

  static constexpr int kMostDropped = 3;
  static constexpr double kSilentS = 64;

 private:
  PhaseBound bound_;
  double newest_s_ = 0;
  int dropped_ = 0;
};

}  // namespace timeball::refclock
