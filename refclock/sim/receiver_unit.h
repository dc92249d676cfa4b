// A timing receiver in a rack: its pulse, and what its line says after it, second by second, with
// whatever its operator or an attacker does to it. Joins the pulse's noise (GnssReceiver) and the
// line's protocol (UbloxModel).
//
// Octets leave as fast as 115200 Bd allows, from 15 to 45 ms after the pulse on; what it answers to
// the host leaves at once, but not into the middle of something else. From sky to fix takes no
// time, as when warm; its time is confirmed five seconds later. After a reboot it is silent for two
// seconds and has a fix after ten.
//
// Pure: time comes from the agenda. Owned by a Rack. One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "refclock/sim/agenda.h"
#include "refclock/sim/gnss_receiver.h"
#include "refclock/sim/leap_calendar.h"
#include "refclock/sim/ublox_model.h"

namespace timeball::refclock::sim {

enum class ReceiverKind : std::uint8_t { kNone, kUblox9, kUblox8, kNmea };

// What is done to it.
struct ReceiverState {
  bool sky = true;
  bool jammed = false;
  bool suspects = false;  // says that it is spoofed
  Antenna antenna = Antenna::kOk;
  double moved_m = 0;   // upwards
  double spoof_ns = 0;  // its pulses are so late
  double walk_ns_per_s = 0;
  int label_error_s = 0;
  SimTime garbled_until;  // octets are noise, both ways
};

class ReceiverUnit {
 public:
  // Further off the pulse would be another second's.
  static constexpr double kMostSpoofNs = 4e8;

  // pulse: called at each. Pulses begin with the second after the next.
  ReceiverUnit(ReceiverKind kind, SimTime now, Random random, Agenda& agenda,
               const LeapCalendar& calendar, std::function<void(SimTime)> pulse);

  ReceiverState state;  // spoofing is in force from the next second on, the rest at once
  void set_sky(SimTime now, bool sky);
  void reboot(SimTime now);

  void write(SimTime now, Bytes octets);        // by the host
  std::vector<std::uint8_t> read(SimTime now);  // what has left by now
  std::optional<SimTime> next_octets() const;   // when to read
  bool fix(SimTime now) const { return state.sky && now >= fix_from_; }
  bool time_confirmed(SimTime now) const { return fix(now) && now >= confirmed_from_; }
  bool garbled(SimTime now) const { return now < state.garbled_until; }

 private:
  struct Chunk {
    SimTime leaves;
    std::vector<std::uint8_t> octets;
  };

  void prepare(SimTime second);
  void pulse(SimTime second, SimTime at);
  void speak(SimTime second, SimTime now);
  UbloxSky sky(SimTime second, SimTime now) const;
  void send(SimTime now, std::vector<std::uint8_t> octets);

  ReceiverKind kind_;
  Random random_;
  Agenda& agenda_;
  const LeapCalendar& calendar_;
  std::function<void(SimTime)> on_pulse_;
  GnssReceiver noise_;
  UbloxModel line_;
  SimTime silent_until_, fix_from_, confirmed_from_;
  std::deque<Chunk> out_;
};

}  // namespace timeball::refclock::sim
