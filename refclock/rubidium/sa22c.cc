#include "refclock/rubidium/sa22c.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdio>

#include "common/time/ntp_timestamp.h"
#include "refclock/rubidium/dialect.h"

namespace timeball::refclock::rubidium {
namespace sa22c {
namespace {

constexpr std::int64_t kLeastCrystalHz = 10'000'000;
constexpr std::int64_t kMostCrystalHz = 200'000'000;

// What follows `name` up to a blank or a comma; empty when the name is not there.
std::string_view after(std::string_view text, std::string_view name) {
  const auto at = text.find(name);
  if (at == std::string_view::npos) return {};
  text = text.substr(at + name.size());
  text.remove_prefix(std::min(text.size(), text.find_first_not_of(" \t")));
  return text.substr(0, text.find_first_of(" \t\r\n,"));
}

}  // namespace

std::optional<Crystal> parse_crystal(std::string_view info) {
  std::string_view digits = after(info, "crystal:");
  if (!digits.ends_with("hz")) return std::nullopt;
  digits.remove_suffix(2);
  // Only one of the two readings is the frequency of a crystal.
  for (const int base : {16, 10}) {
    const auto hz = number<std::int64_t>(digits, base);
    if (hz && *hz >= kLeastCrystalHz && *hz <= kMostCrystalHz) return Crystal{*hz, base};
  }
  return std::nullopt;
}

std::optional<Delta> parse_delta(std::string_view answer, const Crystal& crystal) {
  const auto counts = number<std::int64_t>(after(answer, "Delta Reg:"), crystal.base);
  const auto state = number<unsigned>(after(answer, "1ppsState:"));
  if (!counts || *counts < 0 || *counts > crystal.hz || !state || *state > kLastState) {
    return std::nullopt;
  }
  const std::int64_t nearest = *counts > crystal.hz / 2 ? *counts - crystal.hz : *counts;
  const double ns = static_cast<double>(nearest) * 1e9 / static_cast<double>(crystal.hz);
  return Delta{Duration(std::llround(ns)), *state};
}

std::optional<unsigned> parse_control_register(std::string_view answer) {
  return number<unsigned>(after(answer, "Control Reg:"), 16);
}

std::optional<double> parse_float(std::string_view text) {
  if (text.size() != 9 || text.back() != '.') return std::nullopt;
  const auto bits = number<std::uint32_t>(text.substr(0, 8), 16);
  if (!bits) return std::nullopt;
  const double value = std::bit_cast<float>(*bits);
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

std::optional<double> health_value(std::string_view answer, std::string_view name) {
  for (const std::string_view line : fields(answer, '\n')) {
    const std::string_view text = trimmed(line);
    if (!text.starts_with(name) || text.substr(name.size(), 1) != ":") continue;
    const std::string_view value = trimmed(text.substr(name.size() + 1));
    if (const auto single = parse_float(value)) return single;
    const auto integer = number<std::uint32_t>(value, 16);
    return integer ? std::optional<double>(*integer) : std::nullopt;
  }
  return std::nullopt;
}

FrequencyArgument frequency_argument(double y) {
  const double steps = std::round(std::clamp(y, -kSteeringLimit, kSteeringLimit) / kSteeringStep);
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f", steps * (kSteeringStep / kSteeringUnit));
  return {text.data(), steps * kSteeringStep};
}

}  // namespace sa22c

namespace {

using namespace sa22c;
using namespace std::chrono_literals;

constexpr std::size_t kLongestMessage = 2048;  // the health report
constexpr auto kStatusPeriod = 5s;

enum Tag : std::uint8_t { kFence, kControl, kDelta, kHealth, kLoop, kFrequency };

struct Health {
  std::string_view name;
  std::string_view reading;
};
constexpr std::string_view kTemperatureName = "dCurTemp";
constexpr Health kHealthNames[] = {
    {"PwrHrs", "powered_hours"},         {"LHHrs", "lamp_heater_hours"},
    {"RHHrs", "resonator_heater_hours"}, {"dMP17", "lamp_supply_volts"},
    {"dHtrVolt", "heater_volts"},        {"PLmp", "lamp_heater_power"},
    {"PRes", "resonator_heater_power"},  {"dLVolt", "lamp_volts"},
    {"dMVoutC", "resonance_volts"},      {kTemperatureName, "temperature_celsius"},
};

class Sa22c : public Dialect {
 public:
  explicit Sa22c(Wiring wiring) : wiring_(wiring) {}

  LineTraits traits() const override {
    return {.timeout = 3s};  // the health report is long
  }
  Request fence() const override { return {kFence, "i"}; }
  Split split(Bytes received) const override;
  std::vector<Poll> schedule() const override {
    return {{{kControl, "p"}, kStatusPeriod}, {{kDelta, "j"}, 1s}, {{kHealth, "w"}, 60s}};
  }
  Meaning read(const Request* asked, std::string_view message, HostTime now, Report& report,
               std::vector<Request>& then) override;
  std::optional<Steering> steer(double y) override;

 private:
  Meaning read_info(std::string_view answer, Report& report, std::vector<Request>& then);
  Meaning read_control(std::string_view answer, HostTime now, Report& report,
                       std::vector<Request>& then);
  Meaning read_delta(std::string_view answer, HostTime now, Report& report,
                     std::vector<Request>& then);
  Meaning read_health(std::string_view answer, Report& report);
  Request loop_request() const {
    return {kLoop, wiring_ == Wiring::kSelfDisciplined ? "g1\r" : "g0\r"};
  }

