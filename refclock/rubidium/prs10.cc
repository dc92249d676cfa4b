#include "refclock/rubidium/prs10.h"

#include <algorithm>
#include <cmath>

#include "refclock/rubidium/dialect.h"

namespace timeball::refclock::rubidium {
namespace prs10 {
namespace {

constexpr std::array<std::array<std::string_view, 8>, 6> kBitNames = {{
    {"electronics supply below 22 V", "electronics supply above 30 V", "heater supply below 22 V",
     "heater supply above 30 V", "lamp light low", "lamp light high", "lamp gate voltage low",
     "lamp gate voltage high"},
    {"RF synthesizer unlocked", "RF crystal varactor low", "RF crystal varactor high",
     "RF VCO control low", "RF VCO control high", "RF AGC control low", "RF AGC control high",
     "bad RF PLL parameter"},
    {"lamp too cold", "lamp too hot", "crystal too cold", "crystal too hot", "cell too cold",
     "cell too hot", "case too cold", "case too hot"},
    {"frequency lock loop off", "frequency lock loop disabled", "crystal control high",
     "crystal control low", "calibration voltage above 4.9 V", "calibration voltage below 0.1 V",
     "", ""},
    {"", "", "", "", "", "", "", ""},  // the PLL's states are no faults
    {"", "watchdog reset", "bad interrupt vector", "EEPROM write failed", "EEPROM data corrupt",
     "bad command syntax", "bad command parameter", ""},
}};

}  // namespace

std::optional<Status> parse_status(std::string_view answer) {
  const auto parts = fields(answer, ',');
  Status status;
  if (parts.size() != status.st.size()) return std::nullopt;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto byte = number<std::uint8_t>(trimmed(parts[i]));
    if (!byte) return std::nullopt;
    status.st[i] = *byte;
  }
  return status;
}

std::optional<TimeTag> parse_time_tag(std::string_view answer) {
  const auto ns = number<std::int64_t>(answer);
  if (!ns || *ns < -1 || *ns > 999'999'999) return std::nullopt;
  if (*ns < 0) return TimeTag{};
  return TimeTag{nearest_second(*ns)};
}

std::vector<std::string_view> faults(const Status& status) {
  std::vector<std::string_view> names;
  for (std::size_t byte = 0; byte < status.st.size(); ++byte) {
    for (std::size_t i = 0; i < 8; ++i) {
      const std::string_view name = kBitNames[byte][i];
      if ((status.st[byte] >> i & 1) != 0 && !name.empty()) names.push_back(name);
    }
  }
  return names;
}

int steering_word(double y) {
  const double word = std::round(y / kSteeringStep);
  return static_cast<int>(std::clamp(word, double{-kSteeringLimit}, double{kSteeringLimit}));
}

}  // namespace prs10

namespace {

using namespace prs10;
using namespace std::chrono_literals;

enum Tag : std::uint8_t {
  kFence,
  kTimeTag,
  kEvents,
  kState,
  kWord,
  kLoop,
  kCrystal,
  kSignal,
  kSet,
  kSetWord,
  kAnalog
};

// AD channels worth watching (REFCLOCKS: lamp ageing, heaters, photocell), scaled to volts.
struct Analog {
  int channel;
  std::string_view name;
  double scale;
};
constexpr Analog kAnalogs[] = {
    {1, "heater_supply_volts", 10}, {2, "electronics_supply_volts", 10},
    {3, "lamp_drain_volts", 10},    {4, "lamp_gate_volts", 10},
    {5, "crystal_heater_volts", 1}, {6, "cell_heater_volts", 1},
    {7, "lamp_heater_volts", 1},    {8, "photosignal_volts", 1},
    {9, "photocell_volts", 4},      {10, "case_temperature_celsius", 100},
    {19, "rf_lock_volts", 1},
};
constexpr int kCaseChannel = 10;
constexpr auto kStatusPeriod = 5s;

Request set_word(std::int64_t word) {
  return {kSetWord, "SF" + std::to_string(word) + "\r", false};
}

class Prs10 : public Dialect {
 public:
  explicit Prs10(Wiring wiring) : wiring_(wiring) {}

