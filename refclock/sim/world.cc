#include "refclock/sim/world.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "refclock/sim/gnss_receiver.h"
#include "refclock/sim/oscillators.h"

namespace timeball::refclock::sim {
namespace {

constexpr std::int64_t kStart =
    1'803'859'200;  // 2027-03-01 00:00:00 UTC: no likely leap second near
constexpr std::int64_t kBoot = 12'345'678'901;
constexpr double kTickAt = 0.5;  // of a second
constexpr double kHour = 3600;
constexpr std::array<double, 3> kHoldoverAfter{kHour, 24 * kHour, 7 * 24 * kHour};
constexpr std::int64_t kRollover = std::int64_t{1024} * 7 * 86400;

// std::llround() is a call, and there are many a second.
std::int64_t rounded(double x) {
  return static_cast<std::int64_t>(x < 0 ? x - 0.5 : x + 0.5);
}

class World {
 public:
  World(const Scenario& scenario, const WorldOptions& options)
      : scenario_(scenario),
        options_(options),
        random_(Random(options.seed).bits()),
        adverse_(scenario.adverse || scenario.push),
        stamps_(scenario.stamps == Stamps::kPhc ? StampContract::phc() : StampContract::irq()),
        rubidium_(options.contract.rubidium, random_, adverse_),
        host_(options.contract.host, random_, adverse_),
        receiver_(options.contract.gnss, random_, adverse_),
        discipline_(discipline_options()),
        event_(static_cast<std::int64_t>(scenario.event_h * kHour)),
        side_(random_.chance(0.5) ? 1 : -1),
        pulse_at_(random_.chance(0.5) ? random_.uniform(0.25, 0.45) : random_.uniform(0.55, 0.95)),
        reading_error_(adverse_ ? stamps_.reading_error_ns
                                : stamps_.reading_error_ns * random_.uniform(0.3, 1)),
        told_error_(static_cast<std::int64_t>(std::ceil(reading_error_)) + 1),
        usual_latency_(stamps_.latency_ns * random_.uniform(0.05, 0.5)),
        kernel_rate_(random_.within(5e-5)),
        utc_known_(rounded(random_.uniform(50, 750))),
        stamp_side_{BangBang(random_, random_.scale(1, 86400)),
                    BangBang(random_, random_.scale(1, 86400))},
        pair_side_(random_, random_.scale(1, 3600)) {
    if (scenario.push) {
      rubidium_.push(-side_);
      for (BangBang& s : stamp_side_) s.hold(random_.chance(0.5) ? 1 : -1);
    }
  }

  WorldResult run();

 private:
  DisciplineOptions discipline_options() const;

  std::int64_t host_ns(double fraction) const {
    return kBoot + second_ * 1'000'000'000 + rounded(fraction * 1e9 + host_.phase_ns(fraction));
  }
  HostTime host(double fraction) {
    return {host_ns(fraction) + rounded(host_.reading_ns(random_))};
  }
  KernelTime kernel(double fraction) const;
  Pulse stamped(PulseInput input, double fraction);
  bool during(double hours) const {
    return hours != 0 && second_ >= event_ && static_cast<double>(second_ - event_) < hours * kHour;
  }
  std::int64_t posix(std::int64_t second) const;
  bool in_leap_second() const;

  void apply_faults();
  void break_contract();
  void start_cold();
  double temperature() const;
  void before_tick();
  void messages();
  void tick();
  void check(double fraction);
  void sample_holdover();
  void note(const Action& action);

  const Scenario& scenario_;
  const WorldOptions& options_;
  Random random_;
  bool adverse_;
  StampContract stamps_;
  Rubidium rubidium_;
  HostCrystal host_;
  GnssReceiver receiver_;
  Discipline discipline_;
  std::int64_t event_;
  double side_;
  double pulse_at_;
  double reading_error_;
  Duration told_error_;
  double usual_latency_;
  double kernel_rate_;
  std::int64_t utc_known_;
  std::array<BangBang, 2> stamp_side_;
  BangBang pair_side_;

