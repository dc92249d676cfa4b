// What differs between the six models: their words, when to say them, and what the answers mean.
// Each model's .cc holds one Dialect; Poller (poller.h) owns it and is its only user.
#pragma once

#include <charconv>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "refclock/rubidium/poller.h"

namespace timeball::refclock::rubidium {

struct Request {
  std::uint8_t tag = 0;  // the dialect's own
  std::string octets;
  bool answered = true;  // false: the oscillator says nothing to this one
};

// A question to ask again and again.
struct Poll {
  Request request;
  Duration period{};
};

// The head of what has been received.
struct Split {
  enum class Kind : std::uint8_t {
    kIncomplete,  // more has to come
    kFiller,      // nothing, as between lines
    kGarbage,
    kMessage,
  };
  Kind kind = Kind::kIncomplete;
  std::size_t length = 0;  // of the filler, the garbage, the message
};

enum class Meaning : std::uint8_t {
  kAnswer,      // to the question that is out
  kRefusal,     // of the question that is out
  kPart,        // of an answer that goes on, or a message that comes unasked
  kRestart,     // the oscillator has started anew
  kUnexpected,  // none of these
};

struct LineTraits {
  Duration timeout = std::chrono::seconds(1);      // for an answer
  Duration pause = std::chrono::milliseconds(50);  // after what has no answer
  bool xon_xoff = false;
  bool speaks_unasked = false;  // a message may be under way when a question goes out
};

struct Steering {
  Request request;
  double applied = 0;
};

class Dialect {
 public:
  virtual ~Dialect() = default;
  virtual LineTraits traits() const { return {}; }
  virtual std::vector<Poll> schedule() const = 0;
  // The question whose answer cannot be taken for another's.
  virtual Request fence() const = 0;
  virtual Split split(Bytes received) const = 0;
  // Reads a message into the report. `asked` is null when no question is out; `then` goes out next.
  virtual Meaning read(const Request* asked, std::string_view message, HostTime now, Report& report,
                       std::vector<Request>& then) = 0;
  virtual std::optional<Steering> steer(double y) = 0;
  virtual void lock_pin(bool) {}
};

std::unique_ptr<Dialect> make_prs10(Wiring wiring);
std::unique_ptr<Dialect> make_sa5x(Wiring wiring);
std::unique_ptr<Dialect> make_sa22c(Wiring wiring);
std::unique_ptr<Dialect> make_spectratime(Wiring wiring);
std::unique_ptr<Dialect> make_mro50(Wiring wiring);
// `step` is the frequency of one count; 0 when unknown.
std::unique_ptr<Dialect> make_fe5680a(Wiring wiring, double step);

// What is known of an oscillator between its answers. Makes the conditions.
class Knowledge {
 public:
  // How old a status may be for a condition to be made of it.
  explicit Knowledge(Duration lasts) : lasts_(lasts) {}

  void status(HostTime now, bool locked, bool disciplined) {
    condition_.locked = locked;
    condition_.disciplined = disciplined;
    status_at_ = now;
  }
  void temperature(double celsius) { condition_.temperature_c = celsius; }
  void pulse_moved(Report& report) {
    condition_.jumped = true;
    report.events.push_back({Event::Kind::kPulseMoved, {}});
  }
  // Nothing that was known holds; says so at once.
  void restarted(HostTime now, Report& report) {
    condition_ = {};
    condition_.restarted = condition_.jumped = true;
    report.events.push_back({Event::Kind::kRestarted, {}});
    status_at_ = now;
    tell(now, {}, report);
    status_at_.reset();
  }
  // A condition, unless the status is too old to be told.
  void tell(HostTime now, std::optional<Duration> phase, Report& report) {
    if (!status_at_ || now - *status_at_ > lasts_) return;
    condition_.at = now;
    condition_.phase = phase;
    report.conditions.push_back(condition_);
    condition_.restarted = condition_.jumped = false;
  }

 private:
  Duration lasts_;
  OscillatorCondition condition_;
  std::optional<HostTime> status_at_;
};

// A frequency word that the host has given: sent again when another is read back.
class WantedWord {
 public:
  void want(std::int64_t word) {
    wanted_ = word;
    just_wanted_ = true;
  }
  // `command` makes the request for a word.
  template <class Command>
  void read_back(std::int64_t found, Report& report, std::vector<Request>& then,
                 const Command& command) {
    // An answer that was under way when the word was given is no surprise.
    const bool surprise = !std::exchange(just_wanted_, false);
    if (!wanted_ || *wanted_ == found) return;
    then.push_back(command(*wanted_));
    if (surprise) report.events.push_back({Event::Kind::kReconfigured, "frequency word"});
  }

 private:
  std::optional<std::int64_t> wanted_;
  bool just_wanted_ = false;
};

// A line up to and with its CR or LF; garbage when it has octets that are not text, or does not end
// within `longest`. CR, LF and NUL before a line are filler.
Split split_line(Bytes received, std::size_t longest);
// How many octets of such filler there are at the head.
std::size_t filler(Bytes received);

// The whole text as a number: no blanks, no plus sign, nothing after it.
template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}
template <class T>
std::optional<T> number(std::string_view text, int base) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string_view trimmed(std::string_view text);
std::vector<std::string_view> fields(std::string_view text, char separator);

// A counter of a second that wraps: the same instant, nearest to zero.
constexpr Duration nearest_second(std::int64_t ns) {
  return Duration(ns >= 500'000'000 ? ns - 1'000'000'000 : ns);
}

}  // namespace timeball::refclock::rubidium
