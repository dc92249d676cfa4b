// One thread of the NTS-KE load: its connections, its arrivals, its tallies.
//
// Inside of `ntsload ke`. run() is the thread's whole life; the tally is read after it.
#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "bench/histogram.h"
#include "bench/ke_exchange.h"
#include "bench/timeline.h"

namespace timeball::bench {

// One thread's share of the load.
struct KeWorkerPlan {
  SteadyTime start;             // of the warm-up
  std::size_t connections = 0;  // closed loop: always under way; open loop: at most
  std::size_t slow = 0;         // connections that dribble
  // Open loop: an arrival every `spacing`, the first at start + offset. Zero: closed loop.
  std::chrono::duration<double, std::nano> spacing{0};
  std::chrono::duration<double, std::nano> offset{0};
  KeFarewell farewell = KeFarewell::kNotify;
};

// What began within the window.
struct KeTally {
  std::uint64_t started = 0;
  std::array<std::uint64_t, kKeOutcomes> outcomes{};
  std::uint64_t overdue = 0;  // given up before they began
  std::array<std::string, kKeOutcomes> first_details;
  Histogram latency;    // of those done, from when they should have begun
  Histogram handshake;  // of those done, TCP and TLS
  // From the start of the run to its end.
  std::uint64_t slow_ended = 0;

  void merge(const KeTally& other);
};

class KeWorker {
 public:
  KeWorker(const KeWorkerPlan& plan, std::unique_ptr<KeTls> tls, Timeline& timeline);

  // Ends when the window is over and what began in it has ended: at most the timeout later, twice
  // that in an open loop.
  void run();
  const KeTally& tally() const { return tally_; }

 private:
  using Clock = KeExchange::Clock;
  template <class T>
  using Awaitable = boost::asio::awaitable<T>;

  Awaitable<void> closed_loop();
  Awaitable<void> arrivals();
  Awaitable<void> serve(SteadyTime due);
  Awaitable<KeOutcome> one(SteadyTime due);
  Awaitable<void> dribble();
  Awaitable<void> tick();
  Awaitable<void> wait_until(SteadyTime time);
  void count(KeOutcome outcome, const KeExchange& exchange, SteadyTime due);
  void give_up(SteadyTime due);
  void leave();

  const KeWorkerPlan plan_;
  const std::unique_ptr<KeTls> tls_;
  const Window window_;
  TimelineWriter timeline_;
  const std::chrono::nanoseconds interval_;
  KeTally tally_;
  std::size_t active_ = 0;              // coroutines that the end waits for
  std::size_t serving_ = 0;             // of them, those that serve arrivals
  std::deque<SteadyTime> backlog_;      // arrivals that wait for a connection
  boost::asio::io_context context_{1};  // last: what runs in it uses the others
};

}  // namespace timeball::bench
