#include "refclock/discipline.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace timeball::refclock {
namespace {

using std::chrono::seconds;

constexpr auto kPulseTimeout = std::chrono::milliseconds(3500);  // without one GNSS is not in use
constexpr auto kMissingAlarm = seconds(6);
constexpr auto kLeapGuard = seconds(4);       // two publications before the change
constexpr auto kLeapForgotten = seconds(10);  // later, it had passed before we started
constexpr int kLeapLabels = 5;
constexpr auto kUnsynchronisedBound = seconds(1);  // at least: what chrony serves, too

constexpr std::int64_t whole_seconds(UtcTime t) {
  return t.ns / kNsPerSecond - (t.ns % kNsPerSecond < 0 ? 1 : 0);
}

bool recently(std::optional<HostTime> at, HostTime now) {
  return at && now - *at < kPulseTimeout;
}

constexpr bool served(State state) {
  return state == State::kLocked || state == State::kHoldover;
}

std::uint32_t packed(const std::array<char, 4>& id) {
  std::uint32_t value = 0;
  for (const char c : id) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

// log2 seconds, rounded up.
std::int8_t precision_of(Duration reading) {
  std::int8_t exponent = -30;
  while (exponent < 0 && (kNsPerSecond >> -exponent) < reading.count()) ++exponent;
  return exponent;
}

// The last midnight at which a leap second may have come, or the next within a day: IERS uses the
// ends of June and December first.
UtcTime nearest_leap_date(UtcTime now) {
  using namespace std::chrono;
  const sys_days day = floor<days>(sys_time<nanoseconds>(nanoseconds(now.ns)) + hours(12));
  const year_month_day date(day);
  const bool late = date.month() >= July;
  return {
      nanoseconds(sys_days(date.year() / (late ? July : January) / 1).time_since_epoch()).count()};
}

}  // namespace

Discipline::Discipline(const DisciplineOptions& options)
    : options_(options),
      labeler_(options.labeling),
      threats_(options.threats),
      estimator_(options.contract),
      publisher_(options.contract) {}

void Discipline::step(const Pulse& pulse) {
  if (!started_) started_ = pulse.edge;
  const auto error = static_cast<double>(pulse.reading_error.count());
  if (pulse.input == PulseInput::kOscillator) {
    rubidium_pulse_ = pulse.edge;
    if (!rubidium_good_) return;
    const Estimator::Verdict verdict = estimator_.rubidium_pulse(pulse.edge, error);
    if (verdict == Estimator::Verdict::kStep) seen_.set(Alarm::kRubidiumJumped);
    if (verdict == Estimator::Verdict::kHost) seen_.set(Alarm::kHostClock);
    return;
  }
  labeler_.pulse(pulse.edge, estimator_.second_at(pulse.edge));
  if (options_.bare_pps) label_by_sources(pulse.edge);
  pending_ = PendingPulse{pulse.edge, error};
}

std::int64_t Discipline::continuous(const SecondLabel& label) const {
  const std::int64_t second = whole_seconds(label.second) + leap_s_;
  const bool before = passed_ && (label.second < passed_->first ||
                                  (label.second == passed_->first && label.leap_second));
  return before ? second - passed_->change : second;
}

void Discipline::step(const SecondLabel& label) {
  if (!started_) started_ = label.arrival;
  if (passage_) {
    compare_leap(label);
    return;
  }
  const PulseLabeler::Verdict verdict = labeler_.label(label, continuous(label));
  if (verdict == PulseLabeler::Verdict::kWeekRollover) seen_.set(Alarm::kWeekRollover);
  if (verdict != PulseLabeler::Verdict::kDisagrees) return;
  seen_.set(Alarm::kLabelDisagrees);
  if (labeler_.disagreements() >= options_.labeling.agreeing_seconds) {
    threats_.report(Alarm::kLabelDisagrees, label.arrival);
  }
}

void Discipline::step(const QuantisationError& error) {
  quantisation_[0] = std::exchange(quantisation_[1], error);
}

void Discipline::step(const GnssCondition& condition) {
  if (!started_) started_ = condition.at;
  threats_.hear(condition);
  if (condition.rollover_weeks != 0) seen_.set(Alarm::kWeekRollover);
  if (!pending_ || condition.at < pending_->edge) return;
  settle(*pending_, condition.usable);
  pending_.reset();
}

// The receiver has spoken after the pulse: is it worth something?
void Discipline::settle(const PendingPulse& pulse, bool usable) {
  const auto number = labeler_.second();
  if (!usable || !number) return;
  Estimator::GnssPulse known{pulse.edge, *number, pulse.reading_error_ns, {}};
  for (const auto& q : quantisation_) {
    if (q && q->valid && whole_seconds(q->second) + leap_s_ == *number) {
      known.quantisation_ns = q->error_ps * 1e-3;
    }
  }
  heed(estimator_.gnss_pulse(known, !threats_.excluded()), pulse.edge, gnss_used_);
}

void Discipline::heed(Estimator::Verdict verdict, HostTime at, std::optional<HostTime>& used) {
  const bool excluded = threats_.excluded();
  switch (verdict) {
    case Estimator::Verdict::kFits:
      if (!excluded) {
        used = at;
      } else if (labeler_.disagreements() == 0 && threats_.clean(at)) {
        if (!estimator_.readmit(at, false)) return threats_.report(Alarm::kPhaseSlope, at);
        threats_.readmit();
      }
      return;
    case Estimator::Verdict::kMisfit:
      seen_.set(Alarm::kPhaseStep);
      if (excluded) threats_.report(Alarm::kPhaseStep, at);
      return;
    case Estimator::Verdict::kStep:
      return threats_.report(Alarm::kPhaseStep, at);
    case Estimator::Verdict::kSlope:
      return threats_.report(Alarm::kPhaseSlope, at);
    case Estimator::Verdict::kHost:
      return seen_.set(Alarm::kHostClock);
  }
}

double Discipline::source_seconds(HostTime t) const {
  return static_cast<double>((t - sources_start_).count()) * 1e-9;
}

void Discipline::step(const TimeSample& sample) {
  if (!started_) started_ = sample.at;
  if (sample.source >= sources_.size() || sample.error < Duration(0)) return;
  const std::int64_t offset = sample.utc.ns + leap_s_ * kNsPerSecond - sample.at.ns;
  if (!sources_heard_) {
    sources_heard_ = true;
    sources_offset_ns_ = offset;
    sources_start_ = sample.at;
  }
  auto& filter = sources_[sample.source];
  if (!filter) filter.emplace(options_.contract.host);
  const auto rest = static_cast<double>(offset - sources_offset_ns_);
  filter->accept(source_seconds(sample.at),
                 Interval::around(rest, static_cast<double>(sample.error.count())));
}

// Once a second: time itself when there are no pulses in use, and a check on them when there are.
void Discipline::ask_sources(HostTime now) {
  if (!sources_heard_) return;
  constexpr Interval kSilent{1, -1};
  std::array<Interval, kMaxSources> say;
  bool any = false;
  for (std::size_t i = 0; i < say.size(); ++i) {
    const auto at = sources_[i] ? sources_[i]->at(source_seconds(now)) : std::nullopt;
    say[i] = at.value_or(kSilent);
    any = any || at;
  }
  sources_agree_.reset();
  if (!any || passage_) return;
  const auto selection = select(say);
  if (!selection) return seen_.set(Alarm::kSourcesDisagree);
  sources_agree_ = selection->agreed;
  if (!gnss_in_use(now)) {
    const bool learn = !threats_.excluded();
    return heed(estimator_.sources(now, sources_offset_ns_, selection->agreed, learn), now,
                sources_used_);
  }
  const Interval ours = estimator_.at(now).phase.widened(options_.contract.gnss.fixed_ns) +
                        static_cast<double>(estimator_.utc_minus_host(0) - sources_offset_ns_);
  if (!intersection(ours, selection->agreed).empty()) return;
  seen_.set(Alarm::kSourcesDisagree);
  threats_.report(Alarm::kSourcesDisagree, now);
}

// A bare PPS: its seconds are those nearest to what the other sources say.
void Discipline::label_by_sources(HostTime edge) {
  constexpr double kLimit = 0.2e9;
  if (!sources_agree_ || sources_agree_->radius() > kLimit) return;
  const double rest = sources_agree_->middle();
  const std::int64_t utc = edge.ns + sources_offset_ns_ + static_cast<std::int64_t>(rest);
  SecondLabel label;
  label.arrival = edge;
  label.trusted = true;
  labeler_.label(label, (utc + kNsPerSecond / 2) / kNsPerSecond);
}

void Discipline::note_temperature(double celsius, HostTime at) {
  if (temperature_ && at - temperature_since_ <= std::chrono::hours(24)) {
    temperature_ = hull(*temperature_, {celsius, celsius});
    return;
  }
  temperature_before_ = temperature_;
  temperature_ = {celsius, celsius};
  temperature_since_ = at;
}

// Over the time for which the rubidium's frequency is remembered.
double Discipline::temperature_range() const {
  if (!temperature_) return 0;
  const Interval seen =
      temperature_before_ ? hull(*temperature_, *temperature_before_) : *temperature_;
  return seen.hi - seen.lo;
}

void Discipline::step(const OscillatorCondition& condition) {
  if (!started_) started_ = condition.at;
  if (condition.temperature_c) note_temperature(*condition.temperature_c, condition.at);
  const bool mild = temperature_range() <= options_.contract.rubidium.temperature_range_c;
  rubidium_heard_ = condition.at;
  rubidium_good_ = condition.locked && !condition.disciplined && mild;
  rubidium_following_ = options_.rubidium_follows && condition.locked && condition.disciplined;
  if (condition.jumped || condition.restarted) seen_.set(Alarm::kRubidiumJumped);
  if (!rubidium_good_ || condition.jumped || condition.restarted) estimator_.rubidium_lost();
}

void Discipline::readmit(HostTime now) {
  threats_.readmit();
  labeler_.restart();
  estimator_.readmit(now, true);
}

void Discipline::pass_leap(UtcTime utc) {
  if (!passage_) {
    const bool agreed = leaps_.agreed().has_value();
    auto event = agreed ? leaps_.agreed() : leaps_.claimed();
    if (!event && leaps_.unknown()) event = LeapEvent{nearest_leap_date(utc), 0};
    if (!event || (passed_ && event->first == passed_->first) || utc < event->first - kLeapGuard ||
        utc > event->first + kLeapForgotten) {
      return;
    }
    passage_ = LeapPassage{*event, agreed, 0, 0};
  }
  const LeapEvent& event = passage_->event;
  // A second after the change, so that a kernel which leaps by itself, and late, has done it.
  const UtcTime over = event.first + seconds(std::max(event.change, 0));
  if (passage_->agreed && utc >= over) finish_leap(event.change);
}

// After a change that only one source claims, or that none could tell: does the receiver count on?
void Discipline::compare_leap(const SecondLabel& label) {
  const auto number = labeler_.second();
  if (passage_->agreed || !number || !label.trusted || label.leap_second) return;
  if (threats_.excluded()) return;
  const std::int64_t next = label.names == SecondLabel::Names::kNextPulse ? 1 : 0;
  const std::int64_t if_not = *number + next - leap_s_;
  const std::int64_t change = if_not - whole_seconds(label.second);
  if (if_not <= whole_seconds(passage_->event.first) || change < -1 || change > 1) return;
  passage_->labels = change == passage_->said ? passage_->labels + 1 : 1;
  passage_->said = static_cast<int>(change);
  if (passage_->labels >= kLeapLabels) finish_leap(passage_->said);
}

void Discipline::finish_leap(int change) {
  if (change == passage_->event.change) leaps_.passed(passage_->event);
  passed_ = LeapEvent{passage_->event.first, change};
  leap_s_ += change;
  passage_.reset();
}

bool Discipline::gnss_in_use(HostTime now) const {
  return recently(gnss_used_, now) && !threats_.excluded();
}

State Discipline::next_state(HostTime now) const {
  if (!started_) return State::kCold;
  if (!bound_) return degraded() ? State::kWarmup : State::kNumbering;
  const bool in_use = gnss_in_use(now) || recently(sources_used_, now);
  if (in_use && *bound_ <= options_.locked_bound) return State::kLocked;
  if (served(state_) && *bound_ <= options_.holdover_limit) return State::kHoldover;
  return in_use ? State::kAcquire : State::kFreerun;
}

AlarmSet Discipline::current_alarms(HostTime now, std::optional<UtcTime> utc) {
  AlarmSet set = threats_.alarms() | std::exchange(seen_, {});
  set.set(Alarm::kPulsesMissing, gnss_used_ && now - *gnss_used_ > kMissingAlarm);
  const bool pulses = rubidium_pulse_ && now - *rubidium_pulse_ < kMissingAlarm;
  const bool silent = options_.rubidium && (!rubidium_heard_ || (rubidium_good_ && !pulses));
  set.set(Alarm::kRubidiumSilent, silent);
  set.set(Alarm::kRubidiumUnlocked, degraded() && !silent);
  set.set(Alarm::kRubidiumTemperature,
          temperature_range() > options_.contract.rubidium.temperature_range_c);
  set.set(Alarm::kLeapUnknown, leaps_.unknown());
  const bool contradiction = utc && leaps_.disagree(*utc);
  if (contradiction || (passage_ && !passage_->agreed)) set.set(Alarm::kLeapDisagreement);
  set.set(Alarm::kBoundExceeded, state_ == State::kFreerun);
  return set;
}

Action Discipline::tick(HostTime now) {
  const auto report = std::chrono::duration<double>(options_.contract.rubidium.unlock_report_s);
  if (rubidium_heard_ && now - *rubidium_heard_ > report) {
    rubidium_heard_.reset();
    rubidium_good_ = rubidium_following_ = false;
    estimator_.rubidium_lost();
  }
  if (options_.bare_pps && pending_) {  // nobody speaks for it
    settle(*pending_, true);
    pending_.reset();
  }
  ask_sources(now);
  bound_.reset();
  std::optional<UtcTime> utc;
  if (estimator_.known()) {
    estimator_.tick(now);
    const Estimate estimate = estimator_.at(now);
    utc = UtcTime{now.ns + estimator_.utc_minus_host(estimate.serve) - leap_s_ * kNsPerSecond};
    pass_leap(*utc);
    bound_ = publisher_.bound(estimate);
  }
  if (gnss_in_use(now) || recently(sources_used_, now)) corrected_ = now;
  const State state = next_state(now);
  Action action;
  action.state_changed = state != state_;
  action.state = state_ = state;
  const AlarmSet alarms = current_alarms(now, utc);
  action.raised = alarms.without(alarms_);
  action.cleared = alarms_.without(alarms);
  alarms_ = alarms;
  return action;
}

ClockState Discipline::publish(const ClockPair& pair) {
  const int leap = passage_ && passage_->agreed ? passage_->event.change : 0;
  if (!publisher_.hear(pair, leap)) seen_.set(Alarm::kForeignSteering);
  ClockState state;
  state.as_of = state.reference_time = pair.kernel;
  if (estimator_.known()) {
    const Estimate utc = estimator_.at(pair.host, publisher_.horizon_s());
    state = publisher_.state(estimator_, utc, leap_s_);
  }
  state.precision = precision_of(pair.error);
  if (corrected_) state.reference_time = state.as_of - (pair.host - *corrected_);
  if (!served(state_) || passage_) {
    state.error_bound = std::max<Duration>(state.error_bound, kUnsynchronisedBound);
    return state;
  }
  state.stratum = 1;
  state.leap = leaps_.indicator(state.utc(state.as_of));
  state.reference_id = packed(options_.reference_id);
  return state;
}

}  // namespace timeball::refclock