  std::int64_t second_ = 0;
  std::uint32_t sequence_ = 0;
  std::int64_t kernel_step_ns_ = 0;
  bool unlocked_ = false;
  ClockState served_;
  WorldResult result_;
  std::optional<std::int64_t> alarm_at_;
  bool suspected_ = false;
};

DisciplineOptions World::discipline_options() const {
  DisciplineOptions o;
  o.contract = options_.contract;
  o.contract.gnss_stamp = o.contract.rubidium_stamp = stamps_;
  if (options_.claimed) o.contract = *options_.claimed;
  o.rubidium = scenario_.has_rubidium;
  if (scenario_.stamps == Stamps::kIrq) {
    o.locked_bound = Duration(static_cast<std::int64_t>(stamps_.latency_ns) + 2000);
  }
  return o;
}

KernelTime World::kernel(double fraction) const {
  const std::int64_t h = host_ns(fraction);
  return {h + kStart * kNsPerSecond - 7'000'000'000 + kernel_step_ns_ +
          rounded(kernel_rate_ * static_cast<double>(h - kBoot))};
}

// The second's name, posix, that a perfect label gives it; 23:59:60 shares that of 00:00:00.
std::int64_t World::posix(std::int64_t second) const {
  const bool after = scenario_.leap > 0 ? second > event_ : second >= event_ - 1;
  return kStart + second - (scenario_.leap != 0 && after ? scenario_.leap : 0);
}

bool World::in_leap_second() const {
  return scenario_.leap > 0 && second_ == event_;
}

// Over a day, by its seconds: a sine is a call, and every day is the same.
std::vector<double> usual_temperatures() {
  std::vector<double> celsius(86400);
  for (std::size_t second = 0; second < celsius.size(); ++second) {
    celsius[second] = std::sin(2 * 3.14159265358979 * static_cast<double>(second) / 86400);
  }
  return celsius;
}

double World::temperature() const {
  static const std::vector<double> usual = usual_temperatures();
  if (!scenario_.ramp) return usual[static_cast<std::size_t>(second_ % 86400)];
  const double t = std::clamp(static_cast<double>(second_ - event_) / (6 * kHour), 0.0, 1.0);
  return -2.5 + 5 * t;
}

void World::apply_faults() {
  ReceiverFaults& f = receiver_.faults;
  f.off = during(scenario_.outage_h);
  f.no_quantisation = scenario_.hanging;
  f.label_off_s = during(1.0 / 6) ? scenario_.label_off_s : 0;
  if (scenario_.rollover && second_ >= event_) f.label_off_s = -kRollover;
  if (scenario_.reboot_every_h != 0 && second_ > 7200) {
    const auto every = static_cast<std::int64_t>(scenario_.reboot_every_h * kHour);
    const std::int64_t since = second_ % every;
    f.off = since < 30;
    f.rebooting = since < 90;
  }
  f.jammed = scenario_.jammed && during(0.25);
  f.off = f.off || (f.jammed && !during(0.25 / 2));
  const bool spoofed = during(scenario_.outage_h + 2) && !during(scenario_.outage_h);
  f.spoof_ns = spoofed ? scenario_.spoof_step_ns * side_ : 0;
  if (scenario_.spoof_walk_ns_per_s != 0 && second_ >= event_) {
    f.spoof_ns = scenario_.spoof_walk_ns_per_s * static_cast<double>(second_ - event_) * side_;
  }
  const auto unlock_at = event_ + static_cast<std::int64_t>(scenario_.rubidium_unlock_h * kHour);
  unlocked_ =
      scenario_.rubidium_unlock_h != 0 && second_ >= unlock_at && second_ < unlock_at + 7200;
  if (unlocked_) rubidium_.step_phase(options_.contract.rubidium.unlocked_frequency * 1e9 * side_);
  if (second_ == event_) break_contract();
  if (scenario_.cold && second_ < 1000) start_cold();
}

// No pulses, then no fix, then no UTC: labels are in GPS time until the sky has told the
// difference, which takes at most 12.5 minutes (one almanac).
void World::start_cold() {
  ReceiverFaults& f = receiver_.faults;
  f.off = second_ < 25;
  f.rebooting = second_ < 45;
  f.unsure = second_ < utc_known_;
  if (f.unsure) f.label_off_s = 18;
}

void World::break_contract() {
  if (scenario_.push) rubidium_.push(side_);
  rubidium_.step_frequency(scenario_.rubidium_frequency * side_);
  rubidium_.step_phase(scenario_.rubidium_phase_ns * side_);
  host_.step_frequency(scenario_.host_frequency * side_);
  kernel_step_ns_ = rounded(scenario_.kernel_step_ns);
}

Pulse World::stamped(PulseInput input, double fraction) {
  double late = 0;
  if (stamps_.latency_ns > 0) {
    const bool spike = random_.chance(scenario_.latency_spikes ? 0.1 : 0.001);
    late = spike ? random_.uniform(0, stamps_.latency_ns)
                 : std::min(usual_latency_ * (1 - 0.3 * std::log(1 - random_.uniform())),
                            stamps_.latency_ns);
  }
  double error = random_.within(reading_error_);
  if (adverse_) {
    const double side = stamp_side_[static_cast<std::size_t>(input)].step(random_);
    late = side > 0 ? stamps_.latency_ns : 0;
    error = side * reading_error_;
  }
  if (scenario_.late_ns != 0 && second_ >= event_ && random_.chance(0.01))
    late += scenario_.late_ns;
  Pulse pulse;
  pulse.input = input;
  pulse.edge = {host(fraction).ns + rounded(late + error)};
  pulse.reading_error = told_error_;
  pulse.sequence = ++sequence_;
  return pulse;
}

void World::messages() {
  const ReceiverFaults& f = receiver_.faults;
  if (f.off) return;
  SecondLabel label;
  label.arrival = host(0.12 + 0.02 * random_.uniform());
  label.second = UtcTime{(posix(second_) + f.label_off_s) * kNsPerSecond};
  label.trusted = !f.rebooting && !f.unsure;
  label.leap_second = in_leap_second();
  discipline_.step(label);
  if (scenario_.leap != 0 && second_ % 60 == 0) {
    LeapNotice notice;
    notice.source = LeapNotice::Source::kReceiver;
    notice.trusted = !f.rebooting;
    const bool after = second_ > event_;
    notice.change = after ? LeapIndicator::kNone
                          : (scenario_.leap > 0 ? LeapIndicator::kInsert : LeapIndicator::kDelete);
    notice.event = UtcTime{(kStart + event_) * kNsPerSecond};
    notice.tai_minus_utc_s = 37 + (after ? scenario_.leap : 0);
    discipline_.step(notice);
  }
  GnssCondition condition;
  condition.at = host(0.2);
  condition.usable = receiver_.usable();
  condition.jamming = f.jammed ? Threat::kCritical : Threat::kNone;
  condition.spoofing = Threat::kNone;
  discipline_.step(condition);
}

void World::before_tick() {
  if (second_ % 3600 == 0) {
    LeapNotice notice;
    notice.trusted = true;
    const bool after = second_ > event_;
    notice.tai_minus_utc_s = 37 + (scenario_.leap_in_file && after ? scenario_.leap : 0);
    if (scenario_.leap != 0 && scenario_.leap_in_file && !after) {
      notice.change = scenario_.leap > 0 ? LeapIndicator::kInsert : LeapIndicator::kDelete;
      notice.event = UtcTime{(kStart + event_) * kNsPerSecond};
    }
    if (scenario_.leap == 0 || scenario_.leap_in_file) discipline_.step(notice);
  }
  if (receiver_.pulses()) {
    if (const auto ps = receiver_.quantisation_ps()) {
      discipline_.step(QuantisationError{UtcTime{posix(second_) * kNsPerSecond}, *ps, true});
    }
    discipline_.step(stamped(PulseInput::kGnss, receiver_.pulse_ns() * 1e-9));
  }
  messages();
}

void World::tick() {
  if (scenario_.has_rubidium && second_ % 5 == 0) {
    OscillatorCondition condition;
    condition.at = host(kTickAt - 0.01);
    // Two polls late, because its bits latch.
    condition.locked = second_ > 400 && !(unlocked_ && second_ % 10 == 0);
    if (unlocked_) condition.locked = false;
    condition.temperature_c =
        45 + temperature() + (second_ > event_ + 3600 ? scenario_.too_warm_c : 0);
    discipline_.step(condition);
  }
  const Action action = discipline_.tick(host(kTickAt));
  note(action);
  const double error = options_.contract.kernel.pair_error_ns;
  const double read = adverse_ ? pair_side_.step(random_) * error : random_.within(error);
  ClockPair pair;
  pair.host = host(kTickAt);
  pair.kernel = {kernel(kTickAt).ns + rounded(read)};
  pair.error = Duration(static_cast<std::int64_t>(error) + 1);
  served_ = discipline_.publish(pair);
}

void World::note(const Action& action) {
  const bool after = second_ >= event_ - 10;  // a leap second is prepared for
  result_.alarms = result_.alarms | action.raised;
  if (!after && second_ > 7200) result_.alarms_early = result_.alarms_early | action.raised;
  const auto since = static_cast<double>(second_ - event_) + kTickAt;
  if (after && scenario_.alarm && !alarm_at_ && action.raised.has(*scenario_.alarm)) {
    alarm_at_ = second_;
    result_.alarm_after_s = since;
  }
  if (action.state == State::kLocked && !result_.locked_after_s) {
    result_.locked_after_s = static_cast<double>(second_);
  }
  suspected_ = suspected_ || (alarm_at_ && discipline_.suspect());
  if (suspected_ && !discipline_.suspect() && !result_.readmitted_after_s) {
    result_.readmitted_after_s = since;
  }
}

void World::check(double fraction) {
  const KernelTime k = kernel(fraction);
  if (!discipline_.bound() || k > served_.void_after) return;
  const bool synchronised = served_.synchronised();
  if (in_leap_second()) {
    result_.violations += synchronised;
    return;
  }
  if (scenario_.leap != 0 && std::abs(second_ - event_) < 8 && !synchronised) return;
  const std::int64_t truth = posix(second_) * kNsPerSecond + rounded(fraction * 1e9);
  const std::int64_t error = std::abs(served_.utc(k).ns - truth);
  const std::int64_t bound = served_.root_dispersion(k).count();
  ++result_.checks;
  const auto error_ns = static_cast<double>(error);
  if (synchronised)
    result_.worst_served_error_ns = std::max(result_.worst_served_error_ns, error_ns);
  if (second_ >= event_ && !alarm_at_ && synchronised) {
    result_.worst_error_before_alarm_ns = std::max(result_.worst_error_before_alarm_ns, error_ns);
  }
  if (error > bound) {
    if (result_.violations++ == 0)
      result_.first_violation_s = static_cast<double>(second_) + fraction;
    result_.violations_served += synchronised;
    result_.violations_after_alarm += alarm_at_ && second_ > *alarm_at_ + 1;
    result_.worst_excess_ns = std::max(result_.worst_excess_ns, static_cast<double>(error - bound));
  }
  if (!synchronised || second_ % 8 != 0) return;
  result_.ratio.add(static_cast<double>(bound) / std::max(error_ns, 1.0));
  if (discipline_.state() == State::kLocked) {
    result_.locked_bound.add(static_cast<double>(bound));
    result_.locked_error.add(std::max(error_ns, 1.0));
  }
}

void World::sample_holdover() {
  for (std::size_t i = 0; i < kHoldoverAfter.size(); ++i) {
    const auto at = event_ + static_cast<std::int64_t>(kHoldoverAfter[i]);
    if (second_ + 1 != at || scenario_.outage_h * kHour < kHoldoverAfter[i]) continue;
    const KernelTime k = kernel(1);
    const std::int64_t truth = posix(second_ + 1) * kNsPerSecond;
    result_.holdover[i] = HoldoverSample{static_cast<double>(served_.root_dispersion(k).count()),
                                         static_cast<double>(std::abs(served_.utc(k).ns - truth)),
                                         served_.synchronised()};
  }
}

WorldResult World::run() {
  const auto last = static_cast<std::int64_t>(options_.days * 86400);
  for (second_ = 0; second_ < last; ++second_) {
    apply_faults();
    receiver_.advance(random_, second_);
    before_tick();
    const double at = pulse_at_ - (rubidium_.phase_ns() + rubidium_.frequency() * pulse_at_) * 1e-9;
    const bool pulse = scenario_.has_rubidium;
    if (pulse && at < kTickAt) discipline_.step(stamped(PulseInput::kOscillator, at));
    check(kTickAt - 1e-6);
    tick();
    if (pulse && at >= kTickAt) discipline_.step(stamped(PulseInput::kOscillator, at));
    check(kTickAt + (1 - kTickAt) * random_.uniform());
    sample_holdover();
    result_.served_s += served_.synchronised();
    if (second_ >= event_ && !served_.synchronised() && !result_.stopped_after_s) {
      result_.stopped_after_s = static_cast<double>(second_ - event_) + kTickAt;
    }
    host_.advance(random_);
    rubidium_.advance(random_, temperature());
    if (scenario_.frequency_steps && second_ % (2 * 86400) == 43200) {
      rubidium_.step_as_allowed(random_.chance(0.5) ? 1 : -1);
    }
  }
  result_.served_at_end = served_.synchronised();
  return result_;
}

}  // namespace

void LogHistogram::add(double value) {
  min_ = std::min(min_, value);
  max_ = std::max(max_, value);
  ++count_;
  const double at = std::log2(std::max(value, 1e-6) * 1024) * kPerOctave;
  ++bins_[static_cast<std::size_t>(std::clamp(at, 0.0, kPerOctave * kOctaves - 1.0))];
}

void LogHistogram::add(const LogHistogram& other) {
  if (other.count_ == 0) return;
  for (std::size_t i = 0; i < bins_.size(); ++i) bins_[i] += other.bins_[i];
  count_ += other.count_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
}

double LogHistogram::quantile(double q) const {
  const auto rank = static_cast<std::uint64_t>(q * static_cast<double>(count_));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < bins_.size(); ++i) {
    seen += bins_[i];
    if (seen > rank) return std::exp2((static_cast<double>(i) + 0.5) / kPerOctave) / 1024;
  }
  return max_;
}

WorldResult run_world(const Scenario& scenario, const WorldOptions& options) {
  return World(scenario, options).run();
}

}  // namespace timeball::refclock::sim
