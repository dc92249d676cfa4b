#include "refclock/rubidium/spectratime.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "refclock/rubidium/dialect.h"

namespace timeball::refclock::rubidium {
namespace spectratime {
namespace {

constexpr std::int64_t kFineReach = 500;  // ns

std::optional<int> signed_number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  return number<int>(text);
}

// The fields between '$' and '*' of a sentence whose checksum is right.
std::optional<std::string_view> checked_body(std::string_view sentence) {
  const auto star = sentence.rfind('*');
  if (!sentence.starts_with('$') || star == std::string_view::npos) return std::nullopt;
  const std::string_view body = sentence.substr(1, star - 1);
  std::uint8_t sum = 0;
  for (const char c : body) sum ^= static_cast<std::uint8_t>(c);
  if (number<std::uint8_t>(sentence.substr(star + 1), 16) != sum) return std::nullopt;
  return body;
}

}  // namespace

std::optional<Status> parse_status(std::string_view answer) {
  if (answer.size() != 1 || answer[0] < '0' || answer[0] > '9') return std::nullopt;
  return static_cast<Status>(answer[0] - '0');
}

std::optional<Phase> parse_ptnta(std::string_view sentence) {
  const auto body = checked_body(sentence);
  if (!body) return std::nullopt;
  const auto parts = fields(*body, ',');
  if (parts.size() != 9 || parts[0] != "PTNTA" || parts[3] != "T4") return std::nullopt;
  const auto ns = number<std::int64_t>(parts[4]);
  const auto fine = signed_number(parts[5]);
  const auto status = parse_status(parts[6]);
  if (!ns || *ns < 0 || *ns > 999'999'999 || !fine || !status) return std::nullopt;
  Phase phase{nearest_second(*ns), std::nullopt, *status};
  const bool near = std::abs(phase.in_after_out.count()) <= kFineReach;
  if (near && std::abs(*fine) <= kFineReach) phase.fine = Duration(*fine);
  return phase;
}

std::optional<int> parse_frequency(std::string_view answer) {
  if (!answer.starts_with('+') && !answer.starts_with('-')) return std::nullopt;
  const auto word = signed_number(answer);
  return word && std::abs(*word) <= kSteeringLimit ? word : std::nullopt;
}

int steering_word(double y) {
  const double word = std::round(y / kSteeringStep);
  return static_cast<int>(std::clamp(word, double{-kSteeringLimit}, double{kSteeringLimit}));
}

std::string steering_command(int word) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "FC%+06d", word);
  return text.data();
}

}  // namespace spectratime

namespace {

using namespace spectratime;
using namespace std::chrono_literals;

constexpr std::size_t kLongestMessage = 128;
constexpr auto kStatusPeriod = 5s;

enum Tag : std::uint8_t {
  kFence,
  kState,
  kTracking,
  kSynchronising,
  kFrequency,
  kMonitor,
  kSet,
  kSetWord
};

// M's eight bytes as they come (HH to AA): 5 V is 255.
constexpr std::array<std::string_view, 8> kMonitors = {"frequency_adjustment_volts",
                                                       "",
                                                       "resonance_volts",
                                                       "photocell_volts",
                                                       "varactor_volts",
                                                       "lamp_current_volts",
                                                       "heater_current_volts",
                                                       ""};

Request set_word(std::int64_t word) {
  return {kSetWord, steering_command(static_cast<int>(word)) + "\r"};
}

class Spectratime : public Dialect {
 public:
  explicit Spectratime(Wiring wiring) : wiring_(wiring) {}

  LineTraits traits() const override { return {.speaks_unasked = true}; }
  Request fence() const override { return {kFence, "\rID\r"}; }
  Split split(Bytes received) const override { return split_line(received, kLongestMessage); }
  std::vector<Poll> schedule() const override {
    return {{{kState, "ST\r"}, kStatusPeriod},
            {{kTracking, "TR?\r"}, 30s},
            {{kSynchronising, "SY?\r"}, 30s},
            {{kFrequency, "FC??????\r"}, 10s},
            {{kMonitor, "M\r"}, 30s}};
  }
  Meaning read(const Request* asked, std::string_view message, HostTime now, Report& report,
               std::vector<Request>& then) override;
  std::optional<Steering> steer(double y) override;

 private:
  void take_status(Status status, HostTime now, Report& report);
  Meaning read_sentence(std::string_view sentence, HostTime now, Report& report);
  Meaning read_frequency(std::string_view answer, Report& report, std::vector<Request>& then);
  Meaning read_switch(std::string_view name, std::string_view answer, Report& report,
                      std::vector<Request>& then);
  Meaning read_monitor(std::string_view answer, Report& report);

