#include "server/access_policy.h"

#include <algorithm>
#include <utility>

namespace timeball::server {

AccessPolicy::AccessPolicy(std::vector<net::IpPrefix> allow, std::vector<net::IpPrefix> deny)
    : allow_(std::move(allow)), deny_(std::move(deny)) {}

bool AccessPolicy::allows(const net::IpAddress& client) const {
  if (deny_.contains(client)) return false;
  return allow_.empty() || allow_.contains(client);
}

AccessPolicy::PrefixSet::PrefixSet(std::vector<net::IpPrefix> prefixes) {
  // Sorted by address, then shorter first: whatever lies inside a prefix comes right after it.
  std::sort(prefixes.begin(), prefixes.end());
  for (const net::IpPrefix& p : prefixes) {
    if (prefixes_.empty() || !prefixes_.back().contains(p.address)) prefixes_.push_back(p);
  }
}

bool AccessPolicy::PrefixSet::contains(const net::IpAddress& address) const {
  const auto after = std::upper_bound(
      prefixes_.begin(), prefixes_.end(), address,
      [](const net::IpAddress& a, const net::IpPrefix& p) { return a < p.address; });
  return after != prefixes_.begin() && std::prev(after)->contains(address);
}

}  // namespace timeball::server
