// When the requests of an open-loop run are due: evenly spaced and fixed in advance, so that a slow
// server cannot slow its own load down. A latency counts from the time in the schedule, whenever
// the request really left. Pure; one thread, its own part of the run.
#pragma once

#include <cassert>
#include <cmath>
#include <cstdint>

#include "bench/timeline.h"

namespace timeball::bench {

class ArrivalSchedule {
 public:
  // The part of one thread: arrivals index, index + threads, index + 2 * threads ... of a run with
  // `rate` arrivals a second. Requires rate > 0, index < threads.
  ArrivalSchedule(SteadyTime start, Duration length, double rate, unsigned index, unsigned threads)
      : start_(start),
        end_(start + length),
        interval_ns_(1e9 * threads / rate),
        first_ns_(1e9 * index / rate) {
    assert(rate > 0 && index < threads);
  }

  // The next one, past the end when there is none left.
  SteadyTime next() const {
    const double ns = first_ns_ + interval_ns_ * static_cast<double>(taken_);
    return start_ + Duration(std::llround(ns));
  }
  bool due(SteadyTime now) const { return next() <= now && !finished(); }
  bool finished() const { return next() >= end_; }
  // Requires !finished().
  SteadyTime take() {
    assert(!finished());
    const SteadyTime at = next();
    ++taken_;
    return at;
  }

 private:
  SteadyTime start_;
  SteadyTime end_;
  double interval_ns_;
  double first_ns_;
  std::uint64_t taken_ = 0;
};

}  // namespace timeball::bench
