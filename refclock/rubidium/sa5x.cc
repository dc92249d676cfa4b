#include "refclock/rubidium/sa5x.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "refclock/rubidium/dialect.h"

namespace timeball::refclock::rubidium {
namespace sa5x {
namespace {

std::string hex_byte(std::uint8_t value) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return std::string{kDigits[value >> 4], kDigits[value & 15]};
}

}  // namespace

std::uint8_t checksum(std::string_view text) {
  std::uint8_t sum = 0;
  for (const char c : text) sum ^= static_cast<std::uint8_t>(c);
  return sum;
}

std::string command(std::string_view text) {
  std::string all("{");
  return all.append(text).append("|").append(hex_byte(checksum(text))).append("}");
}

std::optional<Reply> parse_reply(std::string_view message) {
  if (message.size() < 3 || message.front() != '[' || message.back() != ']') return std::nullopt;
  std::string_view inside = message.substr(1, message.size() - 2);
  Reply reply;
  if (const auto bar = inside.rfind('|'); bar != std::string_view::npos) {
    const auto sum = number<std::uint8_t>(inside.substr(bar + 1), 16);
    inside = inside.substr(0, bar);
    if (sum != checksum(inside)) return std::nullopt;
    reply.checked = true;
  }
  if (inside.empty()) return std::nullopt;
  switch (inside.front()) {
    case '=':
      reply.kind = Kind::kValue;
      break;
    case '!':
      reply.kind = Kind::kError;
      break;
    case '>':
      reply.kind = Kind::kNotice;
      break;
    default:
      return std::nullopt;
  }
  reply.text = inside.substr(1);
  return reply;
}

std::int64_t tuning_word(double y) {
  const double word = std::round(y / kTuningStep);
  return static_cast<std::int64_t>(std::clamp(word, double{-kTuningLimit}, double{kTuningLimit}));
}

}  // namespace sa5x

namespace {

using namespace sa5x;
using namespace std::chrono_literals;

constexpr std::size_t kLongestMessage = 128;
constexpr auto kStatusPeriod = 2s;
// A pulse that is followed does not move so far between two readings by itself.
constexpr auto kJump = 1us;
// TotalRuntime may lag so far behind our clock before we say that it was off.
constexpr double kRuntimeSlackS = 3;

enum Tag : std::uint8_t {
  kFence,
  kPhase,
  kPpsIn,
  kLocked,
  kDisciplining,
  kJamSyncing,
  kDisciplineLocked,
  kMetering,
  kAlarms,
  kTuning,
  kEffective,
  kRuntime,
  kTemperature,
  kLockProgress,
  kOffset,
  kSet,
  kSetWord
};

// `reading` is empty when the value is none to show.
struct Parameter {
  Tag tag;
  std::string_view name;
  Duration period;
  std::string_view reading;
  double scale;
};
constexpr Parameter kParameters[] = {
    {kPpsIn, "PpsInDetected", 1s, "pulse_in_detected", 1},
    {kDisciplining, "Disciplining", kStatusPeriod, "disciplining", 1},
    {kMetering, "PhaseMetering", 30s, "", 1},
    {kLocked, "Locked", kStatusPeriod, "locked", 1},
    {kPhase, "Phase", 1s, "phase_ns", 1},
    {kJamSyncing, "JamSyncing", 1s, "", 1},
    {kDisciplineLocked, "DisciplineLocked", 5s, "discipline_locked", 1},
    {kAlarms, "Alarms", 5s, "alarms", 1},
    {kTuning, "DigitalTuning", 10s, "digital_tuning", kTuningStep},
    {kEffective, "EffectiveTuning", 10s, "effective_tuning", kTuningStep},
    {kRuntime, "TotalRuntime", 10s, "total_runtime_seconds", 1},
    {kTemperature, "Temperature", 10s, "temperature_celsius", 1e-3},
    {kLockProgress, "LockProgress", 30s, "lock_progress_percent", 1},
};

constexpr std::array<std::string_view, 19> kAlarmNames = {"FPGA",
                                                          "PLL",
                                                          "flash",
                                                          "acquisition failed",
                                                          "no external oscillator",
                                                          "cell heater",
                                                          "incompatible firmware",
                                                          "",
                                                          "",
                                                          "",
                                                          "",
                                                          "",
                                                          "",
                                                          "",
                                                          "",
                                                          "",
                                                          "temperature warning",
                                                          "no pulse in",
                                                          "disciplining range"};

Request set_word(std::int64_t word) {
  return {kSetWord, command("set,DigitalTuning," + std::to_string(word))};
}

class Sa5x : public Dialect {
 public:
  explicit Sa5x(Wiring wiring) : wiring_(wiring) {}

