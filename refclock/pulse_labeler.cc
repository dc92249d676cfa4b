#include "refclock/pulse_labeler.h"

#include <utility>

namespace timeball::refclock {
namespace {

constexpr std::int64_t kRollover = std::int64_t{1024} * 7 * 86400;

std::int64_t whole_seconds(Duration d) {
  constexpr std::int64_t kHalf = 500'000'000;
  const std::int64_t ns = d.count();
  return (ns >= 0 ? ns + kHalf : ns - kHalf) / 1'000'000'000;
}

}  // namespace

void PulseLabeler::pulse(HostTime edge, std::optional<std::int64_t> known) {
  const std::optional<HostTime> previous = edge_;
  edge_ = edge;
  const bool was_labelled = std::exchange(labelled_, false);
  if (state_ == State::kUnnumbered) return;
  if (state_ == State::kNumbered && known) {
    second_ = *known;
    return;
  }
  const Duration gap = edge - *previous;
  const std::int64_t seconds = whole_seconds(gap);
  second_ += seconds;
  const bool broken = state_ == State::kNumbered ? gap > kMaxGap : seconds != 1 || !was_labelled;
  if (broken) {
    state_ = State::kUnnumbered;
    agreeing_ = disagreements_ = 0;
  }
}

std::optional<std::int64_t> PulseLabeler::second() const {
  return state_ == State::kNumbered ? std::optional(second_) : std::nullopt;
}

PulseLabeler::Verdict PulseLabeler::label(const SecondLabel& label, std::int64_t second) {
  if (!edge_ || labelled_ || !label.trusted) return Verdict::kIgnored;
  const Duration latency = label.arrival - *edge_;
  if (latency < rules_.latency_min || latency > rules_.latency_max) return Verdict::kIgnored;
  labelled_ = true;
  if (label.names == SecondLabel::Names::kNextPulse) --second;
  return state_ == State::kNumbered ? compare(second) : count(second);
}

PulseLabeler::Verdict PulseLabeler::compare(std::int64_t second) {
  const std::int64_t off = second - second_;
  if (off % kRollover != 0) {
    ++disagreements_;
    return Verdict::kDisagrees;
  }
  disagreements_ = 0;
  return off == 0 ? Verdict::kAgrees : Verdict::kWeekRollover;
}

PulseLabeler::Verdict PulseLabeler::count(std::int64_t second) {
  if (state_ == State::kUnnumbered || second != second_) {
    state_ = State::kCandidate;
    agreeing_ = 0;
    second_ = second;
  }
  if (++agreeing_ >= rules_.agreeing_seconds) state_ = State::kNumbered;
  return Verdict::kCounting;
}

}  // namespace timeball::refclock
