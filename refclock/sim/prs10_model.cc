#include "refclock/sim/prs10_model.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <map>
#include <utility>

namespace timeball::refclock::sim {
namespace {

using namespace rubidium::prs10;
using namespace std::chrono_literals;

constexpr unsigned kGoodToStart = 256;
constexpr unsigned kBadToRestart = 256;
constexpr double kAcquireNs = 2048;  // of the first tag
constexpr double kFollowNs = 1024;   // of the last good tag
constexpr char kXon = 0x11;
constexpr char kXoff = 0x13;

// The warm-up's parts, as shares of its length (assumed, but for their order).
constexpr double kLampLights = 0.23;
constexpr double kRfLocks = 0.36;
constexpr double kLampWarm = 0.45;
constexpr double kCellWarm = 0.64;
constexpr double kCrystalWarm = 0.73;

// From a locked unit (REFCLOCKS' "typical locked readings").
const std::map<std::string_view, std::string_view, std::less<>> kConstants = {
    {"ID", "PRS10_3.24_SN_12345"},
    {"SN", "12345"},
    {"FC", "2021,1654"},
    {"DS", "55,800"},
    {"GA", "7"},
    {"PH", "24"},
    {"MO", "2661"},
    {"MR", "2595"},
    {"SS", "1403"},
    {"TS", "14149"},
    {"TO", "-1828"},
    {"AD1", "2.322"},
    {"AD2", "2.331"},
    {"AD3", "0.495"},
    {"AD4", "0.316"},
    {"AD5", "2.396"},
    {"AD6", "2.322"},
    {"AD7", "1.435"},
    {"AD8", "3.858"},
    {"AD9", "2.633"},
    {"AD11", "0.958"},
    {"AD12", "0.965"},
    {"AD13", "0.981"},
    {"AD14", "2.498"},
    {"AD19", "4.800"},
    {"LO", "1"},
};

double from_tag(double tag_ns) {
  return tag_ns >= 5e8 ? tag_ns - 1e9 : tag_ns;
}

// Modulo one second.
double apart(double a_ns, double b_ns) {
  return std::fabs(std::remainder(a_ns - b_ns, 1e9));
}

std::optional<int> integer(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string volts(double v) {
  std::string text = std::to_string(v);
  text.resize(5);
  return text;
}

}  // namespace

Prs10Gains prs10_gains(unsigned pt, unsigned pf) {
  const double tau1 = std::exp2(pt + 8);
  const double zeta = std::exp2(double(pf) - 2);
  return {tau1, -1 / tau1, -2 * zeta * std::sqrt(1000 / tau1), std::sqrt(1000 * tau1)};
}

Prs10Model::Prs10Model(const Options& options)
    : RubidiumModel(9600, options.warm_up), eeprom_(options), live_(options) {}

void Prs10Model::powered_up() {
  verbose_ = false;
  line_.clear();
  xon_at_.reset();
  latched_ = {};
  latched_.st[5] = bit::kLampRestart | bit::kReset;
  sf_ = 0;
  integrator_ = 0;
  tag_ns_.reset();
  last_pulse_ = now();  // until a pulse is missed
  live_ = eeprom_;
  start_loop(live_.loop);
  latched_.st[4] = 0;
  send("PRS_10\r");
}

void Prs10Model::octet_in(char octet) {
  if (xon_at_) return;  // no room for it
  if (octet == kXon || octet == kXoff || octet == ' ') return;
  if (octet != '\r') {
    if (line_.size() < 32)
      line_ += static_cast<char>(std::toupper(static_cast<unsigned char>(octet)));
    return;
  }
  const std::string text = std::exchange(line_, {});
  if (!text.empty()) command(text);
}

void Prs10Model::hold_off(Duration how_long) {
  send({&kXoff, 1});
  xon_at_ = now() + how_long;
}

void Prs10Model::time_passed() {
  if (xon_at_ && now() >= *xon_at_) {
    xon_at_.reset();
    send({&kXon, 1});
  }
  // Without the line its loop has nothing to steer (assumed).
  if (!locked() && loop_ != Loop::kDisabled) good_ = 0, loop_ = Loop::kAcquiring;
  latch();
}

void Prs10Model::command(std::string_view text) {
  const auto is_letter = [](char c) { return c >= 'A' && c <= 'Z'; };
  if (text.size() < 3 || !is_letter(text[0]) || !is_letter(text[1])) {
    latched_.st[5] |= bit::kBadSyntax;
    return;
  }
  if (text.back() != '?') return set(text.substr(0, 2), text.substr(2));
  const auto reply = answer(text.substr(0, 2), text.substr(2, text.size() - 3));
  if (!reply) {
    latched_.st[5] |= bit::kBadSyntax;
    return;
  }
  send(*reply + "\r");
}

std::optional<std::string> Prs10Model::answer(std::string_view name, std::string_view argument) {
  if (name == "ST" && argument.empty()) return take_status();
  if (name == "TT" && argument.empty()) {
    const auto tag = std::exchange(tag_ns_, std::nullopt);
    return std::to_string(tag ? std::llround(*tag) % 1'000'000'000 : -1);
  }
  if (name == "SF" && argument.empty()) return std::to_string(std::lround(steering() * 1e12));
  if (name == "PI" && argument.empty()) return std::to_string(std::lround(integrator_));
  if (name == "PL" && argument.empty()) return std::to_string(loop_ != Loop::kDisabled);
  if (name == "PT" && argument.empty()) return std::to_string(live_.pt);
  if (name == "PF" && argument.empty()) return std::to_string(live_.pf);
  if (name == "LM" && argument.empty()) return std::to_string(live_.prefilter);
  if (name == "AD" && argument == "10") return volts(temperature_c() / 100);
  const auto constant = kConstants.find(std::string(name) + std::string(argument));
  if (constant == kConstants.end()) return std::nullopt;
  return std::string(constant->second);
}

void Prs10Model::set(std::string_view name, std::string_view argument) {
  if (argument == "!") {
    ++eeprom_writes_;
    live_.loop = loop_ != Loop::kDisabled;
    eeprom_ = live_;
    return;
  }
  const auto value = integer(argument);
  static constexpr std::string_view kSettable[] = {"SF", "PP", "PL", "PT", "PF", "LM", "VB", "RS"};
  const bool known =
      std::find(std::begin(kSettable), std::end(kSettable), name) != std::end(kSettable);
  if (!known || !value) {
    latched_.st[5] |= bit::kBadSyntax;
  } else if (!apply(name, *value)) {
    latched_.st[5] |= bit::kBadParameter;
  } else if (verbose_) {
    send("OK\r");
  }
}

bool Prs10Model::apply(std::string_view name, int value) {
  const auto within = [&](int low, int high) { return value >= low && value <= high; };
  if (name == "SF") {
    if (!within(-kSteeringLimit, kSteeringLimit)) return false;
    if (loop_ != Loop::kActive) sf_ = value;
  } else if (name == "PP") {
    if (!within(0, 999'999'999)) return false;
    move_pulse((live_.pp_moves_later ? -1e-9 : 1e-9) * value);
  } else if (name == "PL") {
    if (!within(0, 1)) return false;
    start_loop(value == 1);
  } else if (name == "PT") {
    if (!within(0, 14)) return false;
    live_.pt = static_cast<unsigned>(value);
  } else if (name == "PF") {
    if (!within(0, 4)) return false;
    live_.pf = static_cast<unsigned>(value);
  } else if (name == "LM") {
    if (!within(0, 3)) return false;
    live_.prefilter = value == 1;
  } else if (name == "VB") {
    if (!within(0, 1)) return false;
    verbose_ = value == 1;
  } else if (name == "RS") {
    if (value != 1) return false;
    power_cycle(phase_s());
  }
  return true;
}

std::string Prs10Model::take_status() {
  latch();
  std::string text;
  for (const std::uint8_t byte : latched_.st) text += std::to_string(byte) + ",";
  text.pop_back();
  latched_ = {};
  return text;
}

Status Prs10Model::current() const {
  Status status;
  const double progress =
      std::chrono::duration<double>(age()) / std::chrono::duration<double>(warm_up());
  if (progress < kLampLights) status.st[0] |= bit::kLampLightLow;
  if (progress < kRfLocks) status.st[1] |= bit::kRfUnlocked | 0x02;  // and varactor low
  if (progress < kLampWarm) status.st[2] |= 0x01;
  if (progress < kCrystalWarm) status.st[2] |= 0x04;
  if (progress < kCellWarm) status.st[2] |= 0x10;
  if (!locked()) status.st[3] |= bit::kFllOff;
  if (loop_ == Loop::kDisabled) status.st[4] |= bit::kPllDisabled;
  if (loop_ == Loop::kAcquiring) status.st[4] |= bit::kFewGoodPulses;
  if (loop_ == Loop::kActive) status.st[4] |= bit::kPllActive;
  if (loop_ == Loop::kActive && std::abs(sf_) == kSteeringLimit) {
    status.st[4] |= bit::kFrequencySaturated;
  }
  if (now() - *last_pulse_ > 2s && age() > 2s) status.st[4] |= bit::kNoPulse;
  return status;
}

void Prs10Model::latch() {
  const Status status = current();
  for (std::size_t i = 0; i < status.st.size(); ++i) latched_.st[i] |= status.st[i];
}

double Prs10Model::steering() const {
  return sf_ * kSteeringStep;
}

void Prs10Model::start_loop(bool enabled) {
  latched_.st[4] |= enabled && loop_ != Loop::kDisabled ? bit::kPllRestarted : 0;
  loop_ = enabled ? Loop::kAcquiring : Loop::kDisabled;
  good_ = bad_ = 0;
}

void Prs10Model::tagged(double in_after_out_ns) {
  tag_ns_ = in_after_out_ns;
  last_pulse_ = now();
  if (loop_ == Loop::kAcquiring && locked()) return acquire(in_after_out_ns);
  if (loop_ == Loop::kActive) follow(in_after_out_ns);
}

void Prs10Model::acquire(double tag_ns) {
  if (good_ == 0 || apart(tag_ns, first_tag_ns_) > kAcquireNs) {
    first_tag_ns_ = tag_ns;
    good_ = 0;
  }
  if (++good_ < kGoodToStart) return;
  move_pulse(-from_tag(tag_ns) * 1e-9);  // the pulse out jumps onto the pulse in
  loop_ = Loop::kActive;
  integrator_ = sf_;
  filtered_ns_ = last_good_ns_ = 0;
  bad_ = 0;
}

void Prs10Model::follow(double tag_ns) {
  if (apart(tag_ns, last_good_ns_) > kFollowNs) {
    if (++bad_ <= kBadToRestart) return;
    latched_.st[4] |= bit::kManyBadPulses;
    start_loop(true);
    return;
  }
  bad_ = 0;
  last_good_ns_ = tag_ns;
  const Prs10Gains gains = prs10_gains(live_.pt, live_.pf);
  const double phase_ns = from_tag(tag_ns);
  // The prefilter has a third of the loop's time constant.
  const double weight = live_.prefilter ? 3 / gains.natural_s : 1;
  filtered_ns_ += std::min(weight, 1.0) * (phase_ns - filtered_ns_);
  integrator_ += gains.integral_per_s_per_ns * filtered_ns_;
  integrator_ = std::clamp(integrator_, double{-kSteeringLimit}, double{kSteeringLimit});
  const double sf = integrator_ + gains.proportional_per_ns * filtered_ns_;
  sf_ = static_cast<int>(
      std::lround(std::clamp(sf, double{-kSteeringLimit}, double{kSteeringLimit})));
}

}  // namespace timeball::refclock::sim
