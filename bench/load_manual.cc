#include "bench/load_manual.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string_view>

#include "bench/load_command.h"

namespace timeball::bench {
namespace {

constexpr std::size_t kColumns = 79;
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
const std::vector<ManualEntry> kStatuses = {
    {"0", "The load ran, and no limit was passed."},
    {"1",
     "This machine failed: no threads, no descriptors, a file that cannot be written, a "
     "process that is not there; or NTS-KE gave the load nothing to start with."},
    {"2", "The command line is wrong, or the target is refused."},
    {"3", "Nothing was done: every exchange failed."},
    {"4", "A stated limit (--fail-loss, --fail-p99) was passed."}};

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

ManualEntry entry_of(const CLI::Option& option) {
  if (option.get_positional()) return {"HOST[:PORT]", option.get_description() + '.'};
  ManualEntry entry{option.get_name(false, true), option.get_description() + '.'};
  const std::string type = option.get_type_name();  // "TIME", with the names of checks behind
  if (!type.empty()) entry.term += ' ' + type.substr(0, type.find(':'));
  if (!option.get_default_str().empty())
    entry.text += " Default: " + option.get_default_str() + '.';
  return entry;
}

ManualSection section_of(const CLI::App& app, const std::string& group, std::string title) {
  ManualSection section{std::move(title), {}};
  for (const CLI::Option* option : app.get_options())
    if (option->get_group() == group) section.entries.push_back(entry_of(*option));
  return section;
}

// The groups that every command has, in their order.
void add_common_sections(const CLI::App& subcommand, Manual& manual) {
  for (const std::string& group : subcommand.get_groups()) {
    if (group == kOwnGroup) continue;
    ManualSection section = section_of(subcommand, group, upper(group));
    if (!section.entries.empty()) manual.push_back(std::move(section));
  }
}

void add_end(Manual& manual) {
  manual.push_back({"CPU TIME", {{"", kCpu}}});
  manual.push_back({"EXIT STATUS", kStatuses});
  manual.push_back({"EXAMPLES", {{"", kExamples}}});
}

// ---- Text.

// Breaks at spaces.
std::string wrapped(std::string_view text, std::size_t indent) {
  std::string out;
  const std::string margin(indent, ' ');
  while (!text.empty()) {
    std::size_t size = std::min(text.size(), kColumns - indent);
    if (size < text.size()) {
      const std::size_t space = text.rfind(' ', size);
      size = space != std::string_view::npos ? space : std::min(text.find(' '), text.size());
    }
    out += margin + std::string(text.substr(0, size)) + '\n';
    text.remove_prefix(std::min(text.size(), size + 1));
  }
  return out;
}

// Calls with each line; an empty one for the space between paragraphs.
template <class Visit>
void for_each_line(std::string_view text, Visit visit) {
  for (;;) {
    const std::size_t end = text.find('\n');
    visit(text.substr(0, end));
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

bool is_verbatim(std::string_view line) {
  return line.starts_with("  ");
}

// ---- Roff.

std::string roff(std::string_view text) {
  std::string safe;
  if (text.starts_with('.') || text.starts_with('\'')) safe = "\\&";
  for (const char c : text) {
    if (c == '\\') {
      safe += "\\e";
    } else if (c == '-') {
      safe += "\\-";
    } else {
      safe += c;
    }
  }
  return safe;
}

std::string roff_paragraphs(std::string_view text) {
  std::string out;
  bool verbatim = false;
  for_each_line(text, [&](std::string_view line) {
    if (is_verbatim(line) != verbatim) out += verbatim ? ".fi\n" : ".nf\n";
    verbatim = is_verbatim(line);
    out += line.empty() ? ".PP\n" : roff(line) + '\n';
  });
  return verbatim ? out + ".fi\n" : out;
}

}  // namespace

Manual manual_of(const CLI::App& app, const LoadCommands& commands) {
  Manual manual = {{"NAME", {{"", "ntsload - load generator for NTS time servers (RFC 8915)"}}},
                   {"SYNOPSIS", {}},
                   {"DESCRIPTION", {{"", kDescription}}},
                   {"COMMANDS", {}}};
  for (const auto& command : commands) {
    const std::string name = std::string(command->name());
    manual[1].entries.push_back({"", "  ntsload " + name + " HOST[:PORT] [options]"});
    manual[3].entries.push_back({name, std::string(command->summary()) + "."});
  }
  manual[1].entries.push_back({"", "  ntsload --help | --man | --version"});
  for (const auto& command : commands) {
    const std::string name = std::string(command->name());
    manual.push_back({"THE COMMAND " + name, {{"", std::string(command->description())}}});
    manual.push_back(section_of(*app.get_subcommand(name), kOwnGroup, "OPTIONS OF " + name));
  }
  add_common_sections(*app.get_subcommand(std::string(commands.front()->name())), manual);
  add_end(manual);
  return manual;
}

Manual manual_of(const CLI::App& subcommand, const LoadCommand& command) {
  const std::string name = "ntsload " + std::string(command.name());
  Manual manual = {{"NAME", {{"", name + " - " + std::string(command.summary())}}},
                   {"SYNOPSIS", {{"", "  " + name + " HOST[:PORT] [options]"}}},
                   {"DESCRIPTION", {{"", std::string(command.description())}}},
                   section_of(subcommand, kOwnGroup, "OPTIONS")};
  add_common_sections(subcommand, manual);
  add_end(manual);
  return manual;
}

std::string as_text(const Manual& manual) {
  constexpr std::size_t kIndent = 4;
  std::string text;
  for (const ManualSection& section : manual) {
    text += (text.empty() ? "" : "\n") + section.title + '\n';
    for (const ManualEntry& entry : section.entries) {
      const std::size_t indent = entry.term.empty() ? kIndent : 2 * kIndent;
      if (!entry.term.empty()) text += std::string(kIndent, ' ') + entry.term + '\n';
      for_each_line(entry.text, [&](std::string_view line) {
        if (line.empty()) {
          text += '\n';
        } else if (is_verbatim(line)) {
          text += std::string(kIndent - 2, ' ') + std::string(line) + '\n';
        } else {
          text += wrapped(line, indent);
        }
      });
    }
  }
  return text;
}

std::string as_roff(const Manual& manual) {
  std::string text = ".TH NTSLOAD 1 \"\" \"Timeball " TIMEBALL_VERSION "\" \"User Commands\"\n";
  for (const ManualSection& section : manual) {
    text += ".SH \"" + roff(section.title) + "\"\n";
    for (const ManualEntry& entry : section.entries) {
      if (!entry.term.empty()) text += ".TP\n.B " + roff(entry.term) + '\n';
      text += roff_paragraphs(entry.text);
    }
  }
  return text;
}

}  // namespace timeball::bench
