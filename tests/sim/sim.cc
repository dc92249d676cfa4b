// Runs worlds: seeds x scenarios, and says whether the promise held, by what margin, and how fast
// what had to be noticed was. Exit status 1 when a world failed. tests/run --sim-full is the whole
// matrix.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <boost/json.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/sim/kept_worlds.h"
#include "tests/sim/scenarios.h"

namespace timeball::refclock::sim {
namespace {

struct Options {
  std::uint64_t first_seed = 10'001;  // 1..1000 are for tuning
  std::uint64_t seeds = 2;
  double days = 30;
  unsigned jobs = 1;
  std::vector<std::string> only;
  std::string json;
  std::string keep;
  bool walks = false;
  bool lies = false;
  bool list = false;
};

// Smallest first; what was not observed is absent.
class Values {
 public:
  void add(std::optional<double> v) {
    if (v) values_.push_back(*v);
  }
  void add(double v) { values_.push_back(v); }
  bool empty() const { return values_.empty(); }
  std::size_t size() const { return values_.size(); }
  double quantile(double q) {
    std::ranges::sort(values_);
    const auto rank = static_cast<std::size_t>(q * static_cast<double>(values_.size()));
    return values_[std::min(rank, values_.size() - 1)];
  }

 private:
  std::vector<double> values_;
};

struct Summary {
  Scenario scenario;
  std::uint64_t worlds = 0;
  std::uint64_t failed = 0;
  std::uint64_t checks = 0;
  std::uint64_t violations = 0;
  std::uint64_t served_s = 0;
  double wall_s = 0;
  LogHistogram ratio, locked_bound, locked_error;
  std::array<Values, 3> hold_bound, hold_error;
  std::array<std::uint64_t, 3> hold_served{};
  Values lock, alarm, stop, readmitted, unnoticed;
};

// Why the world failed; empty when it did not.
std::string failure(const Scenario& s, const WorldResult& r) {
  const std::uint64_t violations = s.within_contract ? r.violations : r.violations_after_alarm;
  if (violations != 0) return std::to_string(violations) + " violations";
  if (!r.locked_after_s) return "never locked";
  if (s.alarm && !r.alarm_after_s) return "no alarm " + std::string(name_of(*s.alarm));
  if (s.must_stop && !r.stopped_after_s) return "went on serving";
  if (r.ratio.count() == 0) return "never served";
  if (s.within_contract && r.alarms_early.without(r.alarms).any()) return "early alarm";
  return {};
}

void add(Summary& sum, const FinishedWorld& world, bool failed) {
  const WorldResult& r = world.result;
  ++sum.worlds;
  sum.failed += failed;
  sum.checks += r.checks;
  sum.violations += r.violations;
  sum.served_s += r.served_s;
  sum.wall_s += world.wall_s;
  sum.ratio.add(r.ratio);
  sum.locked_bound.add(r.locked_bound);
  sum.locked_error.add(r.locked_error);
  for (std::size_t i = 0; i < 3; ++i) {
    if (!r.holdover[i]) continue;
    sum.hold_bound[i].add(r.holdover[i]->bound_ns);
    sum.hold_error[i].add(r.holdover[i]->error_ns);
    sum.hold_served[i] += r.holdover[i]->served;
  }
  sum.lock.add(r.locked_after_s);
  sum.alarm.add(r.alarm_after_s);
  sum.stop.add(r.stopped_after_s);
  sum.readmitted.add(r.readmitted_after_s);
  if (sum.scenario.alarm) sum.unnoticed.add(r.worst_error_before_alarm_ns);
}

// Runs `count` jobs on so many threads.
void spread(unsigned threads, std::size_t count, const std::function<void(std::size_t)>& job) {
  std::atomic<std::size_t> next{0};
  std::vector<std::jthread> pool;
  for (unsigned i = 0; i < std::max(1U, threads); ++i) {
    pool.emplace_back([&] {
      for (std::size_t n = next++; n < count; n = next++) job(n);
    });
  }
}

FinishedWorld timed_world(const Scenario& scenario, std::uint64_t seed, double days) {
  WorldOptions options;
  options.seed = seed;
  options.days = days;
  const auto begin = std::chrono::steady_clock::now();
  FinishedWorld world{run_world(scenario, options)};
  world.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return world;
}

// A world's seed and scenario are in its own line; how long it goes on is the same for all.
std::string made_with(const Options& options) {
  std::ostringstream line;
  line << "sim: finished worlds of " << options.days << " days";
  return line.str();
}

std::vector<Summary> run_matrix(const Options& options, const std::vector<Scenario>& matrix) {
  std::vector<Summary> sums(matrix.size());
  for (std::size_t i = 0; i < matrix.size(); ++i) sums[i].scenario = matrix[i];
  std::optional<KeptWorlds> kept;
  if (!options.keep.empty()) kept.emplace(options.keep, made_with(options));
  std::mutex mutex;
  spread(options.jobs, matrix.size() * options.seeds, [&](std::size_t n) {
    const Scenario& scenario = matrix[n % matrix.size()];
    if (n / matrix.size() % scenario.one_in != 0) return;
    const std::uint64_t seed = options.first_seed + n / matrix.size();
    const FinishedWorld* found = kept ? kept->find(scenario.name, seed) : nullptr;
    const FinishedWorld world = found ? *found : timed_world(scenario, seed, options.days);
    const std::string why = failure(scenario, world.result);
    const std::lock_guard lock(mutex);
    if (kept && !found) kept->append(scenario.name, seed, world);
    add(sums[n % matrix.size()], world, !why.empty());
    if (why.empty()) return;
    std::printf("FAILED %.*s seed %llu: %s, first at %.1f s, at worst %.0f ns too much\n",
                static_cast<int>(scenario.name.size()), scenario.name.data(),
                static_cast<unsigned long long>(seed), why.c_str(), world.result.first_violation_s,
                world.result.worst_excess_ns);
    std::fflush(stdout);
  });
  return sums;
}

std::string span(Values& values, double unit = 1) {
  if (values.empty()) return "-";
  char text[64];
  std::snprintf(text, sizeof text, "%.3g / %.3g", values.quantile(0.5) / unit,
                values.quantile(1) / unit);
  return text;
}

void print(std::vector<Summary>& sums) {
  std::printf("\n%-20s %6s %6s %10s | %-13s | %-15s %-13s | %-13s | %-15s %-15s %-13s | %-13s %s\n",
              "scenario", "worlds", "failed", "violations", "bound/error", "LOCKED bound ns",
              "error ns", "lock s", "alarm s", "stopped s", "GNSS back s", "unnoticed ns",
              "wall s");
  std::printf("%-20s %6s %6s %10s | %-13s | %-15s %-13s | median / max ...\n", "", "", "", "",
              "median / min", "median / max", "median / max");
  for (Summary& s : sums) {
    std::printf(
        "%-20.*s %6llu %6llu %10llu | %5.1f / %5.2f | %6.0f / %6.0f %5.0f / %5.0f | %-13s | %-15s "
        "%-15s %-13s | %-13s %.1f\n",
        static_cast<int>(s.scenario.name.size()), s.scenario.name.data(),
        static_cast<unsigned long long>(s.worlds), static_cast<unsigned long long>(s.failed),
        static_cast<unsigned long long>(s.violations), s.ratio.quantile(0.5), s.ratio.min(),
        s.locked_bound.quantile(0.5), s.locked_bound.max(), s.locked_error.quantile(0.5),
        s.locked_error.max(), span(s.lock).c_str(), span(s.alarm).c_str(), span(s.stop).c_str(),
        span(s.readmitted).c_str(), span(s.unnoticed).c_str(),
        s.wall_s / static_cast<double>(std::max<std::uint64_t>(1, s.worlds)));
  }
}

constexpr std::array<double, 3> kHours{1, 24, 168};

void print_holdover(std::vector<Summary>& sums) {
  std::printf(
      "\nHoldover, us, median / max over worlds; chrony: its 1 ppm x the time since; RFC 5905: 15 "
      "ppm x it\n");
  std::printf("%-20s %6s %-16s %-18s %8s %10s %10s\n", "scenario", "after", "bound", "error",
              "served", "chrony", "RFC 5905");
  for (Summary& s : sums) {
    for (std::size_t i = 0; i < 3; ++i) {
      if (s.hold_bound[i].empty()) continue;
      std::printf("%-20.*s %5.0fh %-16s %-18s %4llu/%-4zu %10.0f %10.0f\n",
                  static_cast<int>(s.scenario.name.size()), s.scenario.name.data(), kHours[i],
                  span(s.hold_bound[i], 1e3).c_str(), span(s.hold_error[i], 1e3).c_str(),
                  static_cast<unsigned long long>(s.hold_served[i]), s.hold_bound[i].size(),
                  kHours[i] * 3600, kHours[i] * 3600 * 15);
    }
  }
}

boost::json::value json_of(Values& v) {
  if (v.empty()) return nullptr;
  return boost::json::object{
      {"median", v.quantile(0.5)}, {"max", v.quantile(1)}, {"count", v.size()}};
}
boost::json::object json_of(const LogHistogram& h) {
  return {{"median", h.quantile(0.5)}, {"min", h.min()}, {"max", h.max()}, {"count", h.count()}};
}

boost::json::object json_of(Summary& s) {
  boost::json::object holdover;
  for (std::size_t i = 0; i < 3; ++i) {
    if (s.hold_bound[i].empty()) continue;
    holdover[std::to_string(static_cast<int>(kHours[i])) + "h"] =
        boost::json::object{{"bound_ns", json_of(s.hold_bound[i])},
                            {"error_ns", json_of(s.hold_error[i])},
                            {"served", s.hold_served[i]}};
  }
  return {{"scenario", s.scenario.name},
          {"within_contract", s.scenario.within_contract},
          {"worlds", s.worlds},
          {"failed", s.failed},
          {"checks", s.checks},
          {"violations", s.violations},
          {"bound_over_error", json_of(s.ratio)},
          {"locked_bound_ns", json_of(s.locked_bound)},
          {"locked_error_ns", json_of(s.locked_error)},
          {"holdover", holdover},
          {"locked_after_s", json_of(s.lock)},
          {"alarm_after_s", json_of(s.alarm)},
          {"stopped_after_s", json_of(s.stop)},
          {"gnss_readmitted_after_s", json_of(s.readmitted)},
          {"error_before_alarm_ns", json_of(s.unnoticed)}};
}

// Four digits of what is not whole: more say nothing.
void write_value(std::ostream& out, const boost::json::value& value) {
  if (const double* const number = value.if_double()) {
    std::array<char, 32> text;
    std::snprintf(text.data(), text.size(), std::abs(*number) < 1e4 ? "%.4g" : "%.0f", *number);
    out << text.data();
  } else if (const boost::json::object* const object = value.if_object()) {
    const char* before = "{";
    for (const auto& member : *object) {
      out << before << boost::json::value(member.key()) << ": ";
      write_value(out, member.value());
      before = ", ";
    }
    out << (object->empty() ? "{}" : "}");
  } else {
    out << value;
  }
}

// One scenario a line, so that a diff shows what changed.
void write_json(const Options& options, const boost::json::array& rows) {
  std::ofstream out(options.json);
  out << "{\"first_seed\": " << options.first_seed << ", \"seeds\": " << options.seeds
      << ", \"days\": " << options.days << ", \"scenarios\": [\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    write_value(out, rows[i]);
    out << (i + 1 < rows.size() ? ",\n" : "\n");
  }
  out << "]}\n";
}

// The estimator is told half of one limit, and the world goes to the whole: the promise must break,
// or else the checks, or the worlds, are worth nothing.
int run_lies(const Options& options) {
  struct Lie {
    const char* what;
    double& (*limit)(ClockContract&);
    Stamps stamps = Stamps::kPhc;
  };
  const std::vector<Lie> lies{
      {"gnss.fixed_ns", [](ClockContract& c) -> double& { return c.gnss.fixed_ns; }},
      {"gnss.variable_ns", [](ClockContract& c) -> double& { return c.gnss.variable_ns; }},
      {"host.drift_per_s", [](ClockContract& c) -> double& { return c.host.drift_per_s; }},
      {"rubidium.step", [](ClockContract& c) -> double& { return c.rubidium.step; }},
      {"gnss_stamp.latency_ns", [](ClockContract& c) -> double& { return c.gnss_stamp.latency_ns; },
       Stamps::kIrq},
      {"rubidium_stamp.latency_ns",
       [](ClockContract& c) -> double& { return c.rubidium_stamp.latency_ns; }, Stamps::kIrq},
  };
  int failed = 0;
  std::printf("%-32s %10s %10s %s\n", "half of", "violations", "excess ns",
              "alarms of contradiction");
  for (const Lie& lie : lies) {
    std::uint64_t violations = 0;
    std::uint64_t alarmed = 0;
    double excess = 0;
    for (std::uint64_t i = 0; i < options.seeds; ++i) {
      Scenario scenario;
      scenario.stamps = lie.stamps;
      scenario.adverse = true;
      scenario.push = std::string_view(lie.what).starts_with("rubidium.");
      scenario.has_rubidium = std::string_view(lie.what).starts_with("rubidium");
      scenario.outage_h = scenario.has_rubidium ? 48 : 0.25;
      WorldOptions world;
      world.seed = options.first_seed + i;
      world.days = 8;
      ClockContract told;
      told.gnss_stamp = told.rubidium_stamp =
          lie.stamps == Stamps::kPhc ? StampContract::phc() : StampContract::irq();
      lie.limit(told) /= 2;
      world.claimed = told;
      const WorldResult result = run_world(scenario, world);
      violations += result.violations;
      excess = std::max(excess, result.worst_excess_ns);
      alarmed += result.alarms.has(Alarm::kPhaseStep) || result.alarms.has(Alarm::kPhaseSlope) ||
                 result.alarms.has(Alarm::kRubidiumJumped) || result.alarms.has(Alarm::kHostClock);
    }
    failed += violations == 0;
    std::printf("%-32s %10llu %10.0f %llu of %llu worlds%s\n", lie.what,
                static_cast<unsigned long long>(violations), excess,
                static_cast<unsigned long long>(alarmed),
                static_cast<unsigned long long>(options.seeds),
                violations == 0 ? "  NOT NOTICED" : "");
  }
  return failed == 0 ? 0 : 1;
}

// What cannot be seen: GNSS walks so slowly that it may as well be the rubidium.
void run_walks(const Options& options) {
  std::printf("%-10s %-22s %-26s %-24s\n", "walk", "noticed (of worlds)", "after h, median / max",
              "error then, us, med / max");
  for (const double rate :
       {1e-12, 1e-11, 2e-11, 4e-11, 6e-11, 8e-11, 1e-10, 2e-10, 5e-10, 1e-9, 1e-8}) {
    Scenario scenario;
    scenario.spoof_walk_ns_per_s = rate * 1e9;
    scenario.alarm = Alarm::kPhaseSlope;
    Values after;
    Values error;
    for (std::uint64_t i = 0; i < options.seeds; ++i) {
      WorldOptions world;
      world.seed = options.first_seed + i;
      world.days = 13;
      const WorldResult result = run_world(scenario, world);
      after.add(result.alarm_after_s);
      error.add(result.worst_error_before_alarm_ns);
    }
    std::printf("%-10.0e %4zu of %-14llu %-26s %-24s\n", rate, after.size(),
                static_cast<unsigned long long>(options.seeds), span(after, 3600).c_str(),
                span(error, 1e3).c_str());
  }
}

Options parse(int argc, char** argv) {
  Options o;
  CLI::App app{
      "Worlds in virtual time that drive the real discipline; exit status 1 when one fails."};
  app.add_option("--first-seed", o.first_seed, "seeds from here (1..1000 are for tuning)");
  app.add_option("--seeds", o.seeds, "so many seeds for each scenario");
  app.add_option("--days", o.days, "virtual days of each world");
  app.add_option("--jobs", o.jobs, "threads");
  app.add_option("--scenario", o.only, "only these");
  app.add_option("--json", o.json, "write the figures there as well");
  app.add_option(
      "--keep", o.keep,
      "append finished worlds there, and take those that are there from it: a run that was "
      "broken off goes on (with a program whose worlds are the same)");
  app.add_flag("--walks", o.walks,
               "GNSS that walks slowly: when noticed, and how wrong until then");
  app.add_flag("--lies", o.lies, "an estimator that was told half a limit must be found out");
  app.add_flag("--list", o.list, "the scenarios' names");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    std::exit(app.exit(e));
  }
  return o;
}

