// ntsload's manual, made from the options themselves: --help shows it as text, the man page is the
// same in roff. Pure; main thread.
#pragma once

#include <memory>
#include <vector>

#include "common/cli/manual.h"

namespace timeball::bench {

class LoadCommand;

using LoadCommands = std::vector<std::unique_ptr<LoadCommand>>;

// app: with a subcommand for each of the commands.
cli::Manual manual_of(const CLI::App& app, const LoadCommands& commands);
// Of one command only.
cli::Manual manual_of(const CLI::App& subcommand, const LoadCommand& command);

}  // namespace timeball::bench
