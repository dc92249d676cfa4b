// A run's course: what each thread of the load saw in each interval, put together.
//
// Thread rules: a TimelineWriter belongs to one thread of the load and hands over once an interval;
// the main thread takes. The lock is met a few times a second.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "bench/histogram.h"
#include "bench/load_report.h"

namespace timeball::bench {

using SteadyTime = std::chrono::steady_clock::time_point;

// The measured part of a run.
struct Window {
  SteadyTime begin;
  SteadyTime end;

  bool contains(SteadyTime t) const { return begin <= t && t < end; }
  double seconds() const { return std::chrono::duration<double>(end - begin).count(); }
};

// Loss is the share of those that ended in the interval.
struct Interval {
  std::uint64_t started = 0;
  std::uint64_t done = 0;
  std::uint64_t failed = 0;
  Histogram latency;

  void merge(const Interval& other);
};

class Timeline {
 public:
  // Intervals of a hundredth of the window, but 50 ms at least and 1 s at most.
  explicit Timeline(const Window& window);

  // Any thread.
  void add(std::size_t index, const Interval& interval);
  // Main thread: closes what was over an interval before `now`, when all writers have handed it
  // over, and gives the latest that is closed.
  const TimelinePoint* close(SteadyTime now);
  // Closes all. The timeline from then on.
  std::vector<TimelinePoint> finish();

  const Window& window() const { return window_; }
  std::chrono::nanoseconds interval() const { return interval_; }
  // Clamped to the window.
  std::size_t index_of(SteadyTime t) const;

 private:
  void close_before(std::size_t index);

  const Window window_;
  const std::chrono::nanoseconds interval_;
  const std::size_t count_;
  std::mutex mutex_;
  std::map<std::size_t, Interval> open_;
  std::vector<TimelinePoint> closed_;
};

class TimelineWriter {
 public:
  explicit TimelineWriter(Timeline& timeline) : timeline_(timeline) {}

  // now never goes back. All of them: what began in the window, whenever it ends.
  void started(SteadyTime now) { ++at(now).started; }
  void failed(SteadyTime now) { ++at(now).failed; }
  void done(SteadyTime now, Duration latency) {
    Interval& interval = at(now);
    ++interval.done;
    interval.latency.record(latency);
  }
  // Hands over what is there, and goes to now's interval: also when nothing happens, once an
  // interval; and at the end.
  void flush(SteadyTime now);

 private:
  Interval& at(SteadyTime now) {
    if (now >= until_) flush(now);
    return interval_;
  }

  Timeline& timeline_;
  Interval interval_;
  std::size_t index_ = 0;
  SteadyTime until_{};
};

}  // namespace timeball::bench
