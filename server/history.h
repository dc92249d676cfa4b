// What totals cannot tell: how many a second, what was refused lately, and the course of the last
// hours.
//
// Pure; the control thread owns it. Bounded: one entry of totals a second for five minutes, one
// point each ten seconds for six hours; 0.3 MB.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>

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

  struct Point {
    std::int64_t t_s = 0;  // UTC, or what the kernel's clock says while that is not known
    std::optional<Duration> error_bound;
    std::optional<Duration> offset;  // UTC - the kernel's clock
    double requests_per_s = 0;       // since the point before
    double handshakes_per_s = 0;
    std::optional<refclock::State> state;
  };
  const std::deque<Point>& points() const { return points_; }  // oldest first

  static constexpr Duration kStep = std::chrono::seconds(10);
  static constexpr std::size_t kPoints = 6 * 360;
  static constexpr Duration kRate = std::chrono::seconds(5);
  static constexpr Duration kWindow = std::chrono::minutes(5);

 private:
  struct Totals {
    MonotonicTime at;
    std::uint64_t requests = 0, nts = 0, handshakes = 0, ke_turned_away = 0, replies_refused = 0;
    std::array<std::uint64_t, T3ToWire::kBounds_ns.size() + 1> t3_to_wire{};
    std::array<std::uint64_t, KeHandshakeTimes::kBounds.size() + 1> handshake{};
  };
  // The youngest that is so much older than the newest, or else the oldest.
  const Totals& before_newest(Duration age) const;
  double per_second(const Totals& since, std::uint64_t Totals::*of) const;
  static Totals totals(const Snapshot& snapshot, MonotonicTime now);

  std::deque<Totals> totals_;  // oldest first
  std::deque<Point> points_;
  MonotonicTime point_due_;
};

}  // namespace timeball::server
