#include "refclock/rubidium/mro50.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "refclock/rubidium/dialect.h"

namespace timeball::refclock::rubidium {
namespace mro50 {
namespace {

constexpr std::size_t kMonitorDigits = 60;
constexpr std::size_t kTemperatureDigit = 52;  // and the three after it
constexpr std::size_t kLockDigit = 56;
constexpr unsigned kLockBit = 1U << 2;

// A thermistor of 4100 K against 47 kOhm; 1e5 Ohm at 25 degrees.
double celsius(unsigned reg) {
  const double x = reg / 4095.0;
  const double ohm = 47000 * x / (1 - x);
  return 4100 * 298.15 / (298.15 * std::log(1e-5 * ohm) + 4100) - 273.14;
}

}  // namespace

std::optional<Monitor> parse_monitor(std::string_view answer) {
  const bool hex = answer.find_first_not_of("0123456789ABCDEFabcdef") == std::string_view::npos;
  if (answer.size() != kMonitorDigits || !hex) return std::nullopt;
  const auto reg = number<unsigned>(answer.substr(kTemperatureDigit, 4), 16);
  const auto lock = number<unsigned>(answer.substr(kLockDigit, 1), 16);
  if (!reg || *reg == 0 || *reg >= 4095 || !lock) return std::nullopt;
  return Monitor{celsius(*reg), (*lock & kLockBit) != 0};
}

std::optional<std::uint32_t> parse_register(std::string_view answer) {
  return answer.size() <= 8 ? number<std::uint32_t>(answer, 16) : std::nullopt;
}

std::string fine_command(int fine) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "MON_tpcb PIL_cfield C %04X\r",
                static_cast<unsigned>(fine));
  return text.data();
}

}  // namespace mro50

namespace {

using namespace mro50;
using namespace std::chrono_literals;

constexpr std::size_t kLongestMessage = 128;
constexpr auto kStatusPeriod = 5s;

enum Tag : std::uint8_t { kFence, kMonitor, kFine, kCoarse, kSet };

Request set_fine(std::int64_t fine) {
  return {kSet, fine_command(static_cast<int>(fine))};
}

class Mro50 : public Dialect {
 public:
  explicit Mro50(Wiring wiring) : wiring_(wiring) {}

  // No other answer has sixty digits.
  Request fence() const override { return {kFence, "MONITOR1\r"}; }
  Split split(Bytes received) const override;
  std::vector<Poll> schedule() const override {
    return {{{kMonitor, "MONITOR1\r"}, kStatusPeriod},
            {{kFine, "MON_tpcb PIL_cfield C\r"}, 10s},
            {{kCoarse, "FD\r"}, 60s}};
  }
  Meaning read(const Request* asked, std::string_view message, HostTime now, Report& report,
               std::vector<Request>& then) override;
  std::optional<Steering> steer(double y) override;

 private:
  Meaning read_monitor(std::string_view answer, HostTime now, Report& report);
  Meaning read_fine(std::string_view answer, Report& report, std::vector<Request>& then);

  Wiring wiring_;
  Knowledge known_{3 * kStatusPeriod};
  std::optional<int> first_fine_;  // as found: frequency offset 0
  WantedWord wanted_;
};

Split Mro50::split(Bytes received) const {
  const std::string_view text(reinterpret_cast<const char*>(received.data()), received.size());
  const auto is_text = [](char c) { return (c >= 0x20 && c < 0x7f) || c == '\r' || c == '\n'; };
  const auto bad = std::find_if_not(text.begin(), text.end(), is_text);
  if (bad != text.end()) {
    return {Split::Kind::kGarbage, static_cast<std::size_t>(bad - text.begin()) + 1};
  }
  const auto banner = text.find(kBanner);
  const auto end = text.find("\n\n");
  if (banner != text.npos && banner <= end) {
    return {Split::Kind::kMessage, banner + kBanner.size()};
  }
  if (end != text.npos && end <= kLongestMessage) return {Split::Kind::kMessage, end + 2};
  if (text.size() > kLongestMessage) return {Split::Kind::kGarbage, text.size()};
  return {};
}

Meaning Mro50::read(const Request* asked, std::string_view message, HostTime now, Report& report,
                    std::vector<Request>& then) {
  const std::string_view answer = trimmed(message);
  if (answer.ends_with(kBanner)) {
    known_.restarted(now, report);
    return Meaning::kRestart;
  }
  if (asked == nullptr) return Meaning::kUnexpected;
  if (answer.starts_with('?')) {
    return asked->tag == kFence ? Meaning::kUnexpected : Meaning::kRefusal;
  }
  switch (asked->tag) {
    case kFence:
    case kMonitor:
      return read_monitor(answer, now, report);
    case kFine:
      return read_fine(answer, report, then);
    case kCoarse: {
      const auto coarse = parse_register(answer);
      if (!coarse) return Meaning::kUnexpected;
      report.readings.push_back({"coarse_steps", double(*coarse)});
      return Meaning::kAnswer;
    }
    default:
      return Meaning::kAnswer;
  }
}

Meaning Mro50::read_monitor(std::string_view answer, HostTime now, Report& report) {
  const auto monitor = parse_monitor(answer);
  if (!monitor) return Meaning::kUnexpected;
  report.readings.push_back({"temperature_celsius", monitor->temperature_c});
  known_.temperature(monitor->temperature_c);
  known_.status(now, monitor->locked, false);
  known_.tell(now, {}, report);
  return Meaning::kAnswer;
}

Meaning Mro50::read_fine(std::string_view answer, Report& report, std::vector<Request>& then) {
  const auto reg = parse_register(answer);
  if (!reg || *reg > 4800) return Meaning::kUnexpected;
  const int fine = static_cast<int>(*reg);
  if (!first_fine_) first_fine_ = fine;
  report.readings.push_back({"fine_steps", double(fine)});
  report.steering = (fine - *first_fine_) * kFineStep;
  wanted_.read_back(fine, report, then, set_fine);
  return Meaning::kAnswer;
}

// The frequency is told as a difference from what was found: before that is known there is none.
std::optional<Steering> Mro50::steer(double y) {
  if (wiring_ != Wiring::kHostSteered || std::isnan(y) || !first_fine_) return std::nullopt;
  const double exact = std::round(*first_fine_ + y / kFineStep);
  const int fine = static_cast<int>(std::clamp(exact, double{kLeastFine}, double{kMostFine}));
  wanted_.want(fine);
  return Steering{set_fine(fine), (fine - *first_fine_) * kFineStep};
}

}  // namespace

std::unique_ptr<Dialect> make_mro50(Wiring wiring) {
  return std::make_unique<Mro50>(wiring);
}

}  // namespace timeball::refclock::rubidium
