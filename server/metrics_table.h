// What the tables of metrics are made of. Private to metrics*.cc.
#pragma once

#include <prometheus/metric_family.h>

#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/metrics.h"

namespace timeball::server {

using prometheus::ClientMetric;
using prometheus::MetricType;
using Series = std::vector<ClientMetric>;

struct Metric {
  std::string_view name;
  MetricType type;
  std::string_view labels;
  std::string_view help;
  // Adds nothing when the snapshot has no source for it.
  void (*fill)(const Snapshot& snapshot, Series& series);
};

inline double seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

// For all types but histograms: the serializer prints the member that the family's type names.
inline void add(Series& series, double value, std::vector<ClientMetric::Label> labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.counter.value = value;
  metric.gauge.value = value;
  series.push_back(std::move(metric));
}

// One more count than bounds; the last bucket has none.
template <class Bounds, class Counts>
void add_histogram(Series& series, const Bounds& bounds, const Counts& counts,
                   std::chrono::nanoseconds sum) {
  ClientMetric metric;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    metric.histogram.sample_count += counts[i];
    const double bound = i < bounds.size() ? seconds(std::chrono::nanoseconds(bounds[i]))
                                           : std::numeric_limits<double>::infinity();
    metric.histogram.bucket.push_back({metric.histogram.sample_count, bound});
  }
  metric.histogram.sample_sum = seconds(sum);
  series.push_back(std::move(metric));
}

// One value of a sample that may be missing.
template <auto Snapshot::*sample, auto value>
void one(const Snapshot& snapshot, Series& series) {
  if (snapshot.*sample) add(series, static_cast<double>(value(*(snapshot.*sample))));
}

constexpr auto kCounter = MetricType::Counter;
constexpr auto kGauge = MetricType::Gauge;
constexpr auto kHistogram = MetricType::Histogram;

// Of a rack's reference clocks.
std::vector<Metric> rack_metrics();

}  // namespace timeball::server
