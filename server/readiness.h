// Whether clients should be sent here: what /readyz says, for an anycast route or a load balancer.
//
// Ready: nothing that clients suffer from is raised (AlarmKind::unfit: the time is not
// synchronised, there is no master key, a certificate has expired), and the error bound is below
// admin.ready_bound. Alarms that clients do not feel, a lost receiver or a cluster's poisoned keys,
// say nothing here: what hits every server at once must not withdraw them all.
//
// Slow to change. Unready only after kPatience of it: a leap second makes every server
// unsynchronised for some seconds, and says so to clients itself. Ready again only after
// kProbation, so that routes do not flap; at the start at once.
//
// Pure; control thread.
#pragma once

#include <optional>
#include <string>

#include "common/time/time_scales.h"
#include "server/snapshot.h"

namespace timeball::server {

// One line; empty: nothing is wrong.
std::string why_unfit(const Snapshot& snapshot, Duration bound);

class Readiness {
 public:
  // why: as why_unfit() says, about once a second.
  void update(std::string why, MonotonicTime now);
  // Why not; empty: ready.
  const std::string& why_not() const { return why_not_; }

  static constexpr Duration kPatience = std::chrono::seconds(10);
  static constexpr Duration kProbation = std::chrono::seconds(30);

 private:
  std::string why_not_ = "it has just started";
  bool started_ = false;                  // was ready once
  std::optional<MonotonicTime> differs_;  // so long it has been otherwise
};

}  // namespace timeball::server
