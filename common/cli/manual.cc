#include "common/cli/manual.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <string_view>
#include <utility>

#include "common/cli/completion.h"

namespace timeball::cli {
namespace {

constexpr std::size_t kColumns = 79;
constexpr const char* kOptions = "Options";  // CLI11's own group

// Of man(1), by their sections.
const std::map<unsigned, std::string> kVolumes = {
    {1, "User Commands"}, {5, "File Formats"}, {8, "System Administration"}};

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

std::string positionals(const CLI::App& app) {
  std::string text;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_positional() || option->get_group().empty()) continue;
    text +=
        option->get_required() ? ' ' + option->get_name(true) : " [" + option->get_name(true) + ']';
  }
  return text;
}

ManualEntry entry_of(const CLI::Option& option) {
  ManualEntry entry{option.get_positional() ? option.get_name(true) : option.get_name(false, true),
                    option.get_description() + '.'};
  const std::string type = option.get_type_name();  // "TIME", with the names of checks behind
  if (!option.get_positional() && !type.empty()) entry.term += ' ' + type.substr(0, type.find(':'));
  const std::vector<std::string> choices = choices_of(option);
  if (!choices.empty()) {
    entry.text += " One of " + CLI::detail::join(choices, ", ") + '.';
  }
  if (!option.get_default_str().empty())
    entry.text += " Default: " + option.get_default_str() + '.';
  return entry;
}

// The commands below app that do something, with their names: "keys show".
void add_leaves(const CLI::App& app, const std::string& path,
                std::vector<std::pair<std::string, const CLI::App*>>& leaves) {
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    const std::string name = path + (path.empty() ? "" : " ") + command->get_name();
    if (command->get_require_subcommand_min() > 0) {
      add_leaves(*command, name, leaves);
    } else {
      leaves.emplace_back(name, command);
    }
  }
}

ManualSection section_of(const CLI::App& command, const std::string& title) {
  ManualSection section = options_of(command, kOptions, title);
  section.entries.insert(section.entries.begin(), {"", command.get_description() + '.'});
  if (!command.get_footer().empty()) section.entries.push_back({"", command.get_footer()});
  return section;
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
    } else if (c == '"') {
      safe += "\\(dq";
    } else {
      safe += c;
    }
  }
  return safe;
}

// between: the request that begins each paragraph but the first.
std::string roff_paragraphs(std::string_view text, const char* between) {
  std::string out;
  bool verbatim = false;
  for_each_line(text, [&](std::string_view line) {
    if (is_verbatim(line) != verbatim) out += verbatim ? ".fi\n" : ".nf\n";
    verbatim = is_verbatim(line);
    out += line.empty() ? between : roff(line) + '\n';
  });
  return verbatim ? out + ".fi\n" : out;
}

}  // namespace

ManualSection options_of(const CLI::App& app, const std::string& group, std::string title) {
  ManualSection section{std::move(title), {}};
  for (const CLI::Option* option : app.get_options())
    if (option->get_group() == group) section.entries.push_back(entry_of(*option));
  return section;
}

Manual manual_of(const CLI::App& app, const Page& page) {
  const std::string& name = page.name.name;
  Manual manual = {{"NAME", {{"", name + " - " + page.summary}}},
                   {"SYNOPSIS", {}},
                   {"DESCRIPTION", {{"", page.description}}}};
  std::vector<std::pair<std::string, const CLI::App*>> leaves;
  add_leaves(app, "", leaves);
  std::string synopsis;
  for (const auto& [path, command] : leaves) {
    synopsis += "  " + name + ' ' + path + positionals(*command) + " [OPTIONS]\n";
    manual.push_back(section_of(*command, name + ' ' + path));
  }
  if (leaves.empty()) {
    synopsis = "  " + name + positionals(app) + " [OPTIONS]\n";
  }
  manual[1].entries = {{"", synopsis.substr(0, synopsis.size() - 1)}};
  manual.push_back(options_of(app, kOptions, "OPTIONS"));
  if (!app.get_footer().empty()) manual.push_back({"NOTES", {{"", app.get_footer()}}});
  manual.insert(manual.end(), page.rest.begin(), page.rest.end());
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

std::string as_roff(const Manual& manual, const PageName& page) {
  const std::string section = std::to_string(page.section);
  std::string text = ".TH \"" + roff(upper(page.name)) + "\" " + section +
                     " \"\" \"Timeball " TIMEBALL_VERSION "\" \"" + kVolumes.at(page.section) +
                     "\"\n";
  for (const ManualSection& s : manual) {
    text += ".SH \"" + roff(s.title) + "\"\n";
    const char* paragraph = "";  // the heading begins the first one
    for (const ManualEntry& entry : s.entries) {
      text += entry.term.empty() ? paragraph : ".TP\n.B " + roff(entry.term) + '\n';
      text += roff_paragraphs(entry.text, entry.term.empty() ? ".PP\n" : ".IP\n");
      paragraph = ".PP\n";
    }
  }
  return text;
}

void add_documents(CLI::App& app, Page page) {
  const auto add = [&app](const char* name, auto text) {
    app.add_flag_callback(name,
                          [text] {
                            std::fputs(text().c_str(), stdout);
                            throw CLI::Success();
                          })
        ->group("");
  };
  add("--man", [&app, page] { return as_roff(manual_of(app, page), page.name); });
  add("--completion", [&app, page] { return bash_completion(app, page.name.name); });
}

}  // namespace timeball::cli
