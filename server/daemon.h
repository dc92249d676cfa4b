// The composition root: makes every part from a Config, connects them, runs until told to stop.
//
//   main thread   control: signals, key rotation, the admin listener (one Asio context)
//   shards        NTP, one thread each
//   KeService     NTS-KE, its own threads
//   SystemClock   polls the kernel's view of its own synchronisation, or
//   Rack          the reference clocks' thread, and one for each pulse
#pragma once

#include <memory>
#include <string>

#include "refclock/refclock.h"
#include "server/config.h"

namespace timeball::server {

class Daemon {
 public:
  using AdjustClock = refclock::KernelClockControl::Adjust;

  // Binds every listener, loads certificate and keys; no thread runs yet. config_path: what SIGHUP
  // reads again. Throws std::runtime_error with one sentence that says what to do when something
  // cannot be had. adjust: what changes the kernel's clock, if that is to be
  // (server/clock_helper.h).
  Daemon(const Config& config, std::string config_path, AdjustClock adjust);
  ~Daemon();

  // Enters the sandbox (server/sandbox.h), starts the threads, and serves until SIGTERM or SIGINT,
  // then lets what is begun finish, and returns. SIGHUP reads the configuration again: all of what
  // is reloadable in it takes effect, or, with any error, nothing.
  void run();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace timeball::server
