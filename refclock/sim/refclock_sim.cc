// refclock-sim: a rack that is not there, in real time: a GNSS receiver and a rubidium on
// pseudo-terminals, with their pulses. For demonstrations and for tests of the daemon.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <string>

#include "common/cli/manual.h"
#include "common/time/duration_text.h"
#include "refclock/sim/rack_control.h"
#include "refclock/sim/rack_server.h"

namespace timeball::refclock::sim {
namespace {

using namespace std::chrono_literals;

// Exit statuses.
constexpr int kFine = 0;
constexpr int kCannotRun = 1;
constexpr int kUsage = 2;

const std::map<std::string, ReceiverKind> kReceivers = {{"ublox9", ReceiverKind::kUblox9},
                                                        {"ublox8", ReceiverKind::kUblox8},
                                                        {"nmea", ReceiverKind::kNmea},
                                                        {"none", ReceiverKind::kNone}};
const std::map<std::string, RubidiumKind> kRubidiums = {{"prs10", RubidiumKind::kPrs10},
                                                        {"sa5x", RubidiumKind::kSa5x},
                                                        {"sa22c", RubidiumKind::kSa22c},
                                                        {"none", RubidiumKind::kNone}};

// An option that is written as a duration of at most `most`; negative: or as much below zero.
void add_duration(CLI::App& app, const std::string& name, Duration& value, Duration most,
                  bool negative, const std::string& help) {
  const auto read = [=, &value](const std::string& text) {
    const bool minus = negative && text.starts_with('-');
    const auto duration = parse_duration(text.substr(minus ? 1 : 0));
    if (!duration || *duration > most) {
      throw CLI::ValidationError(name, "\"" + text + "\" is not a duration of at most " +
                                           print_duration(most) +
                                           "; write a number with a unit: 10s, 250ms");
    }
    value = minus ? -*duration : *duration;
  };
  app.add_option_function<std::string>(name, read, help)
      ->type_name("TIME")
      ->default_str(print_duration(value));
}

template <class Kind>
void add_kind(CLI::App& app, const std::string& name, const std::map<std::string, Kind>& kinds,
              Kind& value, const std::string& usual, const std::string& help) {
  app.add_option_function<std::string>(
         name, [&kinds, &value](const std::string& text) { value = kinds.at(text); }, help)
      ->check(CLI::IsMember(kinds))
      ->default_str(usual);
}

const std::string kDevices =
    "DIR/gnss and DIR/rubidium are serial lines. DIR/pps-gnss and DIR/pps-rubidium are PPS\n"
    "devices for programs that run with LD_PRELOAD=libtimeball-pps-sim.so. DIR/control, a Unix\n"
    "socket, takes commands, one a line, and so does --tell:\n";
const std::string kEnd =
    "True time begins with CLOCK_REALTIME and runs with CLOCK_MONOTONIC_RAW; the system's clock\n"
    "is only read. Exit status: 0 ended by SIGINT or SIGTERM, or told; 1 cannot run, or the\n"
    "command was refused; 2 wrong command line.";

void add_options(CLI::App& app, RackServerOptions& options, std::string& command) {
  RackOptions& rack = options.rack;
  app.add_option("--directory", options.directory, "Where the devices appear; made if it is not")
      ->required()
      ->type_name("DIR");
  add_kind(app, "--receiver", kReceivers, rack.receiver, "ublox9",
           "The GNSS receiver, as it comes from the factory");
  add_kind(app, "--rubidium", kRubidiums, rack.rubidium, "prs10",
           "The rubidium oscillator; the receiver's pulse goes into it, too");
  add_duration(app, "--warm-up", rack.warm_up, 1h, false,
               "From its power to its lock on the atomic line");
  app.add_option("--seed", rack.seed, "Of all noise")->capture_default_str();
  add_duration(app, "--offset", options.offset, 24h * 3650, true,
               "True UTC minus CLOCK_REALTIME at the start; -TIME: behind it");
  add_duration(app, "--irq-latency", rack.irq_latency, 100ms, false,
               "Edges are stamped late by one fifth to the whole of this; more than 20us leaves "
               "what timeballd takes for granted of interrupts");
  app.add_option(
         "--tell", command,
         "Give this command to the refclock-sim that runs in DIR, print its answer, and end")
      ->type_name("COMMAND");
  app.set_version_flag("--version", "refclock-sim " TIMEBALL_VERSION);
  app.footer(kDevices + command_manual() + kEnd);
}

cli::Page page() {
  return {
      {"refclock-sim", 1},
      "simulates the devices of a time server's rack",
      "Serves a GNSS receiver and a rubidium oscillator as serial lines, and their pulses as PPS "
      "devices, in real time and with the noise of the real ones, so that timeballd can be tried, "
      "and its cables pulled, without any of them.",
      {{"SEE ALSO", {{"", "timeballd(8), refclock-decode(1)"}}}}};
}

int tell(const std::filesystem::path& directory, const std::string& command) {
  const std::string answer = tell_rack(directory, command);
  std::printf("%s\n", answer.c_str());
  return answer.starts_with("error: ") ? kCannotRun : kFine;
}

int run(int argc, char** argv) {
  CLI::App app("A rack that is not there: receiver, rubidium and pulses in real time",
               "refclock-sim");
  RackServerOptions options;
  std::string command;
  add_options(app, options, command);
  cli::add_documents(app, page());
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    app.exit(error);
    return kUsage;
  }
  try {
    if (!command.empty()) return tell(options.directory, command);
    RackServer server(options);
    std::printf("ready in %s: %s\n", options.directory.c_str(), server.devices().c_str());
    std::fflush(stdout);
    server.run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "refclock-sim: %s\n", error.what());
    return kCannotRun;
  }
  return kFine;
}

}  // namespace
}  // namespace timeball::refclock::sim

int main(int argc, char** argv) {
  return timeball::refclock::sim::run(argc, argv);
}
