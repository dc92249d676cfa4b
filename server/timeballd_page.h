// The daemon's man pages, beyond its options and settings: timeballd(8), timeballd.toml(5).
#pragma once

namespace CLI {
class App;
}

namespace timeball::server {

// Hidden options that print the pages and bash's completion, and end. When app has all its options.
void add_documents(CLI::App& app);

}  // namespace timeball::server
