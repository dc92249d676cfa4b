// refclock-decode: every message of a recorded log of a device as one JSON object per line, with
// what was refused and why. For bring-up, for bug reports, for tests over logs.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "common/cli/manual.h"
#include "refclock/decode/decode.h"

namespace timeball::refclock::decode {
namespace {

// Exit statuses.
constexpr int kFine = 0;
constexpr int kCannotWrite = 1;
constexpr int kUsage = 2;  // of the command line, or a file that is no such log

struct Protocol {
  std::string_view name;
  std::string_view messages;
  std::uint64_t (*decode)(std::istream&, const Print&);
};
constexpr std::array<Protocol, 1> kProtocols = {
    {{"gnss", "NMEA, UBX or RTCM 3 message", decode_gnss}}};

int complain(const std::string& message, int status) {
  std::fprintf(stderr, "refclock-decode: %s\n", message.c_str());
  return status;
}

int decode_stream(std::istream& log, const std::string& name, const Protocol& protocol) {
  const auto messages = protocol.decode(
      log, [](const boost::json::object& o) { std::cout << boost::json::serialize(o) << '\n'; });
  if (!log.eof()) return complain("cannot read " + name + ": " + std::strerror(errno), kUsage);
  if (!std::cout.flush()) return complain("cannot write to standard output", kCannotWrite);
  if (messages != 0) return kFine;
  return complain("no " + std::string(protocol.messages) + " in " + name, kUsage);
}

int decode_file(const std::string& name, const Protocol& protocol) {
  if (name == "-") return decode_stream(std::cin, "standard input", protocol);
  errno = 0;
  std::ifstream log(name, std::ios::binary);
  if (!log) return complain("cannot read " + name + ": " + std::strerror(errno), kUsage);
  return decode_stream(log, name, protocol);
}

cli::Page page() {
  return {
      {"refclock-decode", 1},
      "prints the messages in a recorded log of a GNSS receiver as JSON",
      "Reads a log as it came over the serial line, NMEA, UBX and RTCM 3 mixed, and prints each "
      "message as one JSON object on a line of its own, with what was refused and why. For "
      "bring-up, bug reports and tests.",
      {{"SEE ALSO", {{"", "timeballd(8), refclock-sim(1)"}}}}};
}

int run(int argc, char** argv) {
  CLI::App app("Every message of a recorded log as one JSON object per line", "refclock-decode");
  std::string file;
  app.add_option("FILE", file, "The log; - for standard input")->required();
  std::string protocol(kProtocols[0].name);
  std::vector<std::string> names;
  for (const Protocol& known : kProtocols) names.emplace_back(known.name);
  app.add_option("--protocol", protocol, "What the device speaks")
      ->capture_default_str()
      ->check(CLI::IsMember(names));
  app.set_version_flag("--version", "refclock-decode " TIMEBALL_VERSION);
  app.footer(
      "Exit status: 0 decoded (refusals are in the output), 1 cannot write, 2 wrong command line,\n"
      "or a file that cannot be read or holds no message.");
  cli::add_documents(app, page());
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    app.exit(error);
    return kUsage;
  }
  return decode_file(file, *std::ranges::find(kProtocols, protocol, &Protocol::name));
}

}  // namespace
}  // namespace timeball::refclock::decode

int main(int argc, char** argv) {
  return timeball::refclock::decode::run(argc, argv);
}
