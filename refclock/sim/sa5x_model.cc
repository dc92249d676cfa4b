#include "refclock/sim/sa5x_model.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

namespace timeball::refclock::sim {
namespace {

using namespace rubidium::sa5x;
using namespace std::chrono_literals;

constexpr std::size_t kLongestCommand = 64;
constexpr auto kBoot = 5s;          // which TotalRuntime does not count (assumed)
constexpr auto kPulseLasts = 2s;    // PpsInDetected without another
constexpr auto kJamSyncLasts = 2s;  // assumed
constexpr double kMostLoop = 2e-8;  // as DigitalTuning

struct Range {
  std::string_view name;
  double min, max;
};
constexpr Range kWritable[] = {
    {"Disciplining", 0, 1},
    {"PhaseMetering", 0, 1},
    {"DigitalTuning", -kTuningLimit, kTuningLimit},
    {"TauPps0", 10, 45000},
    {"TauPps1", 10, 45000},
    {"PpsSource", 0, 1},
    {"PpsOffset", -83'886'080, 83'886'080},
    {"PpsWidth", 100, 83'886'080},
    {"CableDelay", -83'886'080, 83'886'080},
    {"PpsQErr", -1e6, 1e6},
    {"PhaseLimit", 0, 1e9},
    {"DisciplineThresholdPps0", 1, 1000},
    {"DisciplineThresholdPps1", 1, 1000},
};

const Range* writable(std::string_view name) {
  const auto* found = std::find_if(std::begin(kWritable), std::end(kWritable),
                                   [&](const Range& r) { return r.name == name; });
  return found == std::end(kWritable) ? nullptr : found;
}

std::string hex(std::uint8_t value) {
  std::array<char, 4> text{};
  std::snprintf(text.data(), text.size(), "%02x", value);
  return text.data();
}

std::optional<double> real(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string whole(double value) {
  return std::to_string(std::llround(value));
}

}  // namespace

Sa5xModel::Sa5xModel(const Options& options) : RubidiumModel(57600, options.warm_up) {
  for (const Range& range : kWritable) {
    stored_.emplace(range.name, std::clamp(0.0, range.min, range.max));
  }
  stored_["PhaseMetering"] = 1;
  stored_["Disciplining"] = options.disciplining;
  stored_["TauPps0"] = options.tau_s;
  stored_["PhaseLimit"] = options.phase_limit_ns;
  stored_["DisciplineThresholdPps0"] = options.threshold_ns;
}

void Sa5xModel::powered_up() {
  values_ = stored_;
  line_.reset();
  last_pulse_ = jam_until_ = good_since_ = std::nullopt;
  integrator_ = loop_ = last_correction_ = 0;
  accounted_ = now() + kBoot;
  send("[>Loading...]\r\n[>Microchip SA5X]\r\n");
}

void Sa5xModel::octet_in(char octet) {
  if (octet == '\\') {
    line_.reset();
  } else if (octet == '{') {
    line_.emplace();
  } else if (octet == '}' && line_) {
    command(*std::exchange(line_, std::nullopt));
  } else if (line_ && line_->size() < kLongestCommand) {
    *line_ += octet;
  }
}

void Sa5xModel::time_passed() {
  const double passed_s = std::chrono::duration<double>(now() - accounted_).count();
  if (passed_s < 0) return;
  accounted_ = now();
  runtime_s_ += passed_s;
  if (locked()) locktime_s_ += passed_s;
  if (!disciplining() || !pulse_present()) good_since_.reset();
}

void Sa5xModel::command(std::string_view text) {
  const auto bar = text.rfind('|');
  const bool checked = bar != std::string_view::npos;
  if (checked) {
    unsigned sum = 0;
    const std::string_view digits = text.substr(bar + 1);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), sum, 16);
    text = text.substr(0, bar);
    const bool right = error == std::errc{} && digits.size() == 2 && sum == checksum(text);
    if (!right) return refuse(kBadChecksum, true);
  }
  execute(text, checked);
}

void Sa5xModel::execute(std::string_view text, bool checked) {
  static constexpr std::pair<std::string_view, std::string_view> kConstants[] = {
      {"device?", "sa5x"},
      {"pn?", "090-03240-003"},
      {"serial?", "2011A001234"},
      {"swrev?", "1.2.0.0"},
      {"hwrev?", "A"}};
  for (const auto& [name, value] : kConstants) {
    if (text == name) return reply('=', value, checked);
  }
  const auto comma = text.find(',');
  const std::string_view verb = text.substr(0, comma);
  const std::string_view rest =
      comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
  if (verb == "get") return get(rest, checked);
  if (verb == "set") {
    const auto second = rest.find(',');
    if (second == std::string_view::npos) return refuse(kWrongArguments, checked);
    return set(rest.substr(0, second), rest.substr(second + 1), checked);
  }
  if (verb == "store") {
    ++stores_;
    stored_ = values_;
    return reply('=', "1", checked);
  }
  if (verb == "sync") {
    if (pulse_present()) jam_sync();
    return reply('=', "1", checked);
  }
  if (verb == "load") {
    values_ = stored_;
    return reply('=', "1", checked);
  }
  if (verb == "latch") {
    // The tuning that the loop has found becomes the one it starts from.
    values_["DigitalTuning"] = std::round(steering() / kTuningStep);
    return reply('=', "1", checked);
  }
  if (verb == "ackalm") return reply('=', "1", checked);
  refuse(kInvalidCommand, checked);
}