  // The backslash ends a command that was half typed.
  Request fence() const override { return {kFence, std::string("\\").append(command("device?"))}; }
  Split split(Bytes received) const override;
  std::vector<Poll> schedule() const override;
  Meaning read(const Request* asked, std::string_view message, HostTime now, Report& report,
               std::vector<Request>& then) override;
  std::optional<Steering> steer(double y) override;

 private:
  Meaning read_value(Tag tag, std::string_view text, HostTime now, Report& report,
                     std::vector<Request>& then);
  void take(const Parameter& parameter, double value, HostTime now, Report& report,
            std::vector<Request>& then);
  void take_phase(double ns, HostTime now, Report& report);
  void take_runtime(double seconds, HostTime now, Report& report);
  void take_alarms(double value, Report& report);
  void keep(std::string_view name, std::int64_t wanted, double found, Report& report,
            std::vector<Request>& then) const;

  Wiring wiring_;
  Knowledge known_{5 * kStatusPeriod};
  bool checksums_ = false;  // this firmware sends them
  bool pulse_in_ = false;
  bool disciplining_ = false;
  bool jam_syncing_ = false;
  std::uint32_t alarms_ = 0;
  std::optional<double> phase_ns_;
  std::optional<double> runtime_s_;
  HostTime runtime_at_;
  WantedWord wanted_;
};

Split Sa5x::split(Bytes received) const {
  const std::size_t blank = filler(received);
  if (blank > 0) return {Split::Kind::kFiller, blank};
  const auto begin = std::find(received.begin(), received.end(), std::uint8_t{'['});
  if (begin != received.begin()) {
    return {Split::Kind::kGarbage, static_cast<std::size_t>(begin - received.begin())};
  }
  const auto end = std::find_if(begin + 1, received.end(), [](std::uint8_t c) {
    return c == ']' || c == '[' || c < 0x20 || c > 0x7e;
  });
  const auto length = static_cast<std::size_t>(end - received.begin());
  if (length > kLongestMessage) return {Split::Kind::kGarbage, length};
  if (end == received.end()) return {};
  if (*end != ']') return {Split::Kind::kGarbage, length};
  return {Split::Kind::kMessage, length + 1};
}

std::vector<Poll> Sa5x::schedule() const {
  std::vector<Poll> polls;
  for (const Parameter& p : kParameters) {
    polls.push_back({{p.tag, command("get," + std::string(p.name))}, p.period});
  }
  return polls;
}

Meaning Sa5x::read(const Request* asked, std::string_view message, HostTime now, Report& report,
                   std::vector<Request>& then) {
  const auto reply = parse_reply(trimmed(message));
  if (!reply || (checksums_ && !reply->checked && reply->kind == Kind::kValue)) {
    return Meaning::kUnexpected;
  }
  checksums_ = checksums_ || reply->checked;
  if (reply->kind == Kind::kNotice) {
    disciplining_ = jam_syncing_ = pulse_in_ = false;
    phase_ns_ = runtime_s_ = std::nullopt;
    known_.restarted(now, report);
    return Meaning::kRestart;
  }
  if (asked == nullptr) return Meaning::kUnexpected;
  if (reply->kind == Kind::kError) {
    return asked->tag == kFence ? Meaning::kUnexpected : Meaning::kRefusal;
  }
  return read_value(Tag{asked->tag}, reply->text, now, report, then);
}

Meaning Sa5x::read_value(Tag tag, std::string_view text, HostTime now, Report& report,
                         std::vector<Request>& then) {
  if (tag == kFence) {
    const bool name = !text.empty() && !number<double>(text);
    if (name) report.events.push_back({Event::Kind::kIdentified, std::string(text)});
    return name ? Meaning::kAnswer : Meaning::kUnexpected;
  }
  const auto value = number<double>(text);
  if (!value || !std::isfinite(*value)) return Meaning::kUnexpected;
  if (tag == kSet || tag == kSetWord) return Meaning::kAnswer;
  const auto* parameter = std::find_if(std::begin(kParameters), std::end(kParameters),
                                       [&](const Parameter& p) { return p.tag == tag; });
  if (!parameter->reading.empty()) {
    report.readings.push_back({parameter->reading, *value * parameter->scale});
  }
  take(*parameter, *value, now, report, then);
  return Meaning::kAnswer;
}

void Sa5x::take(const Parameter& parameter, double value, HostTime now, Report& report,
                std::vector<Request>& then) {
  const bool self = wiring_ == Wiring::kSelfDisciplined;
  switch (parameter.tag) {
    case kPpsIn:
      pulse_in_ = value == 1;
      break;
    case kDisciplining:
      // Its start sets the pulse out onto the pulse in.
      if (value == 1 && !disciplining_) known_.pulse_moved(report);
      disciplining_ = value == 1;
      keep(parameter.name, self ? 1 : 0, value, report, then);
      break;
    case kMetering:
      keep(parameter.name, 1, value, report, then);
      break;
    case kLocked:
      known_.status(now, value == 1, disciplining_ && pulse_in_);
      known_.tell(now, {}, report);
      break;
    case kPhase:
      take_phase(value, now, report);
      break;
    case kJamSyncing:
      if (value == 1 && !jam_syncing_) known_.pulse_moved(report);
      jam_syncing_ = value == 1;
      break;
    case kAlarms:
      take_alarms(value, report);
      break;
    case kTuning:
      if (!self) report.steering = value * kTuningStep;
      wanted_.read_back(std::llround(value), report, then, set_word);
      break;
    case kEffective:
      if (self) report.steering = value * kTuningStep;
      break;
    case kRuntime:
      take_runtime(value, now, report);
      break;
    case kTemperature:
      if (std::fabs(value * 1e-3) < kMostTemperatureC) known_.temperature(value * 1e-3);
      break;
    default:
      break;
  }
}

void Sa5x::take_phase(double ns, HostTime now, Report& report) {
  if (std::fabs(ns) > 1e9 || !pulse_in_) {
    phase_ns_.reset();
    return;
  }
  const double jump_ns = Duration(kJump).count();
  if (disciplining_ && phase_ns_ && std::fabs(ns - *phase_ns_) > jump_ns)
    known_.pulse_moved(report);
  phase_ns_ = ns;
  known_.tell(now, Duration(std::llround(ns)), report);
}

void Sa5x::take_runtime(double seconds, HostTime now, Report& report) {
  const double passed_s = std::chrono::duration<double>(now - runtime_at_).count();
  if (runtime_s_ && seconds < *runtime_s_ + passed_s - kRuntimeSlackS) {
    known_.restarted(now, report);
  }
  runtime_s_ = seconds;
  runtime_at_ = now;
}

void Sa5x::take_alarms(double value, Report& report) {
  if (!(value >= 0 && value <= 0xffffffff)) return;
  const auto alarms = static_cast<std::uint32_t>(value);
  for (std::size_t i = 0; i < kAlarmNames.size(); ++i) {
    const bool rose = ((alarms & ~alarms_) >> i & 1) != 0;
    if (rose && !kAlarmNames[i].empty()) {
      report.events.push_back({Event::Kind::kAlarm, std::string(kAlarmNames[i])});
    }
  }
  alarms_ = alarms;
}

void Sa5x::keep(std::string_view name, std::int64_t wanted, double found, Report& report,
                std::vector<Request>& then) const {
  if (found == double(wanted)) return;
  const std::string text = "set," + std::string(name) + "," + std::to_string(wanted);
  then.push_back({kSet, command(text)});
  report.events.push_back({Event::Kind::kReconfigured, text});
}

std::optional<Steering> Sa5x::steer(double y) {
  if (wiring_ != Wiring::kHostSteered || std::isnan(y)) return std::nullopt;
  const std::int64_t word = tuning_word(y);
  wanted_.want(word);
  return Steering{set_word(word), double(word) * kTuningStep};
}

}  // namespace

std::unique_ptr<Dialect> make_sa5x(Wiring wiring) {
  return std::make_unique<Sa5x>(wiring);
}

}  // namespace timeball::refclock::rubidium
