#include "server/history.h"

#include <algorithm>
#include <iterator>
#include <numeric>

namespace timeball::server {
namespace {

// Refused before TLS, or made to give way.
constexpr KeOutcome kTurnedAway[] = {
    KeOutcome::kEvicted,     KeOutcome::kRefusedTotal,       KeOutcome::kRefusedAddress,
    KeOutcome::kRefusedRate, KeOutcome::kRefusedAddressRate, KeOutcome::kRefusedWait};

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

void History::add(const Snapshot& snapshot, MonotonicTime now) {
  totals_.push_back(totals(snapshot, now));
  while (now - totals_.front().at > kWindow) totals_.pop_front();
}

Recent History::recent() const {
  Recent recent;
  const Totals& newest = totals_.back();
  const Totals& oldest = totals_.front();
  // The youngest that is old enough, or else the oldest.
  const auto found = std::find_if(totals_.rbegin(), std::prev(totals_.rend()),
                                  [&](const Totals& t) { return newest.at - t.at >= kRate; });
  const double elapsed_s = std::chrono::duration<double>(newest.at - found->at).count();
  const auto rate = [&](std::uint64_t Totals::*of) {
    return elapsed_s > 0 ? static_cast<double>(newest.*of - *found.*of) / elapsed_s : 0;
  };
  recent.requests_per_s = rate(&Totals::requests);
  recent.nts_per_s = rate(&Totals::nts);
  recent.handshakes_per_s = rate(&Totals::handshakes);
  recent.ke_turned_away = newest.ke_turned_away - oldest.ke_turned_away;
  recent.replies_refused = newest.replies_refused - oldest.replies_refused;
  recent.t3_to_wire = quantiles(T3ToWire::kBounds_ns, newest.t3_to_wire, oldest.t3_to_wire);
  recent.handshake = quantiles(KeHandshakeTimes::kBounds, newest.handshake, oldest.handshake);
  return recent;
}

}  // namespace timeball::server
