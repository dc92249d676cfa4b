// What totals cannot tell: how many a second, and what was refused lately.
//
// Pure; the control thread owns it. Bounded: one entry of totals a second, for five minutes.
#pragma once

#include <array>
#include <cstdint>
#include <deque>

#include "common/time/time_scales.h"
#include "server/snapshot.h"

namespace timeball::server {

class History {
 public:
  // start: when every total was 0.
  explicit History(MonotonicTime start) : totals_{Totals{.at = start}} {}
  // About once a second.
  void add(const Snapshot& snapshot, MonotonicTime now);
  // Rates over the last kRate, all else over the last kWindow, or since the start.
  Recent recent() const;

  static constexpr Duration kRate = std::chrono::seconds(5);
  static constexpr Duration kWindow = std::chrono::minutes(5);

 private:
  struct Totals {
    MonotonicTime at;
    std::uint64_t requests = 0, nts = 0, handshakes = 0, ke_turned_away = 0, replies_refused = 0;
    std::array<std::uint64_t, T3ToWire::kBounds_ns.size() + 1> t3_to_wire{};
    std::array<std::uint64_t, KeHandshakeTimes::kBounds.size() + 1> handshake{};
  };
  static Totals totals(const Snapshot& snapshot, MonotonicTime now);

  std::deque<Totals> totals_;  // oldest first
};

}  // namespace timeball::server
