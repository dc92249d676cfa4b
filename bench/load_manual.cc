#include "bench/load_manual.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "bench/load_command.h"

namespace timeball::bench {
namespace {

constexpr const char* kOwnGroup = "Options";  // CLI11's own, of what a command adds

constexpr const char* kDescription =
    "Loads an NTS server, any maker's, and says how many requests it serves, how long they take, "
    "what goes wrong and what CPU time that costs, with every answer checked.\n\n"
    "It aims at this machine only: loopback, and the addresses of the interfaces of its network "
    "namespaces. A load can take a server away from its clients; for a server of your own "
    "elsewhere there is --i-own-this-server.\n\n"
    "While it runs on a terminal, one line shows how it goes. What is started within the measured "
    "time counts, whenever it ends.";
constexpr const char* kCpu =
    "With --server-pid the report says when the server was not the bottleneck: when none of its "
    "threads ran, or waited for a CPU, 90 % of the time. Its rate is then what was asked for, or "
    "what the load generator could do, not what the server can.";
constexpr const char* kExamples =
    "  ntsload ke 127.0.0.1:4460 --server-pid $(pidof timeballd)\n"
    "  ntsload ke localhost:4460 --ca ca.pem --rate 500 --duration 60s --html load.html\n"
    "  ntsload ke 127.0.0.1:4460 --rate 200 --slow 500 --fail-loss 0.1% --fail-p99 50ms";

// The exit statuses, for main() too.
const std::vector<cli::ManualEntry> kStatuses = {
    {"0", "The load ran, and no limit was passed."},
    {"1",
     "This machine failed: no threads, no descriptors, a file that cannot be written, a "
     "process that is not there; or NTS-KE gave the load nothing to start with."},
    {"2", "The command line is wrong, or the target is refused."},
    {"3", "Nothing was done: every exchange failed."},
    {"4", "A stated limit (--fail-loss, --fail-p99) was passed."}};

// The groups' names are titles.
std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

bool has_group(const CLI::App& command, const std::string& group) {
  const auto groups = command.get_groups();
  return std::find(groups.begin(), groups.end(), group) != groups.end();
}

// The groups of one command that `wanted` is true of, in their order, but for its own.
template <class Wanted>
void add_sections(const CLI::App& command, const std::string& title_end, Wanted wanted,
                  cli::Manual& manual) {
  for (const std::string& group : command.get_groups()) {
    if (group == kOwnGroup || !wanted(group)) continue;
    cli::ManualSection section = cli::options_of(command, group, upper(group) + title_end);
    if (!section.entries.empty()) manual.push_back(std::move(section));
  }
}

void add_end(cli::Manual& manual) {
  manual.push_back({"CPU TIME", {{"", kCpu}}});
  manual.push_back({"EXIT STATUS", kStatuses});
  manual.push_back({"EXAMPLES", {{"", kExamples}}});
}

}  // namespace

cli::Manual manual_of(const CLI::App& app, const LoadCommands& commands) {
  cli::Manual manual = {
      {"NAME", {{"", "ntsload - load generator for NTS time servers (RFC 8915)"}}},
      {"SYNOPSIS", {}},
      {"DESCRIPTION", {{"", kDescription}}},
      {"COMMANDS", {}}};
  for (const auto& command : commands) {
    const std::string name = std::string(command->name());
    manual[1].entries.push_back({"", "  ntsload " + name + " HOST[:PORT] [options]"});
    manual[3].entries.push_back({name, std::string(command->summary()) + "."});
  }
  manual[1].entries.push_back({"", "  ntsload --help | --man | --version"});
  // Whether every command has it.
  const auto common = [&](const std::string& group) {
    return std::all_of(commands.begin(), commands.end(), [&](const auto& command) {
      return has_group(*app.get_subcommand(std::string(command->name())), group);
    });
  };
  for (const auto& command : commands) {
    const std::string name = std::string(command->name());
    manual.push_back({"THE COMMAND " + name, {{"", std::string(command->description())}}});
    manual.push_back(cli::options_of(*app.get_subcommand(name), kOwnGroup, "OPTIONS OF " + name));
    add_sections(
        *app.get_subcommand(name), " (" + name + ")",
        [&](const std::string& group) { return !common(group); }, manual);
  }
  add_sections(*app.get_subcommand(std::string(commands.front()->name())), "", common, manual);
  add_end(manual);
  return manual;
}

cli::Manual manual_of(const CLI::App& subcommand, const LoadCommand& command) {
  const std::string name = "ntsload " + std::string(command.name());
  cli::Manual manual = {{"NAME", {{"", name + " - " + std::string(command.summary())}}},
                        {"SYNOPSIS", {{"", "  " + name + " HOST[:PORT] [options]"}}},
                        {"DESCRIPTION", {{"", std::string(command.description())}}},
                        cli::options_of(subcommand, kOwnGroup, "OPTIONS")};
  add_sections(
      subcommand, "", [](const std::string&) { return true; }, manual);
  add_end(manual);
  return manual;
}

}  // namespace timeball::bench
