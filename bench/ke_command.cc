// `ntsload ke`: its options, its threads, its report.

#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <future>
#include <latch>
#include <optional>

#include "bench/cpu_meter.h"
#include "bench/ke_worker.h"
#include "bench/load_command.h"
#include "common/base/printable.h"
#include "common/nts/ke_record.h"

namespace timeball::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kClosedConnections = 16;
constexpr std::size_t kOpenConnections = 1000;
constexpr double kForeignRate = 100;  // per second, at a server that is not on this machine
constexpr auto kSettle = 20ms;        // for the threads to be there

const std::map<std::string, KeFarewell> kFarewells = {
    {"notify", KeFarewell::kNotify}, {"abrupt", KeFarewell::kAbrupt}, {"keep", KeFarewell::kKeep}};

struct KeOptions {
  std::optional<std::size_t> connections;
  std::optional<double> rate;  // per second
  std::size_t slow = 0;
  std::string farewell = "notify";
};

class KeCommand : public LoadCommand {
 public:
  std::string_view name() const override { return "ke"; }
  std::string_view summary() const override { return "load an NTS-KE server with handshakes"; }
  std::string_view description() const override;
  void add_options(CLI::App& app) override;
  Result<void> check(const CommonOptions& options) const override;
  std::uint16_t default_port() const override { return nts::kKePort; }
  Result<LoadReport> run(const CommonOptions& options, const LoadTarget& target,
                         Progress& progress) override;

 private:
  std::optional<double> rate(const LoadTarget& target) const;
  std::size_t connections(bool open_loop) const;
  KeWorkerPlan plan(std::size_t index, std::size_t threads, std::optional<double> rate,
                    SteadyTime start) const;
  std::string summarize(const CommonOptions& options, std::optional<double> rate) const;
  LoadReport make_report(const KeTally& tally) const;

  KeOptions options_;
};

std::string_view KeCommand::description() const {
  return "Makes full TLS 1.3 handshakes, each with one NTS-KE request and its response, on a new "
         "connection each time, without resumption; the response is checked against RFC 8915.\n\n"
         "Without --rate the loop is closed: --connections exchanges are always under way, and the "
         "next begins when one ends. This finds how many the server can do, but its latency is "
         "flattering: while the server stalls, nothing is asked of it. With --rate the loop is "
         "open: the times at which exchanges begin are fixed in advance, and latency is counted "
         "from those times, also when a connection was not to be had then. This is the latency "
         "that clients see.\n\n"
         "After a failure in a closed loop a connection waits 10 ms.";
}

void KeCommand::add_options(CLI::App& app) {
  app.add_option("--connections", options_.connections,
                 "Closed loop: exchanges always under way, 16 unless given. Open loop: at most so "
                 "many at a time, 1000 unless given; later arrivals wait, and their latency counts")
      ->check(CLI::Range(1, 50000))
      ->type_name("N");
  app.add_option("--rate", options_.rate,
                 "Open loop: begin so many exchanges a second. At a server that is not on this "
                 "machine 100 unless --connections is given")
      ->check(CLI::Range(0.01, 1e6))
      ->type_name("R");
  app.add_option("--close", options_.farewell,
                 "How a connection ends: notify (close_notify, as it should), abrupt (reset) or "
                 "keep (left open until the server closes it)")
      ->check(CLI::IsMember(kFarewells))
      ->type_name("HOW")
      ->capture_default_str();
  app.add_option("--slow", options_.slow,
                 "Besides, so many connections that send their ClientHello at one octet a second, "
                 "again and again")
      ->check(CLI::Range(0, 50000))
      ->type_name("N");
}

Result<void> KeCommand::check(const CommonOptions& options) const {
  if (connections(options_.rate.has_value()) >= options.threads) return {};
  return fail("there are fewer --connections than --threads: give each thread one at least");
}

std::optional<double> KeCommand::rate(const LoadTarget& target) const {
  if (options_.rate || target.local || options_.connections) return options_.rate;
  return kForeignRate;
}

std::size_t KeCommand::connections(bool open_loop) const {
  return options_.connections.value_or(open_loop ? kOpenConnections : kClosedConnections);
}

