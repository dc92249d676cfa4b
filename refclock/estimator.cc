#include "refclock/estimator.h"

#include "refclock/rounding.h"

namespace timeball::refclock {
namespace {

constexpr double kSecond = 1e9;
constexpr int kEvidence = 3;         // misfits in a row, or nearly
constexpr double kForgiven = 0.125;  // of a misfit, for each pulse that fits
// A stray pulse is anywhere; one that only just does not fit is worth remembering for longer: a
// walk begins like this.
constexpr double kNearForgiven = 1.0 / 600;
constexpr double kFresh = 10;        // s: so long the crystal alone is a witness
constexpr double kDoubt = 0.25e9;    // ns: within it, a second is the nearest second
constexpr double kWitnessRate = 20;  // ns/s: faster, GNSS steps rather than walks

// Its count is what its pulses say, locked or not: until an unlock is reported it counts as wander.
OscillatorLimits count_limits(const ClockContract& contract) {
  const OscillatorLimits host = contract.host.limits();
  const OscillatorLimits rubidium = contract.rubidium.limits();
  OscillatorLimits sum = host;
  sum.frequency_max += rubidium.frequency_max;
  sum.drift_per_s += rubidium.drift_per_s;
  sum.wander += rubidium.wander + rubidium.step + contract.rubidium.unlocked_frequency;
  sum.phase_noise_ns += rubidium.phase_noise_ns;
  sum.noise_rate += rubidium.noise_rate;
  return sum;
}

// 0 when they overlap.
double gap(Interval a, Interval b) {
  return std::max(0.0, std::max(a.lo - b.hi, b.lo - a.hi));
}

}  // namespace

Estimator::Estimator(const ClockContract& contract)
    : contract_(contract),
      unlock_ns_(contract.rubidium.unlock_report_s * contract.rubidium.unlocked_frequency * 1e9),
      gnss_(contract.host.limits(), PhaseMemory::host()),
      count_(count_limits(contract), PhaseMemory::host()),
      training_(contract.rubidium.limits(), PhaseMemory::rubidium()),
      trial_(contract.rubidium.limits(), PhaseMemory::rubidium()) {}

void Estimator::forget() {
  *this = Estimator(contract_);
}

// UTC - host (or count - host) at the stamp: the edge was `latency` or less before it.
Interval Estimator::stamped(std::int64_t number, HostTime edge, const StampContract& stamp,
                            double reading_error_ns) const {
  const auto phase = static_cast<double>(number * 1'000'000'000 - (edge.ns - epoch_.ns));
  // The host's crystal measured the latency, too.
  const double late = (stamp.latency_ns + reading_error_ns) * (1 + contract_.host.frequency_max);
  return {phase - reading_error_ns, phase + late};
}

Estimator::Verdict Estimator::rubidium_pulse(HostTime edge, double reading_error_ns) {
  start(edge);
  const double t = seconds(edge);
  if (!count_.empty() && count_.at(t).radius() > kDoubt) rubidium_lost();
  const auto host = static_cast<double>(edge.ns - epoch_.ns);
  const double ahead = count_.empty() ? 0 : count_.at(t).middle();
  const std::int64_t number = rounded((host + ahead) / kSecond);
  if (count_.measure(t, stamped(number, edge, contract_.rubidium_stamp, reading_error_ns))) {
    rubidium_misfits_ = 0;
    return Verdict::kFits;
  }
  if (++rubidium_misfits_ < kEvidence) return Verdict::kMisfit;
  if (gnss_misfits_ >= kEvidence - 1) {
    forget();
    return Verdict::kHost;
  }
  rubidium_misfits_ = 0;
  rubidium_lost();
  return Verdict::kStep;
}

Estimator::Verdict Estimator::judge(double t, Interval utc, Interval phase) {
  const bool fresh = t - last_learnt_ < kFresh || !rubidium_known();
  const double host_gap = fresh && !gnss_.empty() ? gap(gnss_.at(t), utc) : 0;
  const double rubidium_gap =
      rubidium_known() ? gap(training_.at(t).widened(unlock_ns_), phase) : 0;
  if (host_gap == 0 && rubidium_gap == 0) {
    gnss_misfits_ = std::max(0.0, gnss_misfits_ - kForgiven);
    near_misfits_ = std::max(0.0, near_misfits_ - kNearForgiven);
    return training_.slopes_agree() ? Verdict::kFits : Verdict::kSlope;
  }
  gnss_misfits_ += 1;
  if (host_gap == 0 && rubidium_gap < phase.radius()) near_misfits_ += 1;
  if (near_misfits_ >= kEvidence) return Verdict::kSlope;
  if (gnss_misfits_ < kEvidence) return Verdict::kMisfit;
  if (host_gap > 0 && rubidium_misfits_ >= kEvidence - 1) return Verdict::kHost;
  gnss_misfits_ = 0;
  return host_gap > 0 ? Verdict::kStep : Verdict::kSlope;
}

void Estimator::learn(double t, Interval utc, Interval phase) {
  gnss_.measure(t, utc);
  if (!count_.empty()) training_.measure(t, phase);
  last_learnt_ = t;
}

void Estimator::start(HostTime at) {
  if (started_) return;
  epoch_ = at;
  started_ = true;
}

Estimator::Verdict Estimator::gnss_pulse(const GnssPulse& pulse, bool may_learn) {
  start(pulse.edge);
  const double t = seconds(pulse.edge);
  // Phases stay small, so that a double's rounding does.
  if (!known()) base_ = pulse.number - rounded(t);
  const GnssContract& gnss = contract_.gnss;
  const double slack = gnss.variable_ns + (pulse.quantisation_ns ? 0 : gnss.sawtooth_ns);
  const Interval utc =
      stamped(pulse.number - base_, pulse.edge, contract_.gnss_stamp, pulse.reading_error_ns)
          .widened(slack) +
      -pulse.quantisation_ns.value_or(0);
  return take(t, utc, may_learn);
}

Estimator::Verdict Estimator::sources(HostTime at, std::int64_t offset_ns, Interval rest,
                                      bool may_learn) {
  start(at);
  if (!known()) base_ = (offset_ns + epoch_.ns) / 1'000'000'000;
  return take(seconds(at), rest + static_cast<double>(offset_ns - utc_minus_host(0)), may_learn);
}

Estimator::Verdict Estimator::take(double t, Interval utc, bool may_learn) {
  const Interval phase = count_.empty() ? Interval{} : utc - count_.at(t);
  const Verdict verdict = judge(t, utc, phase);
  if (may_learn && verdict == Verdict::kFits) {
    learn(t, utc, phase);
  } else if (verdict == Verdict::kSlope && !stepped_ && !training_.distrusted()) {
    training_.distrust(t);
    gnss_.forget();
    witness_ = Witness{t, phase, phase};
  }
  if (verdict == Verdict::kStep) stepped_ = true;
  if (!may_learn && !count_.empty()) cover(t, phase);
  if (!may_learn && verdict == Verdict::kFits && !count_.empty()) trial_.measure(t, phase);
  if (verdict != Verdict::kFits) trial_.forget();
  if (verdict == Verdict::kHost || (verdict == Verdict::kStep && !rubidium_known())) forget();
  return verdict;
}

bool Estimator::witness_fits(double t, Interval phase) const {
  return !intersection(witness_->newest.widened(kWitnessRate * (t - witness_->t)), phase).empty();
}

// While distrusted: where GNSS goes, without stepping, UTC may have gone.
void Estimator::cover(double t, Interval phase) {
  if (!witness_ || !witness_fits(t, phase)) return;
  const double moved = contract_.rubidium.frequency_max * 1e9 * (t - witness_->t);
  witness_ = Witness{t, phase, hull(witness_->all.widened(moved), phase)};
}

void Estimator::tick(HostTime now) {
  const double t = seconds(now);
  if (t - last_learnt_ < kFresh) return;
  // A rubidium that comes in an outage begins with what the crystal still knows.
  if (training_.empty() && !count_.empty() && !gnss_.empty()) {
    training_.measure(t, gnss_.at(t) - count_.at(t));
  }
  if (!rubidium_known()) return;
  gnss_.measure(t, at(now).phase);
}

Estimate Estimator::at(HostTime now) {
  const double t = seconds(now);
  Estimate e;
  if (!rubidium_known()) {
    e.phase = gnss_.at(t);
    e.serve = e.phase.middle();
    return e;
  }
  e.phase = (count_.at(t) + training_.at(t)).widened(unlock_ns_);
  e.serve = e.phase.middle();
  if (witness_) {
    const double moved = contract_.rubidium.frequency_max * 1e9 * (t - witness_->t);
    e.phase = hull(e.phase, count_.at(t) + witness_->all.widened(moved));
    return e;
  }
  if (gnss_.empty()) return e;
  const Interval both = intersection(e.phase, gnss_.at(t));
  e.phase = both.empty() ? hull(e.phase, gnss_.at(t)) : both;
  e.serve = e.phase.middle();
  return e;
}

Estimate Estimator::at(HostTime now, double horizon_s) {
  Estimate e = at(now);
  e.frequency = frequency(seconds(now) + horizon_s);
  return e;
}

Interval Estimator::frequency(double until) {
  if (!rubidium_known()) return gnss_.frequency(until);
  const Interval y = count_.frequency(until) + training_.frequency(until);
  if (witness_ || gnss_.empty()) return y;
  const Interval both = intersection(y, gnss_.frequency(until));
  return both.empty() ? y : both;
}

std::optional<std::int64_t> Estimator::second_at(HostTime now) {
  if (!known()) return std::nullopt;
  const Estimate e = at(now);
  if (e.radius() > kDoubt) return std::nullopt;
  return base_ + rounded((static_cast<double>(now.ns - epoch_.ns) + e.serve) / kSecond);
}

std::int64_t Estimator::utc_minus_host(double phase_ns) const {
  return base_ * 1'000'000'000 - epoch_.ns + rounded(phase_ns);
}

bool Estimator::readmit(HostTime now, bool forced) {
  const double t = seconds(now);
  if (training_.distrusted()) {
    // Its middle: an hour's measurement is wide, and what merely might be right has been excluded.
    const bool same =
        !trial_.empty() && training_.trusted_frequency().contains(trial_.mean_frequency().middle());
    if (!same && !forced) return false;
    training_.readmit(t);
  }
  if (forced) {
    training_.forget();
    gnss_.forget();
  }
  trial_.forget();
  witness_.reset();
  gnss_misfits_ = near_misfits_ = 0;
  stepped_ = false;
  return true;
}

}  // namespace timeball::refclock
