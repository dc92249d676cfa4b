// The composition root: makes every part from a Config, connects them, runs until told to stop.
//
//   main thread   control: signals, key rotation, /metrics and /healthz (one Asio context)
//   shards        NTP, one thread each
//   KeService     NTS-KE, its own threads
//   SystemClock   polls the kernel's view of its own synchronisation
#pragma once

#include <memory>

#include "server/config.h"

namespace timeball::server {

class Daemon {
 public:
  // Binds every listener, loads certificate and keys. Throws std::runtime_error with one sentence
  // that says what to do when something cannot be had.
  explicit Daemon(const Config& config);
  ~Daemon();

  // Serves until SIGTERM or SIGINT, then lets what is begun finish, and returns.
  void run();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace timeball::server
