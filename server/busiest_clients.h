// Who asks most: the clients that sent one shard the most requests in a minute, in a table of fixed
// size.
//
// Space-Saving (Metwally, Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements,
// 2005) in sets of kWays. A client that its set does not know takes the place of the one with the
// fewest requests there, and its count goes on from there: a count is never too low, and too high
// by `over` at most. Source addresses can be forged: these are what the packets say.
//
// Two tables, for minutes of the monotonic clock in turn. What is shown is the last whole minute,
// which nobody writes any more.
//
// Thread rules: count() from one thread (the shard), the rest from any. No allocation after the
// constructor. Pure: time is an argument.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "common/base/seqlock.h"
#include "common/net/address.h"
#include "common/time/time_scales.h"

namespace timeball::server {

struct BusyClient {
  net::IpAddress address;
  std::int64_t minute = -1;    // in which it was counted
  std::uint32_t requests = 0;  // whatever became of them
  std::uint32_t over = 0;      // so many of them at most were another's
  std::uint32_t nts = 0;       // answered with NTS, at least
};

class BusiestClients {
 public:
  // hash_key: random, so that nobody can choose addresses that push each other out.
  BusiestClients(std::size_t clients, std::uint64_t hash_key);

  void count(const net::IpAddress& client, bool nts, MonotonicTime now);
  // Of the last whole minute, in no order.
  std::vector<BusyClient> last_minute(MonotonicTime now) const;

 private:
  static constexpr std::size_t kWays = 8;
  static constexpr std::size_t kSpare = 4;  // entries for each client that is to be shown

  struct Place : Seqlock<BusyClient> {
    Place() : Seqlock(BusyClient{}) {}
  };
  using Table = std::vector<Place>;
  std::uint64_t hash_key_;
  std::array<Table, 2> tables_;  // by the minute's parity
};

// Of several shards together, the busiest first, at most so many.
std::vector<BusyClient> busiest(const std::vector<std::vector<BusyClient>>& shards,
                                std::size_t most);

}  // namespace timeball::server
