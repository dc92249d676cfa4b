// What Prometheus is told: one table of metrics, each with its type, labels, help and source.
//
// Thread rules: collecting calls the sources, on the thread that scrapes (control).
#pragma once

#include <memory>
#include <string>

#include "server/snapshot.h"

namespace prometheus {
class Collectable;
}

namespace timeball::server {

// An empty source: its metrics are left out.
std::shared_ptr<prometheus::Collectable> make_metrics(MetricSources sources);
// A scrape, in Prometheus's text format.
std::string metrics_text(const prometheus::Collectable& metrics);
inline constexpr const char* kMetricsType = "text/plain; version=0.0.4; charset=utf-8";
// The manual's table, in Markdown.
std::string metrics_manual();

}  // namespace timeball::server
