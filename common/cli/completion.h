// bash's completion of a command, made from its own options (CLI11): commands, options, and what
// the options take: files, or one of some words. Pure; main thread.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace timeball::cli {

// A script for bash-completion's directory, or to be sourced.
std::string bash_completion(const CLI::App& app, const std::string& command);

// The words that an option takes, when those are all; in the order of its help.
std::vector<std::string> choices_of(const CLI::Option& option);

}  // namespace timeball::cli
