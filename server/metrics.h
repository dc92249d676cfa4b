// What Prometheus is told: one table of metrics, each with its type, labels, help and source.
//
// Thread rules: collecting calls the sources, on the thread that scrapes (control).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/time/clock_state.h"
#include "common/time/time_scales.h"
#include "refclock/refclock.h"
#include "server/certificate_store.h"
#include "server/ke_service.h"
#include "server/master_key_store.h"
#include "server/process_usage.h"
#include "server/shard.h"

namespace prometheus {
class Collectable;
}

namespace timeball::server {

struct KeSample {
  std::array<std::uint64_t, kKeOutcomes> outcomes{};  // by KeOutcome
  KeHandshakeTimes handshakes;
  unsigned open_connections = 0;
};

struct KeysSample {
  MasterKeyStatus status;
  MonotonicTime now;
};

struct ClockSample {
  ClockState state;
  KernelTime now;
};

// Where the numbers come from, called at each scrape. An empty source: its metrics are left out.
struct MetricSources {
  std::function<std::vector<const ShardCounters*>()> shards;
  std::function<KeSample()> nts_ke;
  std::function<KeysSample()> keys;
  std::function<CertificatesStatus()> certificates;
  std::function<ClockSample()> clock;
  std::function<refclock::RackStatus()> rack;
  std::function<ProcessUsage()> process;
};

std::shared_ptr<prometheus::Collectable> make_metrics(MetricSources sources);
// The manual's table, in Markdown.
std::string metrics_manual();

}  // namespace timeball::server
