#include "bench/ke_worker.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <utility>

namespace timeball::bench {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using namespace std::chrono_literals;
using std::chrono::nanoseconds;

// After a failure that may come at once, and again and again.
constexpr auto kPause = 10ms;

// A coroutine's exception is the thread's.
void rethrow(const std::exception_ptr& error) {
  if (error) std::rethrow_exception(error);
}

}  // namespace

void KeTally::merge(const KeTally& other) {
  started += other.started;
  overdue += other.overdue;
  slow_ended += other.slow_ended;
  for (std::size_t i = 0; i < kKeOutcomes; ++i) {
    outcomes[i] += other.outcomes[i];
    if (first_details[i].empty()) first_details[i] = other.first_details[i];
  }
  latency.merge(other.latency);
  handshake.merge(other.handshake);
}

KeWorker::KeWorker(const KeWorkerPlan& plan, std::unique_ptr<KeTls> tls, Timeline& timeline)
    : plan_(plan),
      tls_(std::move(tls)),
      window_(timeline.window()),
      timeline_(timeline),
      interval_(timeline.interval()) {}

void KeWorker::run() {
  const bool open_loop = plan_.spacing.count() > 0;
  active_ = open_loop ? 1 : plan_.connections;
  for (std::size_t i = 0; i < active_; ++i)
    asio::co_spawn(context_, open_loop ? arrivals() : closed_loop(), rethrow);
  for (std::size_t i = 0; i < plan_.slow; ++i) asio::co_spawn(context_, dribble(), rethrow);
  asio::co_spawn(context_, tick(), rethrow);
  if (active_ > 0) context_.run();
  timeline_.flush(Clock::now());
}

// The last of those that began in the window has ended: dribblers, and connections that are kept,
// go with the context.
void KeWorker::leave() {
  if (--active_ == 0) context_.stop();
}

awaitable<void> KeWorker::closed_loop() {
  co_await wait_until(plan_.start);
  for (auto now = Clock::now(); now < window_.end; now = Clock::now()) {
    if (co_await one(now) != KeOutcome::kDone) co_await wait_until(Clock::now() + kPause);
  }
  leave();
}

// The times are fixed in advance: however late the server makes us, none is left out.
awaitable<void> KeWorker::arrivals() {
  for (std::uint64_t i = 0;; ++i) {
    const SteadyTime due = plan_.start + std::chrono::duration_cast<nanoseconds>(
                                             plan_.offset + plan_.spacing * static_cast<double>(i));
    if (due >= window_.end) break;
    if (due > Clock::now()) co_await wait_until(due);
    if (serving_ < plan_.connections) {
      ++serving_;
      ++active_;
      asio::co_spawn(context_, serve(due), rethrow);
    } else {
      backlog_.push_back(due);
    }
  }
  leave();
}

awaitable<void> KeWorker::serve(SteadyTime due) {
  for (;;) {
    if (Clock::now() - due > tls_->options().timeout) {
      give_up(due);
    } else {
      co_await one(due);
    }
    if (backlog_.empty()) break;
    due = backlog_.front();
    backlog_.pop_front();
  }
  --serving_;
  leave();
}

awaitable<KeOutcome> KeWorker::one(SteadyTime due) {
  if (window_.contains(due)) {
    ++tally_.started;
    timeline_.started(Clock::now());
  }
  const auto exchange = std::make_shared<KeExchange>(context_, *tls_);
  const KeOutcome outcome = co_await exchange->run();
  if (window_.contains(due)) count(outcome, *exchange, due);
  if (outcome != KeOutcome::kDone) co_return outcome;
  if (plan_.farewell == KeFarewell::kKeep) {
    asio::co_spawn(
        context_, [exchange] { return exchange->part(KeFarewell::kKeep); }, rethrow);
  } else {
    co_await exchange->part(plan_.farewell);
  }
  co_return outcome;
}

void KeWorker::count(KeOutcome outcome, const KeExchange& exchange, SteadyTime due) {
  const auto now = Clock::now();
  const auto row = static_cast<std::size_t>(outcome);
  ++tally_.outcomes[row];
  if (outcome != KeOutcome::kDone) {
    if (tally_.first_details[row].empty()) tally_.first_details[row] = exchange.detail();
    timeline_.failed(now);
    return;
  }
  tally_.latency.record(now - due);
  tally_.handshake.record(exchange.handshake_time());
  timeline_.done(now, now - due);
}

void KeWorker::give_up(SteadyTime due) {
  if (!window_.contains(due)) return;
  ++tally_.started;
  ++tally_.overdue;
  timeline_.started(Clock::now());
  timeline_.failed(Clock::now());
}

awaitable<void> KeWorker::dribble() {
  co_await wait_until(plan_.start);
  for (;;) {
    const auto exchange = std::make_shared<KeExchange>(context_, *tls_);
    if (co_await exchange->dribble()) {
      ++tally_.slow_ended;
    } else {
      co_await wait_until(Clock::now() + kPause);
    }
  }
}

// So that the timeline goes on while nothing happens.
awaitable<void> KeWorker::tick() {
  for (;;) {
    co_await wait_until(Clock::now() + interval_);
    timeline_.flush(Clock::now());
  }
}

awaitable<void> KeWorker::wait_until(SteadyTime time) {
  asio::steady_timer timer(context_, time);
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

}  // namespace timeball::bench