  LineTraits traits() const override { return {.xon_xoff = true}; }
  Request fence() const override { return {kFence, "\rVB0\rID?\r"}; }
  Split split(Bytes received) const override { return split_line(received, 64); }
  std::vector<Poll> schedule() const override;
  Meaning read(const Request* asked, std::string_view message, HostTime now, Report& report,
               std::vector<Request>& then) override;
  std::optional<Steering> steer(double y) override;

 private:
  Meaning restart(HostTime now, Report& report);
  Meaning read_status(Tag tag, std::string_view answer, HostTime now, Report& report,
                      std::vector<Request>& then);
  void read_events(const Status& since, HostTime now, Report& report);
  Meaning read_time_tag(std::string_view answer, HostTime now, Report& report);
  Meaning read_word(std::string_view answer, Report& report, std::vector<Request>& then);
  Meaning read_loop(std::string_view answer, Report& report, std::vector<Request>& then);
  Meaning read_pair(std::string_view answer, std::string_view first, std::string_view second,
                    Report& report);
  Meaning read_analog(const Analog& analog, std::string_view answer, Report& report);

  Wiring wiring_;
  Knowledge known_{3 * kStatusPeriod};
  WantedWord wanted_;
  bool loop_active_ = false;
  bool restart_told_ = false;  // by the banner; the bit of ST6 is still to come
};

std::vector<Poll> Prs10::schedule() const {
  std::vector<Poll> polls = {
      {{kEvents, "ST?\r"}, kStatusPeriod},
      {{kTimeTag, "TT?\r"}, 1s},
      {{kLoop, "PL?\r"}, 30s},
      {{kWord, "SF?\r"}, 10s},
      {{kCrystal, "FC?\r"}, 30s},
      {{kSignal, "DS?\r"}, 30s},
  };
  for (std::uint8_t i = 0; const Analog& analog : kAnalogs) {
    const Duration period = analog.channel == kCaseChannel ? 10s : 60s;
    const auto tag = static_cast<std::uint8_t>(kAnalog + i++);
    polls.push_back({{tag, "AD" + std::to_string(analog.channel) + "?\r"}, period});
  }
  return polls;
}

Meaning Prs10::read(const Request* asked, std::string_view message, HostTime now, Report& report,
                    std::vector<Request>& then) {
  const std::string_view answer = trimmed(message);
  if (answer == kBanner) {
    restart_told_ = true;
    return restart(now, report);
  }
  if (asked == nullptr) return Meaning::kUnexpected;
  switch (asked->tag) {
    case kFence:
      if (!answer.starts_with(kIdentity)) return Meaning::kUnexpected;
      report.events.push_back({Event::Kind::kIdentified, std::string(answer)});
      return Meaning::kAnswer;
    case kEvents:
    case kState:
      return read_status(Tag{asked->tag}, answer, now, report, then);
    case kTimeTag:
      return read_time_tag(answer, now, report);
    case kWord:
      return read_word(answer, report, then);
    case kLoop:
      return read_loop(answer, report, then);
    case kCrystal:
      return read_pair(answer, "crystal_coarse_steps", "crystal_fine_steps", report);
    case kSignal:
      return read_pair(answer, "error_signal_steps", "resonance_millivolts", report);
    default:
      return read_analog(kAnalogs[asked->tag - kAnalog], answer, report);
  }
}

Meaning Prs10::restart(HostTime now, Report& report) {
  loop_active_ = false;
  known_.restarted(now, report);
  return Meaning::kRestart;
}

Meaning Prs10::read_status(Tag tag, std::string_view answer, HostTime now, Report& report,
                           std::vector<Request>& then) {
  const auto status = parse_status(answer);
  if (!status) return Meaning::kUnexpected;
  if (tag == kEvents) {
    read_events(*status, now, report);
    then.push_back({kState, "ST?\r"});
    return Meaning::kAnswer;
  }
  // The loop's start sets the pulse out onto the pulse in.
  if (status->pll_active() && !loop_active_) known_.pulse_moved(report);
  loop_active_ = status->pll_active();
  known_.status(now, status->locked(), loop_active_);
  static constexpr std::string_view kNames[] = {"st1", "st2", "st3", "st4", "st5", "st6"};
  for (std::size_t i = 0; i < status->st.size(); ++i) {
    report.readings.push_back({kNames[i], double(status->st[i])});
  }
  known_.tell(now, {}, report);
  return Meaning::kAnswer;
}

void Prs10::read_events(const Status& since, HostTime now, Report& report) {
  if ((since.st[5] & bit::kReset) != 0 && !restart_told_) restart(now, report);
  restart_told_ = false;
  // A loop that went down and came up between two reads shows only here.
  if ((since.st[4] & bit::kPllRestarted) != 0) loop_active_ = false;
  for (const std::string_view fault : faults(since)) {
    report.events.push_back({Event::Kind::kAlarm, std::string(fault)});
  }
}

Meaning Prs10::read_time_tag(std::string_view answer, HostTime now, Report& report) {
  const auto tag = parse_time_tag(answer);
  if (!tag) return Meaning::kUnexpected;
  if (tag->in_after_out) {
    report.readings.push_back({"phase_ns", double(tag->in_after_out->count())});
    known_.tell(now, tag->in_after_out, report);
  }
  return Meaning::kAnswer;
}

Meaning Prs10::read_word(std::string_view answer, Report& report, std::vector<Request>& then) {
  const auto word = number<int>(answer);
  if (!word || std::abs(*word) > kSteeringLimit) return Meaning::kUnexpected;
  report.steering = *word * kSteeringStep;
  wanted_.read_back(*word, report, then, set_word);
  return Meaning::kAnswer;
}

Meaning Prs10::read_loop(std::string_view answer, Report& report, std::vector<Request>& then) {
  if (answer != "0" && answer != "1") return Meaning::kUnexpected;
  // Asked first: PL1 to a loop that runs would start it anew.
  const std::string_view wanted = wiring_ == Wiring::kSelfDisciplined ? "1" : "0";
  if (answer != wanted) {
    then.push_back({kSet, "PL" + std::string(wanted) + "\r", false});
    report.events.push_back({Event::Kind::kReconfigured, then.back().octets});
  }
  return Meaning::kAnswer;
}

Meaning Prs10::read_pair(std::string_view answer, std::string_view first, std::string_view second,
                         Report& report) {
  const auto parts = fields(answer, ',');
  if (parts.size() != 2) return Meaning::kUnexpected;
  const auto a = number<int>(parts[0]);
  const auto b = number<int>(parts[1]);
  if (!a || !b) return Meaning::kUnexpected;
  report.readings.push_back({first, double(*a)});
  report.readings.push_back({second, double(*b)});
  return Meaning::kAnswer;
}

Meaning Prs10::read_analog(const Analog& analog, std::string_view answer, Report& report) {
  const auto volts = number<double>(answer);
  if (!volts || !(*volts >= 0 && *volts <= 5)) return Meaning::kUnexpected;
  report.readings.push_back({analog.name, *volts * analog.scale});
  if (analog.channel == kCaseChannel) known_.temperature(*volts * analog.scale);
  return Meaning::kAnswer;
}

std::optional<Steering> Prs10::steer(double y) {
  if (wiring_ != Wiring::kHostSteered || std::isnan(y)) return std::nullopt;
  const int word = steering_word(y);
  wanted_.want(word);
  return Steering{set_word(word), word * kSteeringStep};
}

}  // namespace

std::unique_ptr<Dialect> make_prs10(Wiring wiring) {
  return std::make_unique<Prs10>(wiring);
}

}  // namespace timeball::refclock::rubidium
