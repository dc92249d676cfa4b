// The daemon's eye on itself: takes a snapshot once a second, keeps what a single one cannot tell,
// and says it all, to a scrape, a browser and the operator.
//
// Thread rules: the control thread makes it and calls everything. The sources and the configuration
// must outlive it.
#pragma once

#include <boost/json/object.hpp>
#include <memory>
#include <string>

#include "common/time/time_scales.h"
#include "server/admin_http.h"
#include "server/alarms.h"
#include "server/config.h"
#include "server/history.h"
#include "server/readiness.h"
#include "server/snapshot.h"

namespace prometheus {
class Collectable;
}

namespace timeball::server {

class Monitor {
 public:
  // config: the one in force, whatever it is then. start: when the counters began.
  Monitor(MetricSources sources, const Config& config, MonotonicTime start);

  // About once a second.
  void tick(MonotonicTime now);
  boost::json::object status() const;
  boost::json::object alarms() const;
  // Needs sources.clients.
  boost::json::object clients() const;
  // Everything that the administrator's HTTP server serves.
  HttpRoutes routes() const;

  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

 private:
  HttpReply ready() const;

  MetricSources sources_;
  const Config& config_;
  History history_;
  RaisedAlarms alarms_;
  Readiness readiness_;
  std::shared_ptr<prometheus::Collectable> metrics_;
};

}  // namespace timeball::server
