#include "server/snapshot.h"

namespace timeball::server {

Snapshot take_snapshot(const MetricSources& sources) {
  Snapshot snapshot;
  if (sources.process) snapshot.process = sources.process();
  if (sources.shards) snapshot.shards = sources.shards();
  if (sources.nts_ke) snapshot.nts_ke = sources.nts_ke();
  if (sources.keys) snapshot.keys = sources.keys();
  if (sources.certificates) snapshot.certificates = sources.certificates();
  if (sources.clock) snapshot.clock = sources.clock();
  if (sources.rack) snapshot.rack = sources.rack();
  if (sources.recent) snapshot.recent = sources.recent();
  return snapshot;
}

}  // namespace timeball::server