  Wiring wiring_;
  Knowledge known_{3 * kStatusPeriod};
  std::optional<Status> status_;
  WantedWord wanted_;
};

Meaning Spectratime::read(const Request* asked, std::string_view message, HostTime now,
                          Report& report, std::vector<Request>& then) {
  const std::string_view answer = trimmed(message);
  if (const auto dollar = answer.rfind('$'); dollar != std::string_view::npos) {
    return read_sentence(answer.substr(dollar), now, report);
  }
  if (asked == nullptr) return Meaning::kUnexpected;
  switch (asked->tag) {
    case kFence: {
      // Other answers are digits only; a sentence that was cut has commas or a checksum.
      const bool name = answer.size() >= 4 && answer.find_first_of(",*$?") == answer.npos &&
                        answer.find_first_not_of("0123456789ABCDEF +-") != answer.npos;
      if (!name) return Meaning::kUnexpected;
      report.events.push_back({Event::Kind::kIdentified, std::string(answer)});
      return Meaning::kAnswer;
    }
    case kState:
      if (!parse_status(answer)) return Meaning::kUnexpected;
      take_status(*parse_status(answer), now, report);
      known_.tell(now, {}, report);
      return Meaning::kAnswer;
    case kTracking:
      return read_switch("TR", answer, report, then);
    case kSynchronising:
      return read_switch("SY", answer, report, then);
    case kFrequency:
      return read_frequency(answer, report, then);
    case kMonitor:
      return read_monitor(answer, report);
    default:  // a setting is answered with its value
      return answer.find_first_not_of("0123456789+-") == answer.npos ? Meaning::kAnswer
                                                                     : Meaning::kUnexpected;
  }
}

void Spectratime::take_status(Status status, HostTime now, Report& report) {
  report.readings.push_back({"status", double(status)});
  if (status == Status::kWarmingUp && status_ && *status_ != Status::kWarmingUp) {
    known_.restarted(now, report);
  }
  const auto follows = [](Status s) {
    return s == Status::kTrackingSetUp || s == Status::kTracking || s == Status::kSynchronised;
  };
  // Tracking begins by setting the pulse out onto PPSREF, and so does synchronising.
  const bool began = follows(status) && (!status_ || !follows(*status_));
  const bool synchronised = status == Status::kSynchronised && status_ != status;
  if (began || synchronised) known_.pulse_moved(report);
  status_ = status;
  const bool locked = status != Status::kWarmingUp && status != Status::kSearchingLine &&
                      status != Status::kFactory;
  known_.status(now, locked, follows(status));
}

Meaning Spectratime::read_sentence(std::string_view sentence, HostTime now, Report& report) {
  const auto phase = parse_ptnta(sentence);
  // Its receiver's sentences, and our own unit's others, come unasked and say nothing to us.
  if (!phase) return sentence.starts_with("$PTNTA") ? Meaning::kUnexpected : Meaning::kPart;
  take_status(phase->status, now, report);
  const Duration best = phase->fine.value_or(phase->in_after_out);
  report.readings.push_back({"phase_ns", double(best.count())});
  const bool reference = phase->status != Status::kNoReference;
  known_.tell(now, reference ? std::optional(best) : std::nullopt, report);
  return Meaning::kPart;
}

Meaning Spectratime::read_frequency(std::string_view answer, Report& report,
                                    std::vector<Request>& then) {
  const auto word = parse_frequency(answer);
  if (!word) return Meaning::kUnexpected;
  report.steering = *word * kSteeringStep;
  wanted_.read_back(*word, report, then, set_word);
  return Meaning::kAnswer;
}

Meaning Spectratime::read_switch(std::string_view name, std::string_view answer, Report& report,
                                 std::vector<Request>& then) {
  if (answer.size() != 1 || answer[0] < '0' || answer[0] > '3') return Meaning::kUnexpected;
  const bool wanted = wiring_ == Wiring::kSelfDisciplined;
  if (((answer[0] - '0') & 1) != int{wanted}) {
    then.push_back({kSet, std::string(name) + (wanted ? "1\r" : "0\r")});
    report.events.push_back({Event::Kind::kReconfigured, then.back().octets});
  }
  return Meaning::kAnswer;
}

Meaning Spectratime::read_monitor(std::string_view answer, Report& report) {
  const auto parts = fields(answer, ' ');
  if (parts.size() != kMonitors.size()) return Meaning::kUnexpected;
  std::array<std::uint8_t, kMonitors.size()> bytes{};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto byte = number<std::uint8_t>(parts[i], 16);
    if (!byte) return Meaning::kUnexpected;
    bytes[i] = *byte;
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (!kMonitors[i].empty()) report.readings.push_back({kMonitors[i], bytes[i] * 5.0 / 255});
  }
  return Meaning::kAnswer;
}

std::optional<Steering> Spectratime::steer(double y) {
  if (wiring_ != Wiring::kHostSteered || std::isnan(y)) return std::nullopt;
  const int word = steering_word(y);
  wanted_.want(word);
  return Steering{set_word(word), word * kSteeringStep};
}

}  // namespace

std::unique_ptr<Dialect> make_spectratime(Wiring wiring) {
  return std::make_unique<Spectratime>(wiring);
}

}  // namespace timeball::refclock::rubidium