int run(const Options& options) {
  std::vector<Scenario> matrix = scenarios();
  if (!options.only.empty()) {
    std::erase_if(matrix, [&](const Scenario& s) {
      return std::ranges::find(options.only, s.name) == options.only.end();
    });
    if (matrix.empty()) {
      std::fprintf(stderr, "sim: no such scenario; --list names them\n");
      return 2;
    }
  }
  if (options.list) {
    for (const Scenario& s : matrix) std::cout << s.name << '\n';
    return 0;
  }
  if (options.lies) return run_lies(options);
  if (options.walks) return run_walks(options), 0;
  std::vector<Summary> sums = run_matrix(options, matrix);
  print(sums);
  print_holdover(sums);
  std::uint64_t worlds = 0;
  std::uint64_t failed = 0;
  boost::json::array rows;
  for (Summary& s : sums) {
    worlds += s.worlds;
    failed += s.failed;
    rows.push_back(json_of(s));
  }
  if (!options.json.empty()) write_json(options, rows);
  std::printf("\n%llu worlds, %llu failed\n", static_cast<unsigned long long>(worlds),
              static_cast<unsigned long long>(failed));
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace timeball::refclock::sim

int main(int argc, char** argv) {
  try {
    return timeball::refclock::sim::run(timeball::refclock::sim::parse(argc, argv));
  } catch (const std::runtime_error& e) {
    std::fprintf(stderr, "sim: %s\n", e.what());
    return 2;
  }
}
