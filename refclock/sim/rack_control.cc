#include "refclock/sim/rack_control.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>
#include <optional>

#include "common/time/duration_text.h"
#include "common/time/ntp_timestamp.h"

namespace timeball::refclock::sim {
namespace {

using namespace std::chrono_literals;
namespace json = boost::json;

constexpr Duration kFarthestLeap = 24h * 365 * 50;  // a receiver counts seconds in 32 bits

// Whether the argument was understood.
using Run = bool (*)(Rack& rack, std::string_view argument);

struct Command {
  std::string_view name;
  std::string_view argument;  // as the manual has it; empty: none
  std::string_view example;   // of the argument
  std::string_view help;
  Run run;
};

std::optional<Duration> positive(std::string_view text) {
  const auto duration = parse_duration(text);
  return duration && *duration > 0ns && *duration <= 24h * 365 ? duration : std::nullopt;
}

template <class Number>
std::optional<Number> number(std::string_view text, Number limit) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (!(value >= -limit && value <= limit)) return std::nullopt;
  return value;
}

std::optional<bool> on_or_off(std::string_view text) {
  if (text == "on") return true;
  if (text == "off") return false;
  return std::nullopt;
}

constexpr std::array<std::string_view, 4> kAntennas = {"unknown", "ok", "short", "open"};

std::optional<Antenna> antenna(std::string_view text) {
  const auto* found = std::ranges::find(kAntennas, text);
  if (found == kAntennas.end()) return std::nullopt;
  return static_cast<Antenna>(found - kAntennas.begin());
}

bool spoof(Rack& rack, std::string_view text) {
  const bool negative = text.starts_with('-');
  const auto duration = parse_duration(text.substr(negative ? 1 : 0));
  if (!duration || *duration > Duration(std::llround(ReceiverUnit::kMostSpoofNs))) return false;
  ReceiverState& state = rack.receiver()->state;
  state.spoof_ns = static_cast<double>(negative ? -duration->count() : duration->count());
  state.walk_ns_per_s = 0;
  return true;
}

// "YYYY-MM-DD", the last day of a month: the second after it.
std::optional<UtcTime> end_of_day(std::string_view text) {
  using namespace std::chrono;
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return std::nullopt;
  const auto y = number<int>(text.substr(0, 4), 2200);
  const auto m = number<int>(text.substr(5, 2), 12);
  const auto d = number<int>(text.substr(8, 2), 31);
  if (!y || !m || !d || *y < 1970 || *m < 1 || *d < 1) return std::nullopt;
  const year_month_day date{year(*y), month(static_cast<unsigned>(*m)),
                            day(static_cast<unsigned>(*d))};
  if (!date.ok() || date != date.year() / date.month() / last) return std::nullopt;
  return UtcTime{nanoseconds((sys_days(date) + days(1)).time_since_epoch()).count()};
}

UtcTime end_of_month(UtcTime now) {
  using namespace std::chrono;
  const year_month_day date(floor<days>(sys_time<nanoseconds>(nanoseconds(now.ns))));
  const sys_days end = sys_days(date.year() / date.month() / last) + days(1);
  return {nanoseconds(end.time_since_epoch()).count()};
}

bool leap(Rack& rack, std::string_view text) {
  const std::size_t space = text.find(' ');
  const std::string_view word = text.substr(0, space);
  const UtcTime now = rack.calendar().utc(rack.now());
  std::optional<UtcTime> event = end_of_month(now);
  if (space != std::string_view::npos) event = end_of_day(text.substr(space + 1));
  const auto change = word == "insert"   ? LeapIndicator::kInsert
                      : word == "delete" ? LeapIndicator::kDelete
                                         : LeapIndicator::kNone;
  if (change == LeapIndicator::kNone && text != "none") return false;
  if (!event || *event - 1s <= now || *event - now > kFarthestLeap) return false;
  rack.calendar().plan(rack.now(), change, *event);
  return true;
}

template <Port kPort, bool kPlugged>
bool plug(Rack& rack, std::string_view /*none*/) {
  rack.plug(kPort, kPlugged);
  return true;
}

template <class Value, class Do>
bool with(const std::optional<Value>& value, Do act) {
  if (value) act(*value);
  return value.has_value();
}

constexpr std::string_view kStatus = "status";

constexpr std::array<Command, 26> kCommands = {{
    {kStatus, "", "", "One JSON object: the true time, the kernel's, and each device", nullptr},
    {"gnss off", "", "", "No sky: no fix, no pulses",
     [](Rack& r, std::string_view) { return r.receiver()->set_sky(r.now(), false), true; }},
    {"gnss on", "", "", "A fix at once, the time confirmed 5 s later",
     [](Rack& r, std::string_view) { return r.receiver()->set_sky(r.now(), true), true; }},
    {"gnss jam", "on|off", "on", "It says that it is being jammed, and keeps its fix",
     [](Rack& r, std::string_view a) {
       return with(on_or_off(a), [&r](bool on) { r.receiver()->state.jammed = on; });
     }},
    {"gnss spoof", "DURATION", "250ns",
     "Its pulses are so late (-DURATION: early; at most 400ms), and it does not notice", spoof},
    {"gnss suspect", "on|off", "on", "It says that it is being spoofed, rightly or not",
     [](Rack& r, std::string_view a) {
       return with(on_or_off(a), [&r](bool on) { r.receiver()->state.suspects = on; });
     }},
    {"gnss antenna", "unknown|ok|short|open", "open",
     "What it says of its antenna, and keeps its fix",
     [](Rack& r, std::string_view a) {
       return with(antenna(a), [&r](Antenna seen) { r.receiver()->state.antenna = seen; });
     }},
    {"gnss move", "METRES", "230", "It finds itself so far above its true place",
     [](Rack& r, std::string_view a) {
       return with(number<double>(a, 1e6), [&r](double m) { r.receiver()->state.moved_m = m; });
     }},
    {"gnss walk", "NS_PER_S", "0.5", "Its pulses go on from there, later by so much each second",
     [](Rack& r, std::string_view a) {
       return with(number<double>(a, 1e8),
                   [&r](double rate) { r.receiver()->state.walk_ns_per_s = rate; });
     }},
    {"gnss label", "SECONDS", "-1", "It names seconds wrongly, by so many; 0: rightly",
     [](Rack& r, std::string_view a) {
       return with(number<int>(a, 1'000'000'000),
                   [&r](int s) { r.receiver()->state.label_error_s = s; });
     }},
    {"gnss reboot", "", "", "It forgets its configuration; a fix after 10 s",
     [](Rack& r, std::string_view) { return r.receiver()->reboot(r.now()), true; }},
    {"gnss garbage", "DURATION", "10s", "Noise for octets, as at a wrong baud rate",
     [](Rack& r, std::string_view a) {
       return with(positive(a),
                   [&r](Duration d) { r.receiver()->state.garbled_until = r.now() + d; });
     }},
    {"gnss unplug", "", "", "Its line is gone: the pty and the name", plug<Port::kGnss, false>},
    {"gnss plug", "", "", "A new pty by the old name", plug<Port::kGnss, true>},
    {"pps-gnss unplug", "", "", "Its pulse's wire is gone", plug<Port::kGnssPulse, false>},
    {"pps-gnss plug", "", "", "A new device by the old name", plug<Port::kGnssPulse, true>},
    {"rubidium unplug", "", "", "Its line is gone: the pty and the name",
     plug<Port::kRubidium, false>},
    {"rubidium plug", "", "", "A new pty by the old name", plug<Port::kRubidium, true>},
    {"pps-rubidium unplug", "", "", "Its pulse's wire is gone", plug<Port::kRubidiumPulse, false>},
    {"pps-rubidium plug", "", "", "A new device by the old name", plug<Port::kRubidiumPulse, true>},
    {"rubidium unlock", "DURATION", "30s", "The atomic line is lost",
     [](Rack& r, std::string_view a) {
       return with(positive(a), [&r](Duration d) { r.rubidium()->model().unlock(d); });
     }},
    {"rubidium reboot", "", "", "It warms up again, and its pulse is somewhere else",
     [](Rack& r, std::string_view) { return r.rubidium()->reboot(), true; }},
    {"rubidium stall", "DURATION", "5s", "Its octets wait inside",
     [](Rack& r, std::string_view a) {
       return with(positive(a), [&r](Duration d) { r.rubidium()->model().stall(d); });
     }},
    {"rubidium temperature", "CELSIUS", "42.5", "Of its base plate; 40 at first",
     [](Rack& r, std::string_view a) {
       return with(number<double>(a, 200),
                   [&r](double c) { r.rubidium()->model().set_temperature(c); });
     }},
    {"host jump", "DURATION", "2ms",
     "This machine's crystal jumps: every pulse comes so much later from then on (at most 100ms)",
     [](Rack& r, std::string_view a) {
       const auto later = positive(a);
       return later && *later <= 100ms && (r.jump(*later), true);
     }},
    {"leap", "insert|delete|none [YYYY-MM-DD]", "insert",
     "A leap second at the end of the month, or of that last day of a month; GNSS announces it",
     leap},
}};

// The first word of a line names the device, but for its pulse's wire, which has a word of its own.
std::string_view device_of(std::string_view line) {
  std::string_view word = line.substr(0, line.find(' '));
  if (word.starts_with("pps-")) word.remove_prefix(4);
  return word;
}

// As one writes it.
std::string usage(const Command& command) {
  std::string text(command.name);
  if (!command.argument.empty()) text.append(" ").append(command.argument);
  return text;
}

// Those of the line's device; when it has none, all.
std::string known_commands(std::string_view line) {
  const std::string_view device = device_of(line);
  std::string text;
  for (const bool of_device : {true, false}) {
    for (const Command& command : kCommands) {
      if (of_device && device_of(command.name) != device) continue;
      if (!text.empty()) text.append(", ");
      text.append(usage(command));
    }
    if (!text.empty()) break;
  }
  return text;
}

const Command* find_command(std::string_view line) {
  for (const Command& command : kCommands) {
    if (!line.starts_with(command.name)) continue;
    const std::string_view rest = line.substr(command.name.size());
    if (rest.empty() || (!command.argument.empty() && rest.starts_with(' '))) return &command;
  }
  return nullptr;
}

std::string_view name_of(LeapIndicator leap) {
  if (leap == LeapIndicator::kInsert) return "insert";
  return leap == LeapIndicator::kDelete ? "delete" : "none";
}

json::object line_status(const Rack& rack, Port line, Port pulse) {
  return {{"plugged", rack.plugged(line)},
          {"octets_sent", rack.counts(line).sent},
          {"octets_received", rack.counts(line).received},
          {"pps_plugged", rack.plugged(pulse)},
          {"pulses", rack.counts(pulse).sent}};
}

json::value receiver_status(Rack& rack) {
  const ReceiverUnit* receiver = rack.receiver();
  if (receiver == nullptr) return nullptr;
  json::object status = line_status(rack, Port::kGnss, Port::kGnssPulse);
  status["fix"] = receiver->fix(rack.now());
  status["time_confirmed"] = receiver->time_confirmed(rack.now());
  status["jammed"] = receiver->state.jammed;
  status["suspects"] = receiver->state.suspects;
  status["antenna"] = kAntennas.at(static_cast<std::size_t>(receiver->state.antenna));
  status["moved_m"] = receiver->state.moved_m;
  status["garbled"] = receiver->garbled(rack.now());
  status["spoof_ns"] = receiver->state.spoof_ns;
  status["walk_ns_per_s"] = receiver->state.walk_ns_per_s;
  status["label_error_s"] = receiver->state.label_error_s;
  return status;
}

json::value rubidium_status(Rack& rack) {
  const RubidiumUnit* rubidium = rack.rubidium();
  if (rubidium == nullptr) return nullptr;
  json::object status = line_status(rack, Port::kRubidium, Port::kRubidiumPulse);
  status["locked"] = rubidium->model().locked();
  status["temperature_c"] = rubidium->model().temperature_c();
  status["pulse_early_s"] = rubidium->model().phase_s();
  status["frequency"] = rubidium->frequency();
  status["stores"] = rubidium->model().stores();
  return status;
}

std::string status(Rack& rack, KernelTime kernel) {
  const LeapCalendar& calendar = rack.calendar();
  const UtcTime utc = calendar.utc(rack.now());
  const auto announced = calendar.announced(rack.now());
  return json::serialize(
      json::object{{"utc_ns", utc.ns},
                   {"realtime_ns", kernel.ns},
                   {"utc_minus_realtime_ns", utc.ns - kernel.ns},
                   {"leap", name_of(announced)},
                   {"leap_event_s", announced == LeapIndicator::kNone
                                        ? json::value(nullptr)
                                        : json::value(calendar.event().ns / kNsPerSecond)},
                   {"gnss", receiver_status(rack)},
                   {"rubidium", rubidium_status(rack)}});
}

std::string refuse(const Command& command) {
  const std::string name(command.name);
  return "error: " + name + " takes " + std::string(command.argument) + ": write \"" + name + " " +
         std::string(command.example) + "\"";
}

}  // namespace

std::string execute(Rack& rack, std::string_view line, KernelTime kernel) {
  const Command* command = find_command(line);
  if (command == nullptr) return "error: no such command; write one of: " + known_commands(line);
  if (command->name == kStatus) return status(rack, kernel);
  const std::string_view device = device_of(line);
  if (device == "gnss" && rack.receiver() == nullptr) {
    return "error: no receiver here: start refclock-sim with --receiver ublox9";
  }
  if (device == "rubidium" && rack.rubidium() == nullptr) {
    return "error: no rubidium here: start refclock-sim with --rubidium prs10";
  }
  std::string_view argument = line.substr(command->name.size());
  if (!argument.empty()) argument.remove_prefix(1);
  return command->run(rack, argument) ? "ok" : refuse(*command);
}

std::string command_manual() {
  constexpr std::size_t kColumn = 38;
  std::string text;
  for (const Command& command : kCommands) {
    std::string line = usage(command);
    line.resize(std::max(line.size() + 2, kColumn), ' ');
    text.append("  ").append(line).append(command.help).append("\n");
  }
  return text;
}

}  // namespace timeball::refclock::sim
