// What a load run found, as plain values: the load loops fill it in, the report writers (text,
// JSON, HTML) show it. One thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/histogram.h"

namespace timeball::bench {

// One kind of event. `meaning` is for people, `name` for machines: snake_case, never renamed.
struct NamedCount {
  std::string_view name;
  std::string_view meaning;
  std::uint64_t count = 0;
  bool failure = false;  // the server, or the path to it, did something wrong
};

struct NamedHistogram {
  std::string_view name;
  std::string_view meaning;
  Histogram values;
};

// One interval of the run, a second or less.
struct TimelinePoint {
  double seconds = 0;  // from the start to the end of the interval
  double sent_per_second = 0;
  double done_per_second = 0;
  double loss = 0;  // share of those that ended in the interval, 0..1
  Duration p50{};
  Duration p99{};
};

struct RampStep {
  double rate = 0;  // asked for, per second
  double sent_per_second = 0;
  double done_per_second = 0;
  double loss = 0;  // 0..1
  Duration p50{};
  Duration p99{};
};

struct LoadReport {
  std::string mode;     // "ke" or "ntp"
  std::string target;   // "127.0.0.1:4460"
  std::string summary;  // one line: what was asked of it
  double seconds = 0;   // the measured part
  std::uint64_t started = 0;
  std::uint64_t done = 0;  // exchanges that ended as they should
  std::vector<NamedCount> counts;
  std::vector<NamedHistogram> histograms;  // the first is the latency that limits apply to
  std::vector<TimelinePoint> timeline;
  std::vector<RampStep> ramp;
  std::optional<double> loss_free_rate;    // of a ramp, per second
  std::optional<double> server_cpu_us;     // per exchange done; all of its threads
  std::optional<double> server_cpu_share;  // of one CPU, while it ran
  double client_cpu_us = 0;                // per exchange done
  double client_cpu_share = 0;             // of one CPU
  std::vector<std::string> notes;          // what a reader must know to trust the figures
  std::vector<std::string> limits_passed;  // stated limits that the run broke, a sentence each

  double rate() const { return seconds > 0 ? static_cast<double>(done) / seconds : 0; }
  double loss() const {
    const auto begun = static_cast<double>(started);
    return started > 0 ? (begun - static_cast<double>(done)) / begun : 0;
  }
};

}  // namespace timeball::bench
