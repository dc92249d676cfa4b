#include "refclock/rack_clock.h"

namespace timeball::refclock {
void RackClock::observe(const Observation& observation) {
  std::visit([this](const auto& o) { discipline_.step(o); }, observation);
  if (const auto* gnss = std::get_if<GnssCondition>(&observation)) status_.gnss = *gnss;
  if (const auto* rubidium = std::get_if<OscillatorCondition>(&observation)) {
    status_.oscillator = *rubidium;
  }
  if (const auto* error = std::get_if<QuantisationError>(&observation)) {
    status_.quantisation = *error;
  }
  if (const auto* leap = std::get_if<LeapNotice>(&observation)) status_.leap = *leap;
}

RackClock::Beat RackClock::tick(const ClockPair& now) {
  Beat beat;
  beat.action = discipline_.tick(now.host);
  beat.clock = discipline_.publish(now);
  if (table_ && discipline_.bound()) {  // a table is of use to those who know the date
    const LeapNotice notice = leap_notice(*table_, beat.clock.utc(now.kernel));
    discipline_.step(notice);
    status_.tai_minus_utc_s = notice.trusted ? notice.tai_minus_utc_s : std::nullopt;
    if (!status_.leap || status_.leap->source == LeapNotice::Source::kFile) status_.leap = notice;
  }
  if (beat.action.state_changed || status_.at == HostTime{}) status_.state_since = now.host;
  status_.at = now.host;
  status_.state = beat.action.state;
  status_.suspect = discipline_.suspect();
  status_.degraded = discipline_.degraded();
  status_.leap_unknown = discipline_.leap_unknown();
  status_.alarms = discipline_.alarms();
  status_.bound = discipline_.bound();
  status_.leap_file_expires = table_ ? std::optional(table_->expires) : std::nullopt;
  for (std::size_t i = 0; i < kAlarmCount; ++i) {
    status_.raised[i] += beat.action.raised.has(static_cast<Alarm>(i)) ? 1 : 0;
  }
  watch_holdover();
  return beat;
}

void RackClock::watch_holdover() {
  status_.holdover.reset();
  status_.holdover_remaining.reset();
  if (status_.state != State::kHoldover || !status_.bound) return forecast_.reset();
  if (!forecast_) forecast_.emplace(*status_.bound);
  status_.holdover = status_.at - status_.state_since;
  status_.holdover_remaining =
      forecast_->remaining(*status_.holdover, *status_.bound, holdover_limit_);
}

}  // namespace timeball::refclock
