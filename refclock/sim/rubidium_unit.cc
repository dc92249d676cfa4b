#include "refclock/sim/rubidium_unit.h"

#include <cmath>

#include "common/time/ntp_timestamp.h"
#include "refclock/sim/prs10_model.h"
#include "refclock/sim/sa22c_model.h"
#include "refclock/sim/sa5x_model.h"

namespace timeball::refclock::sim {
namespace {

using namespace std::chrono_literals;

// Pulses closer than this are one that was moved.
constexpr Duration kApart = 100ms;
// A prediction over a second is off by the frequency's error; more is a move.
constexpr Duration kFrequencyMoves = 10us;

template <class Model>
std::unique_ptr<RubidiumModel> make(Duration warm_up) {
  typename Model::Options options;
  options.warm_up = warm_up;
  return std::make_unique<Model>(options);
}

std::unique_ptr<RubidiumModel> make_model(RubidiumKind kind, Duration warm_up) {
  if (kind == RubidiumKind::kSa5x) return make<Sa5xModel>(warm_up);
  if (kind == RubidiumKind::kSa22c) return make<Sa22cModel>(warm_up);
  return make<Prs10Model>(warm_up);
}

}  // namespace

RubidiumUnit::RubidiumUnit(RubidiumKind kind, Duration warm_up, SimTime now, Random random)
    : random_(random),
      line_(RubidiumContract{}, random_, false),
      model_(make_model(kind, warm_up)),
      first_phase_s_(random_.within(0.45)),
      mean_temperature_c_(model_->temperature_c()),
      now_(now),
      second_(now),
      last_pulse_(now - 1s) {
  advance(now);
}

void RubidiumUnit::advance(SimTime now) {
  for (; now - second_ >= 1s; second_ = second_ + 1s) {
    line_.advance(random_, model_->temperature_c() - mean_temperature_c_);
  }
  now_ = now;
  const double into_s = std::chrono::duration<double>(now - second_).count();
  const double line_ns = line_.phase_ns() + line_.frequency() * into_s;
  model_->advance(now, first_phase_s_ + line_ns * 1e-9);
}

Duration RubidiumUnit::into_second() const {
  const auto ns = now_.ns % kNsPerSecond + std::llround(model_->phase_s() * 1e9);
  return Duration((ns + kNsPerSecond) % kNsPerSecond);
}

SimTime RubidiumUnit::next_pulse() const {
  const SimTime due = now_ + (1s - into_second());
  return due - last_pulse_ < kApart ? due + 1s : due;
}

std::optional<SimTime> RubidiumUnit::take_pulse() {
  const Duration into = into_second();
  const Duration ago = into < 500ms ? into : into - 1s;
  if (ago > kFrequencyMoves || ago < -kFrequencyMoves) return std::nullopt;
  last_pulse_ = now_ - ago;
  return last_pulse_;
}

}  // namespace timeball::refclock::sim
