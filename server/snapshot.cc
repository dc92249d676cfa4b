#include "server/snapshot.h"

namespace timeball::server {

Snapshot take_snapshot(const MetricSources& sources) {
  Snapshot snapshot;
  if (sources.process) snapshot.process = sources.process();
  if (sources.shards) snapshot.shards = sources.shards();
  if (sources.xdp) snapshot.xdp = sources.xdp();
  if (sources.nts_ke) snapshot.nts_ke = sources.nts_ke();
  if (sources.keys) snapshot.keys = sources.keys();
  if (sources.certificates) snapshot.certificates = sources.certificates();
  if (sources.clock) snapshot.clock = sources.clock();
  if (sources.rack) snapshot.rack = sources.rack();
  if (sources.recent) snapshot.recent = sources.recent();
  return snapshot;
}

std::optional<UtcTime> utc_of(const Snapshot& snapshot) {
  if (!snapshot.clock || snapshot.clock->now > snapshot.clock->state.void_after) {
    return std::nullopt;
  }
  const auto& [state, now] = *snapshot.clock;
  const bool known = state.synchronised() || (snapshot.rack && snapshot.rack->clock.bound);
  return known ? std::optional(state.utc(now)) : std::nullopt;
}

std::optional<Duration> error_bound_of(const Snapshot& snapshot) {
  if (!utc_of(snapshot)) return std::nullopt;
  if (!snapshot.clock->state.synchronised()) return snapshot.rack->clock.bound;
  return snapshot.clock->error_bound();
}

}  // namespace timeball::server