  Wiring wiring_;
  Knowledge known_{3 * kStatusPeriod};
  std::optional<Crystal> crystal_;
  std::optional<unsigned> control_;
  unsigned state_ = 0;
  std::optional<FrequencyArgument> wanted_;
};

// A message ends in a prompt at the beginning of a line.
Split Sa22c::split(Bytes received) const {
  const std::string_view text(reinterpret_cast<const char*>(received.data()), received.size());
  const auto is_text = [](char c) {
    return (c >= 0x20 && c < 0x7f) || c == '\r' || c == '\n' || c == '\t' || c == 0;
  };
  const auto bad = std::find_if_not(text.begin(), text.end(), is_text);
  if (bad != text.end()) {
    return {Split::Kind::kGarbage, static_cast<std::size_t>(bad - text.begin()) + 1};
  }
  for (auto at = text.find(kPrompt); at != std::string_view::npos;
       at = text.find(kPrompt, at + 1)) {
    if (at == 0 || text[at - 1] == '\n' || text[at - 1] == '\r') {
      return {Split::Kind::kMessage, at + kPrompt.size()};
    }
  }
  if (text.size() > kLongestMessage) return {Split::Kind::kGarbage, text.size()};
  return {};
}

Meaning Sa22c::read(const Request* asked, std::string_view message, HostTime now, Report& report,
                    std::vector<Request>& then) {
  if (asked == nullptr) return Meaning::kUnexpected;
  const std::string_view answer = trimmed(message);
  const std::string_view echo = trimmed(asked->octets);
  if (!answer.starts_with(echo)) return Meaning::kUnexpected;
  switch (asked->tag) {
    case kFence:
      return read_info(answer, report, then);
    case kControl:
      return read_control(answer, now, report, then);
    case kDelta:
      return read_delta(answer, now, report, then);
    case kHealth:
      return read_health(answer, report);
    case kFrequency:
      // There is no reading it back: the echo has to do.
      if (wanted_ && echo == "f" + wanted_->text) report.steering = wanted_->applied;
      return Meaning::kAnswer;
    default:
      return Meaning::kAnswer;
  }
}

// Whatever was under way before the fence may have been damaged, and neither the loop's mode nor
// the frequency can be read: both are given again.
Meaning Sa22c::read_info(std::string_view answer, Report& report, std::vector<Request>& then) {
  const auto crystal = parse_crystal(answer);
  if (!crystal) return Meaning::kUnexpected;
  crystal_ = crystal;
  const auto version = answer.find("Version");
  const std::string_view name =
      version == std::string_view::npos ? std::string_view("SA22") : answer.substr(version);
  report.events.push_back(
      {Event::Kind::kIdentified, std::string(trimmed(name.substr(0, name.find_first_of("\r\n"))))});
  then.push_back(loop_request());
  if (wanted_) then.push_back({kFrequency, "f" + wanted_->text + "\r"});
  return Meaning::kAnswer;
}

Meaning Sa22c::read_control(std::string_view answer, HostTime now, Report& report,
                            std::vector<Request>& then) {
  const auto control = parse_control_register(answer);
  if (!control) return Meaning::kUnexpected;
  // The lamp is boosted after power-up only.
  const bool boost = (*control & bit::kLampBoost) != 0;
  if (boost && (!control_ || (*control_ & bit::kLampBoost) == 0)) {
    known_.restarted(now, report);
    state_ = 0;
    then.push_back(loop_request());
    if (wanted_) then.push_back({kFrequency, "f" + wanted_->text + "\r"});
  }
  control_ = control;
  report.readings.push_back({"control_register", double(*control)});
  known_.status(now, (*control & bit::kUnlocked) == 0, state_ >= kJamSync);
  known_.tell(now, {}, report);
  return Meaning::kAnswer;
}

Meaning Sa22c::read_delta(std::string_view answer, HostTime now, Report& report,
                          std::vector<Request>& then) {
  const auto delta = parse_delta(answer, *crystal_);
  if (!delta) return Meaning::kUnexpected;
  report.readings.push_back({"pulse_state", double(delta->state)});
  // The loop begins with jam sync, which sets the pulse out onto the pulse in. From holdover it may
  // come back without one; who cannot see it must take it for one.
  if (delta->state >= kJamSync && state_ < kJamSync) known_.pulse_moved(report);
  state_ = delta->state;
  if (state_ >= kHoldover && wiring_ != Wiring::kSelfDisciplined) {
    then.push_back(loop_request());
    report.events.push_back({Event::Kind::kReconfigured, "g0"});
  }
  if (!control_ || (*control_ & bit::kPulsePresent) == 0) return Meaning::kAnswer;
  report.readings.push_back({"phase_ns", double(delta->in_after_out.count())});
  known_.tell(now, delta->in_after_out, report);
  return Meaning::kAnswer;
}

Meaning Sa22c::read_health(std::string_view answer, Report& report) {
  bool any = false;
  for (const Health& health : kHealthNames) {
    const auto value = health_value(answer, health.name);
    if (!value) continue;
    any = true;
    report.readings.push_back({health.reading, *value});
    if (health.name == kTemperatureName && std::fabs(*value) < 150) known_.temperature(*value);
  }
  return any ? Meaning::kAnswer : Meaning::kUnexpected;
}

std::optional<Steering> Sa22c::steer(double y) {
  if (wiring_ != Wiring::kHostSteered || std::isnan(y)) return std::nullopt;
  wanted_ = frequency_argument(y);
  return Steering{{kFrequency, "f" + wanted_->text + "\r"}, wanted_->applied};
}

}  // namespace

std::unique_ptr<Dialect> make_sa22c(Wiring wiring) {
  return std::make_unique<Sa22c>(wiring);
}

}  // namespace timeball::refclock::rubidium
