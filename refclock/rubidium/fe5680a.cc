#include "refclock/rubidium/fe5680a.h"

#include <algorithm>
#include <cmath>

#include "refclock/rubidium/dialect.h"

namespace timeball::refclock::rubidium {
namespace fe5680a {
namespace {

std::uint8_t sum(Bytes octets) {
  std::uint8_t value = 0;
  for (const std::uint8_t octet : octets) value ^= octet;
  return value;
}

}  // namespace

std::array<std::uint8_t, 4> read_command() {
  return {kRead, 4, 0, kRead ^ 4};
}

WordFrame word_frame(std::uint8_t command, std::int32_t word) {
  WordFrame frame{command, kWordFrame, 0, static_cast<std::uint8_t>(command ^ kWordFrame)};
  store_be32(frame.data() + 4, static_cast<std::uint32_t>(word));
  frame[8] = sum(Bytes(frame).subspan(4, 4));
  return frame;
}

std::optional<std::int32_t> parse_word(Bytes frame) {
  if (frame.size() != kWordFrame || frame[1] != kWordFrame || frame[2] != 0) return std::nullopt;
  if (sum(frame.first(4)) != 0 || sum(frame.subspan(4)) != 0) return std::nullopt;
  return static_cast<std::int32_t>(load_be32(frame.data() + 4));
}

}  // namespace fe5680a

namespace {

using namespace fe5680a;
using namespace std::chrono_literals;

constexpr auto kPeriod = 10s;

enum Tag : std::uint8_t { kWord, kSet };

std::string octets_of(Bytes b) {
  return {b.begin(), b.end()};
}

Request set_word(std::int64_t word) {
  return {kSet, octets_of(word_frame(kSetVolatile, static_cast<std::int32_t>(word))), false};
}

class Fe5680a : public Dialect {
 public:
  Fe5680a(Wiring wiring, double step) : wiring_(wiring), step_(step) {}

  // The only question there is: its answer cannot be another's.
  Request fence() const override { return {kWord, octets_of(read_command())}; }
  Split split(Bytes received) const override;
  std::vector<Poll> schedule() const override { return {{fence(), kPeriod}}; }
  Meaning read(const Request* asked, std::string_view message, HostTime now, Report& report,
               std::vector<Request>& then) override;
  std::optional<Steering> steer(double y) override;
  void lock_pin(bool locked) override { lock_pin_ = locked; }

 private:
  Wiring wiring_;
  double step_;
  Knowledge known_{3 * kPeriod};
  bool lock_pin_ = false;
  WantedWord wanted_;
};

Split Fe5680a::split(Bytes received) const {
  const WordFrame head = word_frame(kRead, 0);
  const auto expected = Bytes(head).first(std::min<std::size_t>(4, received.size()));
  if (!std::equal(expected.begin(), expected.end(), received.begin())) {
    const auto next = std::find(received.begin() + 1, received.end(), kRead);
    return {Split::Kind::kGarbage, static_cast<std::size_t>(next - received.begin())};
  }
  if (received.size() < kWordFrame) return {};
  if (!parse_word(received.first(kWordFrame))) return {Split::Kind::kGarbage, 1};
  return {Split::Kind::kMessage, kWordFrame};
}

Meaning Fe5680a::read(const Request* asked, std::string_view message, HostTime now, Report& report,
                      std::vector<Request>& then) {
  const auto* octets = reinterpret_cast<const std::uint8_t*>(message.data());
  const auto word = parse_word({octets, message.size()});
  if (!word || asked == nullptr) return Meaning::kUnexpected;
  report.readings.push_back({"frequency_word", double(*word)});
  if (step_ > 0) report.steering = *word * step_;
  known_.status(now, lock_pin_, false);
  known_.tell(now, {}, report);
  wanted_.read_back(*word, report, then, set_word);
  return Meaning::kAnswer;
}

std::optional<Steering> Fe5680a::steer(double y) {
  if (wiring_ != Wiring::kHostSteered || std::isnan(y) || !(step_ > 0)) return std::nullopt;
  const double exact = std::round(std::clamp(y, -kSteeringLimit, kSteeringLimit) / step_);
  constexpr double kMost = 0x7fffffff;
  const auto word = static_cast<std::int32_t>(std::clamp(exact, -kMost, kMost));
  wanted_.want(word);
  return Steering{set_word(word), word * step_};
}

}  // namespace

std::unique_ptr<Dialect> make_fe5680a(Wiring wiring, double step) {
  return std::make_unique<Fe5680a>(wiring, step);
}

}  // namespace timeball::refclock::rubidium
