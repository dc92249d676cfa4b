// The options that every command of ntsload takes, and how they are written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/ke_client.h"
#include "common/time/time_scales.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace timeball::bench {

// What makes a run a failure.
struct LoadLimits {
  std::optional<double> loss;   // share, 0..1
  std::optional<Duration> p99;  // of the first histogram
};

struct CommonOptions {
  std::string target;                                 // HOST[:PORT], as typed
  unsigned threads = 1;                               // of the load; each wants a CPU
  Duration duration = std::chrono::seconds(10);       // the measured part
  Duration warm_up = std::chrono::milliseconds(500);  // load before it that is not counted
  std::optional<int> server_pid;
  std::vector<int> server_also;  // processes that work for the server: the kernel's threads
  std::string json_file;
  std::string html_file;
  LoadLimits limits;
  bool own_server = false;
  KeClientOptions ke;
};

// How many of `total` things go to thread `index` of `threads`.
constexpr std::size_t share_of(std::size_t total, std::size_t index, std::size_t threads) {
  return total / threads + (index < total % threads ? 1 : 0);
}

// Writes into options while the command line is parsed: they outlive the App.
void add_common_options(CLI::App& command, CommonOptions& options);

// An option that is written as a duration, of at least `least`, with or without a default.
CLI::Option* add_duration(CLI::App& command, const std::string& name, const std::string& group,
                          Duration least, std::optional<Duration> otherwise,
                          std::function<void(Duration)> store, const std::string& help);
// One that is written as a share, "0.1%" or "0.001".
CLI::Option* add_share(CLI::App& command, const std::string& name, const std::string& group,
                       std::function<void(double)> store, const std::string& help);

// "0.1%" or "0.001"; nothing when it is neither, or outside 0..1.
std::optional<double> parse_share(std::string_view text);

}  // namespace timeball::bench
