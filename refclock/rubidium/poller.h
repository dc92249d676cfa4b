// A rubidium oscillator on a serial line, without the line: bytes and the time go in, bytes to
// write and what the oscillator said come out. One poller drives all six models; what differs
// between them is a row each (dialect.h).
//
// The serial port carries control and telemetry only; time comes out of the oscillator's pulse.
// One question is out at a time. A reply that does not come, half a line, noise or a restart end in
// the same place: ask one question whose answer cannot be taken for another's (the fence), drop
// everything until it is answered, go on. Nothing that a poller writes outlives the oscillator's
// power: no EEPROM is ever written.
//
// Pure: no clock, no device. Owned by the refclock thread. Frequencies are fractional (dy/y).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/error.h"
#include "refclock/observations.h"

namespace timeball::refclock::rubidium {

enum class Model : std::uint8_t { kPrs10, kSa5x, kSa22c, kSpectratime, kMro50, kFe5680a };

// Who moves the oscillator's frequency.
enum class Wiring : std::uint8_t {
  kPaperClock,       // nobody: it runs free, and the host corrects it in numbers
  kHostSteered,      // the host, by a frequency word in the oscillator's RAM
  kSelfDisciplined,  // its own loop, which follows the receiver's pulse
};

struct Options {
  Model model = Model::kPrs10;
  Wiring wiring = Wiring::kPaperClock;
  // FE-5680A: the frequency of one count. It differs between units by more than a hundred, so
  // there is no default; needed for steering only.
  double fe5680a_step = 0;
};

// The line's settings beside 8N1: the rates to try in turn, and XON/XOFF.
struct LineSettings {
  std::vector<unsigned> baud;
  bool xon_xoff = false;
};
LineSettings line_settings(Model model);

// A value for the metrics. The name has its unit, and lives as long as the program.
struct Reading {
  std::string_view name;
  double value = 0;
};

struct Event {
  enum class Kind : std::uint8_t {
    kIdentified,    // the fence was answered: detail is what the oscillator calls itself
    kLost,          // a question had no answer in time; once until it answers again
    kGarbage,       // octets that no message of this model has
    kUnexpected,    // a message that answers no question of ours: detail is the message
    kRefused,       // the oscillator refused a command: detail is its error
    kRestarted,     // it was powered up or reset
    kPulseMoved,    // its pulse may have been moved
    kAlarm,         // it reports a fault: detail names it
    kReconfigured,  // a setting was not as the wiring needs it, and was set: detail is the command
  };
  Kind kind = Kind::kLost;
  std::string detail;
};

struct Report {
  std::vector<std::uint8_t> write;
  std::vector<OscillatorCondition> conditions;
  std::vector<Reading> readings;
  std::vector<Event> events;
  // The host's or the loop's frequency word as read back from the oscillator: what is in force.
  std::optional<double> steering;
};

struct LineCounts {
  std::uint64_t questions = 0, answers = 0, timeouts = 0, resynchronisations = 0;
  std::uint64_t refused = 0, unexpected = 0, garbage_octets = 0, restarts = 0;
};

class Dialect;
struct Request;

class Poller {
 public:
  explicit Poller(std::unique_ptr<Dialect> dialect);
  ~Poller();
  Poller(Poller&&) noexcept;
  Poller& operator=(Poller&&) noexcept;

  // Call with what arrived, and with nothing when next() has come. `now` never goes back.
  Report step(HostTime now, Bytes arrived);
  HostTime next() const;

  // Asks for this frequency offset, host-steered wiring only. Returns what the oscillator will be
  // told: y clipped to its range and rounded to its step; nothing in the other wirings, or while
  // what it depends on has not been read. It is in force when Report::steering says so.
  std::optional<double> steer(double y);

  // The lock pin, for models that tell it in no other way (FE-5680A).
  void lock_pin(bool locked);

  const LineCounts& counts() const { return counts_; }
  // When the oscillator last answered a question; nothing when it never did.
  std::optional<HostTime> last_answer() const { return last_answer_; }

 private:
  struct Scheduled;

  void receive(HostTime now, Bytes arrived, Report& report);
  void read_messages(HostTime now, Report& report);
  void understand(HostTime now, Bytes message, Report& report);
  void drop_garbage(std::size_t length, Report& report);
  void expire(HostTime now, Report& report);
  void resynchronise();
  void ask(HostTime now, Report& report);
  std::optional<Request> choose(HostTime now);
  HostTime line_ends() const;

  std::unique_ptr<Dialect> dialect_;
  std::vector<Scheduled> schedule_;
  std::vector<Request> queue_;          // goes before the schedule
  std::unique_ptr<Request> asked_;      // the question that is out
  std::vector<std::uint8_t> received_;  // not yet a message
  HostTime deadline_;                   // of asked_
  HostTime quiet_until_;                // nothing is written before
  HostTime last_octet_;
  HostTime paused_until_;  // XOFF
  bool paused_ = false;
  bool resynchronising_ = true;
  bool lost_ = false;
  bool noise_told_ = false;  // one event for it until a question is answered
  LineCounts counts_;
  std::optional<HostTime> last_answer_;
};

// Refuses a wiring that the model cannot do.
Result<Poller> make_poller(const Options& options);

}  // namespace timeball::refclock::rubidium