KeWorkerPlan KeCommand::plan(std::size_t index, std::size_t threads, std::optional<double> rate,
                             SteadyTime start) const {
  KeWorkerPlan plan;
  plan.start = start;
  plan.connections = share_of(connections(rate.has_value()), index, threads);
  plan.slow = share_of(options_.slow, index, threads);
  plan.farewell = kFarewells.at(options_.farewell);
  if (rate) {
    const std::chrono::duration<double, std::nano> apart(1e9 / *rate);
    plan.spacing = apart * static_cast<double>(threads);
    plan.offset = apart * static_cast<double>(index);
  }
  return plan;
}

std::string KeCommand::summarize(const CommonOptions& options, std::optional<double> rate) const {
  const std::size_t most = connections(rate.has_value());
  std::string text = rate ? fmt::format("open loop, {} a second, at most {} at a time", *rate, most)
                          : fmt::format("closed loop, {} connections", most);
  if (options_.slow > 0) text += fmt::format(", {} slow ones besides", options_.slow);
  return text +
         fmt::format("; {}; AEAD {}; certificate {}verified; close {}",
                     options.threads == 1 ? "1 thread" : fmt::format("{} threads", options.threads),
                     fmt::join(options.ke.request.aeads, ","), options.ke.verify ? "" : "not ",
                     options_.farewell);
}

LoadReport KeCommand::make_report(const KeTally& tally) const {
  LoadReport report;
  report.started = tally.started;
  report.done = tally.latency.count();
  for (std::size_t i = 1; i < kKeOutcomes; ++i) {
    const auto outcome = static_cast<KeOutcome>(i);
    const KeOutcomeRow& row = outcome_row(outcome);
    report.counts.push_back(
        {row.name, row.meaning, tally.outcomes[i], outcome != KeOutcome::kLocal});
    if (!tally.first_details[i].empty())
      report.notes.push_back(
          fmt::format("first {}: {}", row.name, printable(tally.first_details[i])));
  }
  report.counts.push_back(
      {"overdue", "given up: no connection was free within the timeout", tally.overdue, true});
  if (options_.slow > 0)
    report.counts.push_back(
        {"slow_ended", "slow connections that the server ended", tally.slow_ended, false});
  report.histograms.push_back(
      {"latency", "from when it should have begun to the whole response", tally.latency});
  report.histograms.push_back({"handshake", "TCP and TLS", tally.handshake});
  return report;
}

Result<LoadReport> KeCommand::run(const CommonOptions& options, const LoadTarget& target,
                                  Progress& progress) {
  const std::optional<double> rate = this->rate(target);
  CpuMeter meter(options.server_pid, options.server_also);
  if (const auto there = meter.begin(); !there) return tl::unexpected(there.error());
  std::vector<std::unique_ptr<KeTls>> tls;
  for (unsigned i = 0; i < options.threads; ++i) {
    auto made = KeTls::make(options.ke, target);
    if (!made) return tl::unexpected(made.error());
    tls.push_back(std::move(*made));
  }
  const SteadyTime start = std::chrono::steady_clock::now() + kSettle;
  const SteadyTime begin = start + options.warm_up;
  Timeline timeline({begin, begin + options.duration});
  std::latch metered(1);
  std::vector<std::unique_ptr<KeWorker>> workers;
  std::vector<std::future<void>> threads;
  for (unsigned i = 0; i < options.threads; ++i) {
    workers.push_back(std::make_unique<KeWorker>(plan(i, options.threads, rate, start),
                                                 std::move(tls[i]), timeline));
    threads.push_back(std::async(std::launch::async, [&metered, &worker = *workers.back()] {
      worker.run();
      metered.wait();
    }));
  }
  const auto watched = watch(timeline, meter, progress);
  metered.count_down();
  const auto tally = std::make_unique<KeTally>();
  for (unsigned i = 0; i < options.threads; ++i) {
    threads[i].get();
    tally->merge(workers[i]->tally());
  }
  if (!watched) return tl::unexpected(watched.error());
  LoadReport report = make_report(*tally);
  report.summary = summarize(options, rate);
  report.seconds = timeline.window().seconds();
  report.timeline = timeline.finish();
  meter.fill(report);
  return report;
}

}  // namespace

std::unique_ptr<LoadCommand> make_ke_command() {
  return std::make_unique<KeCommand>();
}

}  // namespace timeball::bench