void Sa5xModel::get(std::string_view name, bool checked) {
  const auto value = value_of(name);
  if (!value) return refuse(name.empty() ? kWrongArguments : kInvalidParameter, checked);
  reply('=', *value, checked);
}

void Sa5xModel::set(std::string_view name, std::string_view text, bool checked) {
  const Range* range = writable(name);
  if (range == nullptr) return refuse(value_of(name) ? kReadOnly : kInvalidParameter, checked);
  const auto value = real(text);
  if (!value || *value < range->min || *value > range->max)
    return refuse(kInvalidArgument, checked);
  const double before = std::exchange(values_[std::string(name)], *value);
  if (name == "Disciplining" && *value == 1 && before == 0) {
    integrator_ = loop_ = 0;
    if (pulse_present()) jam_sync();
  }
  reply('=', whole(*value), checked);
}

void Sa5xModel::reply(char kind, std::string_view text, bool checked) {
  std::string inside(1, kind);
  inside += text;
  const std::string sum = hex(checksum(inside));
  if (checked) inside.append("|").append(sum);
  send("[");
  send(inside);
  send("]\r\n");
}

void Sa5xModel::refuse(unsigned error, bool checked) {
  reply('!', std::to_string(error), checked);
}

std::optional<std::string> Sa5xModel::value_of(std::string_view name) const {
  if (const auto value = values_.find(name); value != values_.end()) return whole(value->second);
  if (name == "Locked") return whole(locked());
  if (name == "LockProgress") {
    const double share =
        std::chrono::duration<double>(age()) / std::chrono::duration<double>(warm_up());
    return whole(locked() ? 100 : std::min(99.0, 100 * share));
  }
  if (name == "PpsInDetected") return whole(pulse_present());
  if (name == "DisciplineLocked") {
    const double good_s =
        good_since_ ? std::chrono::duration<double>(now() - *good_since_).count() : 0;
    return whole(good_s >= 2 * values_.at("TauPps0"));
  }
  if (name == "JamSyncing") return whole(jam_until_ && now() < *jam_until_);
  if (name == "Alarms") return whole(disciplining() && !pulse_present() ? 1 << 17 : 0);
  if (name == "Phase") {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.2f", std::round(phase_ns_ / 0.45) * 0.45);
    return text.data();
  }
  if (name == "LastCorrection") return whole(last_correction_ / kTuningStep);
  if (name == "DisciplineTuning") return whole(loop_ / kTuningStep);
  if (name == "EffectiveTuning") return whole(steering() / kTuningStep);
  if (name == "Temperature") return whole(temperature_c() * 1000);
  if (name == "TotalRuntime") return whole(std::floor(runtime_s_));
  if (name == "TotalLocktime") return whole(std::floor(locktime_s_));
  return std::nullopt;
}

double Sa5xModel::steering() const {
  return values_.at("DigitalTuning") * kTuningStep + (disciplining() ? loop_ : 0);
}

bool Sa5xModel::pulse_present() const {
  return last_pulse_ && now() - *last_pulse_ < kPulseLasts;
}

void Sa5xModel::tagged(double in_after_out_ns) {
  const bool returned = !pulse_present();
  last_pulse_ = now();
  const double raw_ns = in_after_out_ns >= 5e8 ? in_after_out_ns - 1e9 : in_after_out_ns;
  phase_ns_ = raw_ns + values_.at("PpsQErr") * 1e-3;
  if (!disciplining() || !locked()) return;
  if (std::fabs(phase_ns_) > values_.at("PhaseLimit")) return jam_sync();
  if (!returned) follow();
}

void Sa5xModel::jam_sync() {
  move_pulse(-phase_ns_ * 1e-9);
  phase_ns_ = 0;
  jam_until_ = now() + kJamSyncLasts;
  good_since_.reset();
}

void Sa5xModel::follow() {
  const double tau_s = values_.at("TauPps0");
  const double phase_s = phase_ns_ * 1e-9;  // above zero: our pulse is early, we are fast
  const double before = loop_;
  integrator_ = std::clamp(integrator_ - phase_s / (tau_s * tau_s), -kMostLoop, kMostLoop);
  loop_ = std::clamp(integrator_ - 2 * phase_s / tau_s, -kMostLoop, kMostLoop);
  last_correction_ = loop_ - before;
  const bool good = std::fabs(phase_ns_) < values_.at("DisciplineThresholdPps0");
  if (!good) good_since_.reset();
  if (good && !good_since_) good_since_ = now();
}

}  // namespace timeball::refclock::sim
