#include "bench/timeline.h"

#include <algorithm>

namespace timeball::bench {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

TimelinePoint point_of(const Interval& interval, double until_s, double length_s) {
  const std::uint64_t ended = interval.done + interval.failed;
  TimelinePoint point;
  point.seconds = until_s;
  point.sent_per_second = static_cast<double>(interval.started) / length_s;
  point.done_per_second = static_cast<double>(interval.done) / length_s;
  if (ended > 0) point.loss = static_cast<double>(interval.failed) / static_cast<double>(ended);
  point.p50 = interval.latency.quantile(0.5);
  point.p99 = interval.latency.quantile(0.99);
  return point;
}

}  // namespace

void Interval::merge(const Interval& other) {
  started += other.started;
  done += other.done;
  failed += other.failed;
  latency.merge(other.latency);
}

Timeline::Timeline(const Window& window)
    : window_(window),
      interval_(std::clamp<nanoseconds>((window.end - window.begin) / 100, 50ms, 1s)),
      count_(std::max<std::size_t>(
          1, static_cast<std::size_t>((window.end - window.begin) / interval_))) {}

// The last interval takes what the division leaves over, and what ends after the window.
std::size_t Timeline::index_of(SteadyTime t) const {
  if (t < window_.begin) return 0;
  return std::min(count_ - 1, static_cast<std::size_t>((t - window_.begin) / interval_));
}

void Timeline::add(std::size_t index, const Interval& interval) {
  const std::lock_guard lock(mutex_);
  open_[std::max(index, closed_.size())].merge(interval);
}

void Timeline::close_before(std::size_t index) {
  while (closed_.size() < index) {
    const std::size_t next = closed_.size();
    const nanoseconds begin = static_cast<std::int64_t>(next) * interval_;
    const nanoseconds end = next + 1 == count_ ? window_.end - window_.begin : begin + interval_;
    closed_.push_back(point_of(open_[next], std::chrono::duration<double>(end).count(),
                               std::chrono::duration<double>(end - begin).count()));
    open_.erase(next);
  }
}

const TimelinePoint* Timeline::close(SteadyTime now) {
  const std::lock_guard lock(mutex_);
  close_before(index_of(now - interval_));
  return closed_.empty() ? nullptr : &closed_.back();
}

std::vector<TimelinePoint> Timeline::finish() {
  const std::lock_guard lock(mutex_);
  close_before(count_);
  return closed_;
}

void TimelineWriter::flush(SteadyTime now) {
  timeline_.add(index_, interval_);
  interval_ = {};
  index_ = timeline_.index_of(now);
  const Window& window = timeline_.window();
  until_ = index_ == timeline_.index_of(window.end)
               ? SteadyTime::max()
               : window.begin + static_cast<std::int64_t>(index_ + 1) * timeline_.interval();
}

}  // namespace timeball::bench
