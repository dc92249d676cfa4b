// Who may be answered: allowed and denied prefixes, longest match not needed: deny wins over allow,
// an empty allow list means everybody. An immutable snapshot, replaced on reload. Pure; any thread.
#pragma once

#include <vector>

#include "common/net/address.h"

namespace timeball::server {

class AccessPolicy {
 public:
  AccessPolicy() = default;
  AccessPolicy(std::vector<net::IpPrefix> allow, std::vector<net::IpPrefix> deny);

  bool allows(const net::IpAddress& client) const;

 private:
  // Prefixes sorted and disjoint, so that one binary search decides.
  class PrefixSet {
   public:
    PrefixSet() = default;
    explicit PrefixSet(std::vector<net::IpPrefix> prefixes);
    bool contains(const net::IpAddress& address) const;
    bool empty() const { return prefixes_.empty(); }

   private:
    std::vector<net::IpPrefix> prefixes_;
  };

  PrefixSet allow_;
  PrefixSet deny_;
};

}  // namespace timeball::server
