#include "server/history.h"

#include <algorithm>
#include <iterator>
#include <numeric>

#include "common/time/ntp_timestamp.h"

namespace timeball::server {
namespace {

// Refused before TLS, or made to give way, because there is too much to do. Not who alone took too
// many places (kRefusedAddress).
constexpr KeOutcome kTurnedAway[] = {KeOutcome::kEvicted, KeOutcome::kRefusedTotal,
                                     KeOutcome::kRefusedRate, KeOutcome::kRefusedAddressRate,
                                     KeOutcome::kRefusedWait};

// As Prometheus's histogram_quantile: even inside a bucket; the outermost ones have one bound only.
template <class Bounds, class Counts>
double quantile(double q, const Bounds& bounds, const Counts& counts, double total) {
  const auto bound_s = [&](std::size_t i) {
    return std::chrono::duration<double>(std::chrono::nanoseconds(bounds[i])).count();
  };
  double below = 0;
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    const auto here = static_cast<double>(counts[i]);
    if (here > 0 && below + here >= q * total) {
      if (i == 0) return bound_s(0);
      return bound_s(i - 1) + (bound_s(i) - bound_s(i - 1)) * (q * total - below) / here;
    }
    below += here;
  }
  return bound_s(bounds.size() - 1);
}

template <class Bounds, class Counts>
std::optional<Quantiles> quantiles(const Bounds& bounds, const Counts& newer, const Counts& older) {
  Counts counts{};
  std::ranges::transform(newer, older, counts.begin(), std::minus());
  const auto total =
      static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}));
  if (total == 0) return std::nullopt;
  return Quantiles{quantile(0.5, bounds, counts, total), quantile(0.99, bounds, counts, total)};
}

}  // namespace

History::Totals History::totals(const Snapshot& snapshot, MonotonicTime now) {
  Totals sum;
  sum.at = now;
  for (const ShardCounters* shard : snapshot.shards) {
    for (const Counter& verdict : shard->verdicts) sum.requests += verdict.value();
    sum.nts += shard->verdicts[static_cast<std::size_t>(Verdict::kAnsweredNts)].value();
    sum.replies_refused += shard->sends_refused.value();
    for (std::size_t i = 0; i < sum.t3_to_wire.size(); ++i) {
      sum.t3_to_wire[i] += shard->t3_to_wire.counts[i].value();
    }
  }
  if (snapshot.nts_ke) {
    sum.handshake = snapshot.nts_ke->handshakes.counts;
    sum.handshakes = std::accumulate(sum.handshake.begin(), sum.handshake.end(), std::uint64_t{0});
    for (const KeOutcome outcome : kTurnedAway) {
      sum.ke_turned_away += snapshot.nts_ke->outcomes[static_cast<std::size_t>(outcome)];
    }
  }
  return sum;
}

const History::Totals& History::before_newest(Duration age) const {
  return *std::find_if(totals_.rbegin(), std::prev(totals_.rend()),
                       [&](const Totals& t) { return totals_.back().at - t.at >= age; });
}

double History::per_second(const Totals& since, std::uint64_t Totals::*of) const {
  const double elapsed_s = std::chrono::duration<double>(totals_.back().at - since.at).count();
  return elapsed_s > 0 ? static_cast<double>(totals_.back().*of - since.*of) / elapsed_s : 0;
}

void History::add(const Snapshot& snapshot, MonotonicTime now) {
  totals_.push_back(totals(snapshot, now));
  while (now - totals_.front().at > kWindow) totals_.pop_front();
  if (now < point_due_ || !snapshot.clock) return;
  point_due_ = std::max(point_due_ + kStep, now + kStep / 2);
  const Totals& before = before_newest(kStep);
  const std::optional<UtcTime> utc = utc_of(snapshot);
  const KernelTime kernel = snapshot.clock->now;
  Point point;
  point.t_s = (utc ? utc->ns : kernel.ns) / kNsPerSecond;
  point.error_bound = error_bound_of(snapshot);
  if (utc) point.offset = Duration(utc->ns - kernel.ns);
  point.requests_per_s = per_second(before, &Totals::requests);
  point.handshakes_per_s = per_second(before, &Totals::handshakes);
  if (snapshot.rack) point.state = snapshot.rack->clock.state;
  points_.push_back(point);
  if (points_.size() > kPoints) points_.pop_front();
}

Recent History::recent() const {
  const Totals& newest = totals_.back();
  const Totals& oldest = totals_.front();
  const Totals& before = before_newest(kRate);
  Recent recent;
  recent.requests_per_s = per_second(before, &Totals::requests);
  recent.nts_per_s = per_second(before, &Totals::nts);
  recent.handshakes_per_s = per_second(before, &Totals::handshakes);
  recent.ke_turned_away = newest.ke_turned_away - oldest.ke_turned_away;
  recent.replies_refused = newest.replies_refused - oldest.replies_refused;
  recent.t3_to_wire = quantiles(T3ToWire::kBounds_ns, newest.t3_to_wire, oldest.t3_to_wire);
  recent.handshake = quantiles(KeHandshakeTimes::kBounds, newest.handshake, oldest.handshake);
  return recent;
}

}  // namespace timeball::server
