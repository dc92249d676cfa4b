#include "refclock/phase_bound.h"

#include <cmath>

namespace timeball::refclock {
namespace {

// The caller's seconds may be wrong by as much (a host's crystal is far better), and so may, then,
// everything that grows with them.
constexpr double kTimeScale = 1.001;

OscillatorLimits in_ns_per_s(OscillatorLimits limits) {
  constexpr double kScale = 1e9 * kTimeScale;
  limits.frequency_max *= kScale;
  limits.drift_per_s *= kScale * kTimeScale;
  limits.drift_range *= kScale;
  limits.wander *= kScale;
  limits.step *= kScale;
  limits.step_interval_s /= kTimeScale;
  return limits;
}

// int_0^y floor(t / p) dt
double floor_integral(double y, double p) {
  const double m = std::floor(y / p);
  return p * m * (m - 1) / 2 + m * (y - m * p);
}

}  // namespace

PhaseBound::PhaseBound(const OscillatorLimits& limits, const PhaseMemory& memory)
    : limits_(in_ns_per_s(limits)),
      noise_ns_(limits.phase_noise_ns),
      noise_rate_(limits.noise_rate * 1e9 * kTimeScale),
      memory_(memory),
      ring_(memory.anchors) {}

void PhaseBound::forget() {
  known_ = distrusted_ = false;
  measured_.reset();
  slopes_agree_ = true;
  count_ = family_count_ = 0;
}

// F(T, u) of the header: how far y may be, u after the window's end, from its mean over the window.
double PhaseBound::deviation(double span, double u) const {
  const double drift = std::min(limits_.drift_per_s * (u + span / 2), limits_.drift_range);
  if (limits_.step == 0) return limits_.wander + drift;
  double steps = 1;
  if (u + span >= limits_.step_interval_s) {
    const double p = limits_.step_interval_s;
    steps += (floor_integral(u + span, p) - floor_integral(u, p)) / span;
  }
  return limits_.wander + drift + limits_.step * steps;
}

// Line 4 of the header: how far the phase, u after the window's end, may be from where the mean
// leads, noise apart. For spans of at most a step interval.
double PhaseBound::phase_deviation(double span, double u) const {
  const double drift =
      std::min(limits_.drift_per_s * (u + span) / 2, limits_.drift_range) + limits_.wander;
  return drift * u + limits_.step * (u + floor_integral(u, limits_.step_interval_s));
}

template <Interval PhaseBound::Anchor::*kOf>
PhaseBound::Window PhaseBound::window(std::size_t newer, std::size_t older) const {
  const Anchor& j = anchor(newer);
  const Anchor& i = anchor(older);
  const double span = j.t - i.t;
  const double noise = noise_ns_ + noise_rate_ * span;
  const double per_s = 1 / span;
  const Interval moved = (j.*kOf - i.*kOf).widened(noise);
  return {j.t, span, {moved.lo * per_s, moved.hi * per_s}};
}

Interval PhaseBound::mean_frequency() const {
  return window(0, available() - 2).mean;
}

void PhaseBound::find_windows(Family& family, std::size_t newest) const {
  family.size = family.lowest = family.highest = 0;
  for (const std::size_t back : memory_.windows) {
    if (back == 0 || newest + back >= available()) break;
    family.windows[family.size++] = window(newest, newest + back);
  }
}

Interval PhaseBound::frequency_of(Family& family, double t) const {
  Interval y = Interval::around(0, limits_.frequency_max);
  std::size_t lowest = family.lowest;
  std::size_t highest = family.highest;
  for (std::size_t k = 0; k < family.size; ++k) {
    const Window& w = family.windows[k];
    const Interval says = w.mean.widened(deviation(w.span, t - w.t));
    lowest = says.lo > y.lo ? k : lowest;
    highest = says.hi < y.hi ? k : highest;
    y = intersection(y, says);
  }
  family.lowest = lowest;
  family.highest = highest;
  return y;
}

Interval PhaseBound::frequency_at(double t) {
  Interval y = frequency_of(families_[0], t);
  // Rounding apart, only data from outside the limits get here; then either end may be the truth.
  if (y.empty()) y = {y.hi, y.lo};
  for (std::size_t f = 1; f < family_count_; ++f) y = hull(y, frequency_of(families_[f], t));
  return y;
}

void PhaseBound::update_frequency(double until) {
  until_ = until;
  y_ = frequency_at(until);
}

Interval PhaseBound::frequency(double until) {
  if (until <= until_) return y_.widened(noise_rate_);
  if (limits_.step != 0) return frequency_at(until).widened(noise_rate_);
  // Without steps, line 2's F grows by the drift and no faster.
  return y_.widened(noise_rate_ + limits_.drift_per_s * (until - until_));
}

void PhaseBound::add_anchor(double t, Interval x) {
  ring_[count_++ & (memory_.anchors - 1)] = {t, x, measured_.value_or(x)};
  measured_.reset();
  Family& now = families_[0];
  const Window lowest = now.windows[now.lowest];
  const Window highest = now.windows[now.highest];
  const bool older = now.size != 0;
  find_windows(now, 0);
  if (older) {
    now.windows[now.size++] = lowest;
    now.windows[now.size++] = highest;
  }
  family_count_ = 1;
  slopes_agree_ = test_slopes();
  update_frequency(t + memory_.horizon_s);
}

bool PhaseBound::test_slopes() {
  for (const std::size_t recent : memory_.slopes) {
    const std::size_t base = std::max(recent, memory_.slope_base);
    if (recent == 0 || recent + base >= available()) continue;
    const Window now = window<&Anchor::measured>(0, recent);
    const Window before = window<&Anchor::measured>(recent, recent + base);
    trusted_ = before.mean.widened(deviation(before.span, now.span));
    if (intersection(now.mean, trusted_).empty()) return false;
  }
  return true;
}

void PhaseBound::move(double t) {
  const bool stale = t > until_;
  if (stale) update_frequency(t + memory_.horizon_s);
  const double dt = t - t_;
  const Interval moved{(y_.lo - noise_rate_) * dt, (y_.hi + noise_rate_) * dt};
  x_ = x_ + moved;
  if (measured_) measured_ = *measured_ + moved;
  t_ = t;
  if (stale && limits_.step != 0 && !distrusted_) {
    const Interval x = intersection(x_, from_anchor(t));
    if (!x.empty()) x_ = x;
  }
}

Interval PhaseBound::from_anchor(double t) const {
  Interval x = x_;
  const double u = t - anchor(0).t;
  const double noise = noise_ns_ + noise_rate_ * u;
  for (std::size_t k = 0; k < families_[0].size; ++k) {
    const Window& w = families_[0].windows[k];
    if (w.t != anchor(0).t || w.span > limits_.step_interval_s) continue;
    const Interval moved{w.mean.lo * u, w.mean.hi * u};
    x = intersection(x, (anchor(0).x + moved).widened(phase_deviation(w.span, u) + noise));
  }
  return x;
}

Interval PhaseBound::before(double t) const {
  const double back = t_ - t;
  const Interval y = with_noise(y_);
  return Interval{x_.lo - y.hi * back, x_.hi - y.lo * back}.widened(noise_ns_);
}

void PhaseBound::gather(Interval phase) {
  if (memory_.slope_base == 0) return;
  phase = phase.widened(noise_ns_);
  const Interval both = measured_ ? intersection(*measured_, phase) : phase;
  measured_ = both.empty() ? phase : both;
}

bool PhaseBound::measure(double t, Interval phase) {
  if (distrusted_) return false;
  if (!known_) {
    forget();
    known_ = true;
    t_ = t;
    x_ = phase.widened(noise_ns_);
    families_ = {};
    add_anchor(t, phase);
    return true;
  }
  if (t < t_) {  // brought forward to t_, where x_ is
    const Interval y = with_noise(y_);
    const double u = t_ - t;
    phase = Interval{phase.lo + y.lo * u, phase.hi + y.hi * u}.widened(noise_ns_);
    t = t_;
  }
  advance(t);
  gather(phase);
  const Interval x = intersection(x_, phase);
  if (x.empty()) return false;
  x_ = intersection(x_, phase.widened(noise_ns_));
  if (t - anchor(0).t >= memory_.spacing_s * 0.999) add_anchor(t, x);
  return true;
}

void PhaseBound::distrust(double t) {
  if (!known_ || distrusted_) return;
  advance(t);
  if (slopes_agree_) trusted_ = frequency_of(families_[0], t);
  for (const std::size_t age : {memory_.slopes[0], memory_.slopes[2]}) {
    if (age == 0 || age + 1 >= available()) continue;
    Family& old = families_[family_count_];
    find_windows(old, age);
    const Interval y = frequency_of(old, t);
    if (y.empty()) continue;
    if (slopes_agree_ && age == memory_.slopes[0]) trusted_ = y;
    const double u = t - anchor(age).t;
    const double noise = noise_ns_ + noise_rate_ * u;
    const Interval moved{y.lo * u, y.hi * u};
    x_ = hull(x_, (anchor(age).x + moved).widened(noise));
    ++family_count_;
  }
  distrusted_ = slopes_agree_ = true;  // what the slopes said has been heard
  update_frequency(t + memory_.horizon_s);
}

void PhaseBound::readmit(double t) {
  if (!known_) return;
  advance(t);
  distrusted_ = false;
  slopes_agree_ = true;
  count_ = 0;
  family_count_ = 0;
  families_ = {};
  add_anchor(t, x_);
}

}  // namespace timeball::refclock
