// A command's manual, made from its own options (CLI11): --help may show it as text, the man page
// is the same in roff. Pure; main thread.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace timeball::cli {

struct ManualEntry {
  std::string term;  // "--rate R"; empty: plain paragraphs
  std::string text;  // paragraphs, an empty line between two; indented lines stay as they are
};
struct ManualSection {
  std::string title;
  std::vector<ManualEntry> entries;
};
using Manual = std::vector<ManualSection>;

// Where a manual stands: timeball(1).
struct PageName {
  std::string name;
  unsigned section = 1;
};

// What a command's page has beyond its options.
struct Page {
  PageName name;
  std::string summary;      // without a full stop
  std::string description;  // paragraphs, as above
  Manual rest;              // behind the options: FILES, EXIT STATUS, SEE ALSO
};

// The options of one of the app's groups, with what they take and their defaults.
ManualSection options_of(const CLI::App& app, const std::string& group, std::string title);
// The whole page: a section for each command of the app's.
Manual manual_of(const CLI::App& app, const Page& page);

std::string as_text(const Manual& manual);  // 79 columns
std::string as_roff(const Manual& manual, const PageName& name);

// Adds --man and --completion, which --help does not name: they print the page and bash's
// completion of the command, and end it. To be called when app has all its options.
void add_documents(CLI::App& app, Page page);

}  // namespace timeball::cli
