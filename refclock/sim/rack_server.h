// A simulated rack in real time, for whoever opens its devices. In its directory:
//
//   gnss, rubidium           serial lines (symbolic links to pseudo-terminals)
//   pps-gnss, pps-rubidium   pulses (sockets, see pps_device.h)
//   control                  a Unix stream socket: one command a line, one line back
//
// Stamps are computed, not measured: how late this program wakes up is not in them. What it made it
// removes at the end.
//
// Thread rules: one thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "refclock/sim/rack.h"

namespace timeball::refclock::sim {

struct RackServerOptions {
  std::filesystem::path directory;
  RackOptions rack;
  Duration offset{};  // true UTC minus CLOCK_REALTIME at the start
};

class RackServer {
 public:
  // Throws std::runtime_error with one sentence that says what to do.
  explicit RackServer(const RackServerOptions& options);
  ~RackServer();

  // "gnss, pps-gnss, control": what is there.
  std::string devices() const;
  // Until SIGINT or SIGTERM.
  void run();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Gives a command to the rack that is served in a directory; its answer, without the end of the
// line. Throws std::runtime_error with one sentence.
std::string tell_rack(const std::filesystem::path& directory, const std::string& command);

}  // namespace timeball::refclock::sim
