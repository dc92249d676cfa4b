#include "server/busiest_clients.h"

#include <algorithm>
#include <map>

#include "common/time/ntp_timestamp.h"
#include "server/address_hash.h"

namespace timeball::server {
namespace {

std::int64_t minute_of(MonotonicTime now) {
  return now.ns / (60 * kNsPerSecond);
}

}  // namespace

BusiestClients::BusiestClients(std::size_t clients, std::uint64_t hash_key) : hash_key_(hash_key) {
  const std::size_t sets = (clients * kSpare + kWays - 1) / kWays;
  for (Table& table : tables_) {
    table = Table(std::max<std::size_t>(sets, 1) * kWays);
  }
}

void BusiestClients::count(const net::IpAddress& client, bool nts, MonotonicTime now) {
  const std::int64_t minute = minute_of(now);
  Table& table = tables_[static_cast<std::size_t>(minute & 1)];
  const std::size_t first = hash(client, hash_key_) % (table.size() / kWays) * kWays;
  std::size_t place = first;
  BusyClient fewest;
  for (std::size_t i = first; i < first + kWays; ++i) {
    BusyClient entry = table[i].load();
    if (entry.minute != minute) entry = BusyClient{};  // of an older minute: free
    const bool found = entry.minute == minute && entry.address == client;
    if (i == first || found || entry.requests < fewest.requests) {
      place = i;
      fewest = entry;
    }
    if (found) break;
  }
  if (fewest.minute != minute || fewest.address != client) {
    fewest = {client, minute, fewest.requests, fewest.requests, 0};
  }
  ++fewest.requests;
  fewest.nts += nts ? 1 : 0;
  table[place].store(fewest);
}

std::vector<BusyClient> BusiestClients::last_minute(MonotonicTime now) const {
  const std::int64_t minute = minute_of(now) - 1;
  std::vector<BusyClient> all;
  for (const Place& entry : tables_[static_cast<std::size_t>(minute & 1)]) {
    const BusyClient client = entry.load();
    if (client.minute == minute) all.push_back(client);
  }
  return all;
}

std::vector<BusyClient> busiest(const std::vector<std::vector<BusyClient>>& shards,
                                std::size_t most) {
  std::map<std::array<std::uint8_t, 16>, BusyClient> sums;
  for (const auto& shard : shards) {
    for (const BusyClient& client : shard) {
      BusyClient& sum = sums.try_emplace(client.address.octets).first->second;
      sum.address = client.address;
      sum.minute = client.minute;
      sum.requests += client.requests;
      sum.over += client.over;
      sum.nts += client.nts;
    }
  }
  std::vector<BusyClient> all;
  for (const auto& [address, sum] : sums) all.push_back(sum);
  const auto end = all.begin() + static_cast<std::ptrdiff_t>(std::min(most, all.size()));
  std::partial_sort(all.begin(), end, all.end(), [](const BusyClient& a, const BusyClient& b) {
    return a.requests > b.requests;
  });
  all.erase(end, all.end());
  return all;
}

}  // namespace timeball::server
