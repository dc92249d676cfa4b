// ntsload's manual, made from the options themselves: --help shows it as text, the man page is the
// same in roff. Pure; main thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace timeball::bench {

class LoadCommand;

struct ManualEntry {
  std::string term;  // "--rate R"; empty: plain paragraphs
  std::string text;  // paragraphs, an empty line between two; indented lines stay as they are
};
struct ManualSection {
  std::string title;
  std::vector<ManualEntry> entries;
};
using Manual = std::vector<ManualSection>;
using LoadCommands = std::vector<std::unique_ptr<LoadCommand>>;

// app: with a subcommand for each of the commands.
Manual manual_of(const CLI::App& app, const LoadCommands& commands);
// Of one command only.
Manual manual_of(const CLI::App& subcommand, const LoadCommand& command);

std::string as_text(const Manual& manual);  // 79 columns
std::string as_roff(const Manual& manual);

}  // namespace timeball::bench
