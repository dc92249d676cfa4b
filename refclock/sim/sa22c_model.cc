#include "refclock/sim/sa22c_model.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace timeball::refclock::sim {
namespace {

using namespace rubidium::sa22c;
using namespace std::chrono_literals;

constexpr std::int64_t kCrystalHz = 60'000'000;
constexpr double kPredictionNs = 330;
constexpr unsigned kJamSyncAt = 4;  // pulses until it jams, and on until it follows (assumed)
constexpr unsigned kDisciplineAt = 8;
constexpr auto kPulseLasts = 2s;
constexpr double kMostLoop = 4e-8;
constexpr std::string_view kWithArgument = "fgkoyqat";

double from_tag(double ns) {
  return ns >= 5e8 ? ns - 1e9 : ns;
}

std::string float_digits(double value) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "%08X.",
                std::bit_cast<std::uint32_t>(static_cast<float>(value)));
  return text.data();
}

std::optional<double> real(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Sa22cModel::Sa22cModel(const Options& options)
    : RubidiumModel(options.baud, options.warm_up), options_(options) {}

bool Sa22cModel::lock_pin() const {
  return locked() && (mode_ != 2 || (control_register() & bit::kPulseLocked) != 0);
}

void Sa22cModel::powered_up() {
  argument_.clear();
  frequency_ = dds_ = integrator_ = 0;
  mode_ = state_ = pulses_ = 0;
  last_pulse_ = saved_at_ = std::nullopt;
  saved_dds_.clear();
  prompt();
}

void Sa22cModel::octet_in(char octet) {
  send({&octet, 1});  // the echo
  if (argument_.empty()) {
    if (octet == '\r' || octet == '\n') return prompt();
    if (kWithArgument.find(octet) == std::string_view::npos) return immediate(octet);
    argument_ = octet;
  } else if (octet == '\r') {
    with_argument(argument_);
    argument_.clear();
    prompt();
  } else if (argument_.size() < 16) {
    argument_ += octet;
  }
}

void Sa22cModel::immediate(char letter) {
  std::array<char, 64> text{};
  switch (letter) {
    case 'i':
      send(info());
      break;
    case 'w':
      send(health());
      break;
    case 'p':
      std::snprintf(text.data(), text.size(), "\r\nControl Reg: %04X", control_register());
      send(text.data());
      break;
    case 'j': {
      const auto counts = std::llround(from_tag(in_after_out_ns_) * 1e-9 * kCrystalHz);
      send("\r\nDelta Reg: " + number(counts < 0 ? counts + kCrystalHz : counts) +
           " 1ppsState:" + std::to_string(state_));
      break;
    }
    case 'z':
      ++stores_;
      break;
    default:
      send("\r\n?");
      break;  // assumed
  }
  prompt();
}

void Sa22cModel::with_argument(std::string_view text) {
  const char letter = text.front();
  const auto value = real(text.substr(1));
  if (letter == 't') ++stores_;
  if (!value) return;
  if (letter == 'f' && std::fabs(*value * kSteeringUnit) <= kSteeringLimit) {
    frequency_ = std::round(*value * kSteeringUnit / kSteeringStep) * kSteeringStep;
  } else if (letter == 'g' && (*value == 0 || *value == 1 || *value == 2)) {
    const auto mode = static_cast<unsigned>(*value);
    if (mode == 0 || mode_ == 0) state_ = pulses_ = 0, dds_ = integrator_ = 0;
    mode_ = mode;
  }
}

std::string Sa22cModel::number(std::int64_t value) const {
  std::array<char, 24> text{};
  const auto [end, error] =
      std::to_chars(text.data(), text.data() + text.size(), value, options_.decimal ? 10 : 16);
  std::string digits(text.data(), end);
  std::transform(digits.begin(), digits.end(), digits.begin(), [](char c) {
    return c >= 'a' && c <= 'f' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return error == std::errc{} ? digits : "";
}

std::string Sa22cModel::info() const {
  return "\r\nSA22 by Symmetricom, Inc., Copyright 2006\r\nSDCP Version 6.05 of 3/2006; Loader "
         "Version 1.00\r\nMode CN30 Flag 0004\r\nUnit serial code is 0611LX00123-h, current tuning "
         "state is 6\r\ncrystal: " +
         number(kCrystalHz) +
         "hz, ACMOS: 10000000hz\r\nCtl reg: 0204, Res temp off: 0000, Lamp temp off: 0000";
}

std::string Sa22cModel::health() const {
  std::string text;
  const auto add = [&](std::string_view name, const std::string& value) {
    text.append("\r\n").append(name).append(": ").append(value);
  };
  const auto hours = std::chrono::duration_cast<std::chrono::hours>(age()).count();
  add("SCont", "4");
  add("SerNum", "7B");
  add("PwrHrs", number(1000 + hours));
  add("LHHrs", number(1000 + hours));
  add("RHHrs", number(1000 + hours));
  add("dMP17", float_digits(17.1));
  add("dMP5", float_digits(5.02));
  add("dHtrVolt", float_digits(15.2));
  add("PLmp", float_digits(1.9));
  add("PRes", float_digits(2.4));
  add("dLVolt", float_digits(6.1));
  add("dMVoutC", float_digits(0.85));
  add("dCurTemp", float_digits(temperature_c()));
  return text;
}

unsigned Sa22cModel::control_register() const {
  unsigned bits = 0x0204;  // sine level, FXO off
  if (age() < warm_up() / 4) bits |= bit::kLampBoost;
  if (!locked()) bits |= bit::kUnlocked;
  if (state_ >= kDiscipline) bits |= bit::kPulseLocked;
  if (pulse_present()) bits |= bit::kPulsePresent;
  return bits;
}

bool Sa22cModel::pulse_present() const {
  return last_pulse_ && now() - *last_pulse_ < kPulseLasts;
}

void Sa22cModel::time_passed() {
  if (state_ < kDiscipline) return;
  if (!pulse_present()) return hold_over();
  if (!saved_at_ || now() - *saved_at_ >= 60s) {
    saved_at_ = now();
    saved_dds_.push_back(dds_);
    if (saved_dds_.size() > 3) saved_dds_.pop_front();
  }
}

void Sa22cModel::tagged(double in_after_out_ns) {
  in_after_out_ns_ = in_after_out_ns;
  last_pulse_ = now();
  if (mode_ == 0 || !locked()) return;
  const double phase_ns = from_tag(in_after_out_ns);
  const bool predicted = std::fabs(std::remainder(phase_ns - predicted_ns_, 1e9)) <= kPredictionNs;
  if (state_ == kHoldover || state_ >= kDiscipline) {
    if (!predicted) return hold_over();
    if (state_ == kHoldover) state_ = kDiscipline;
    return discipline(phase_ns * 1e-9);
  }
  ++pulses_;
  if (pulses_ < kJamSyncAt) {
    state_ = pulses_ - 1;
  } else if (pulses_ < kDisciplineAt) {
    move_pulse(-phase_ns * 1e-9);
    in_after_out_ns_ = 0;
    state_ = kJamSync;
  } else {
    predicted_ns_ = phase_ns;
    state_ = kDiscipline;
  }
}

void Sa22cModel::discipline(double phase_s) {
  predicted_ns_ = phase_s * 1e9;
  integrator_ -= phase_s / (options_.time_constant_s * options_.time_constant_s);
  integrator_ = std::clamp(integrator_, -kMostLoop, kMostLoop);
  const double wanted = integrator_ - 2 * options_.damping * phase_s / options_.time_constant_s;
  dds_ = std::round(std::clamp(wanted, -kMostLoop, kMostLoop) / kSteeringStep) * kSteeringStep;
}

// Back to what the DDS was two minutes before.
void Sa22cModel::hold_over() {
  if (state_ != kHoldover && !saved_dds_.empty()) integrator_ = dds_ = saved_dds_.front();
  state_ = kHoldover;
}

}  // namespace timeball::refclock::sim
