// A rack's devices joined: a timing receiver whose pulse goes to the host and into a rubidium, the
// rubidium's own pulse to the host, and both serial lines. What a host would see, and when.
//
// Pulses are stamped as an interrupt would stamp them: late by one fifth to the whole of
// `irq_latency`. What nobody is plugged into is lost.
//
// Virtual time, in argument: true time, which runs evenly and is UTC until a leap second. Call
// advance() to a time, then whatever happens at that time, then read what came of it. Pure, all
// randomness from one seed. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "refclock/sim/agenda.h"
#include "refclock/sim/leap_calendar.h"
#include "refclock/sim/receiver_unit.h"
#include "refclock/sim/rubidium_unit.h"

namespace timeball::refclock::sim {

struct RackOptions {
  ReceiverKind receiver = ReceiverKind::kUblox9;
  RubidiumKind rubidium = RubidiumKind::kPrs10;
  Duration warm_up = std::chrono::seconds(10);
  Duration irq_latency = std::chrono::microseconds(10);
  std::uint64_t seed = 1;
};

// Where the host's end of a wire goes.
enum class Port : std::uint8_t { kGnss, kRubidium, kGnssPulse, kRubidiumPulse };
inline constexpr std::array kPorts = {Port::kGnss, Port::kRubidium, Port::kGnssPulse,
                                      Port::kRubidiumPulse};

struct StampedEdge {
  Port port = Port::kGnssPulse;
  bool leading = true;
  SimTime stamp;
};

struct PortCounts {
  std::uint64_t sent = 0;      // octets of the device, or pulses
  std::uint64_t received = 0;  // octets of the host
};

class Rack {
 public:
  Rack(const RackOptions& options, SimTime start);

  SimTime now() const { return now_; }
  // When to advance, at the latest.
  SimTime next() const;
  void advance(SimTime now);

  void write(Port line, Bytes octets);
  std::vector<std::uint8_t> read(Port line);
  // Whose stamps have come, in order.
  std::vector<StampedEdge> take_edges();

  bool has(Port port) const;
  bool plugged(Port port) const { return has(port) && plugged_[index(port)]; }
  void plug(Port port, bool plugged) { plugged_[index(port)] = plugged; }
  // The host's crystal lost so much at once: every pulse comes later from now on.
  void jump(Duration later) { jumped_ += later; }
  const PortCounts& counts(Port port) const { return counts_[index(port)]; }

  // Nullptr: there is none.
  ReceiverUnit* receiver() { return receiver_.get(); }
  RubidiumUnit* rubidium() { return rubidium_.get(); }
  LeapCalendar& calendar() { return calendar_; }

 private:
  static constexpr std::size_t index(Port port) { return static_cast<std::size_t>(port); }

  void gnss_pulse(SimTime at);
  void add_pulse(Port port, SimTime leading, Duration width);
  void add_edge(Port port, bool leading, SimTime at);
  Duration latency();

  RackOptions options_;
  Random random_;
  Duration jumped_{};
  SimTime now_;
  Agenda agenda_;
  LeapCalendar calendar_;
  std::unique_ptr<ReceiverUnit> receiver_;
  std::unique_ptr<RubidiumUnit> rubidium_;
  std::array<bool, kPorts.size()> plugged_{true, true, true, true};
  std::array<PortCounts, kPorts.size()> counts_{};
  std::vector<StampedEdge> edges_;
};

}  // namespace timeball::refclock::sim
