// What the three simulated rubidium oscillators have in common: a clock with a pulse in and a pulse
// out, and a serial port with the faults of one. Virtual time only; nothing here draws a random
// number: the free-running phase is an argument.
//
// Call advance() to a time, then whatever happens at that time. One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"
#include "common/time/time_scales.h"

namespace timeball::refclock::sim {

using SimTime = TimePoint<struct SimScale>;  // true time

class RubidiumModel {
 public:
  virtual ~RubidiumModel() = default;

  // Phase in seconds, ahead positive: the second comes early. `free_phase_s` is that of the
  // atomic line with nobody steering, at `now`; it may wander, but not wrap.
  void advance(SimTime now, double free_phase_s);
  void pulse_in();
  void write(Bytes octets);             // by the host
  std::vector<std::uint8_t> read();     // what has left by now
  std::optional<SimTime> next() const;  // when to read(); none while the port is silent

  // Of the pulse out, in [-0.5, 0.5): it comes so much before the true second.
  double phase_s() const;
  // What steering, warm-up and the loss of the line add to the free-running frequency now.
  double added_frequency() const { return steering() + (locked() ? 0 : kUnlockedFrequency); }
  // Writes to its memory that wears out.
  virtual unsigned stores() const = 0;
  bool locked() const { return now_ >= locks_at_ && now_ >= unlocked_until_; }

  // Power off and on: everything but the EEPROM is lost, the phase too.
  void power_cycle(double phase_s);
  void unlock(Duration how_long);  // the atomic line is lost
  void stall(Duration how_long);   // octets wait inside
  void deafen(Duration how_long);  // octets of the host are lost
  void noise(Bytes octets);        // on the line, in place of silence
  void set_temperature(double celsius) { temperature_c_ = celsius; }
  double temperature_c() const { return temperature_c_; }

 protected:
  // Frequency while the crystal is not held by the line (assumed: crystal oscillators are better).
  static constexpr double kUnlockedFrequency = 5e-9;

  RubidiumModel(unsigned baud, Duration warm_up)
      : octet_time_(10'000'000'000 / baud), warm_up_(warm_up) {}

  virtual void powered_up() = 0;
  virtual void octet_in(char octet) = 0;
  virtual void time_passed() = 0;
  // Nanoseconds of the model's own clock since its last pulse out, in [0, 1e9).
  virtual void tagged(double in_after_out_ns) = 0;
  virtual double steering() const = 0;

  void send(std::string_view text);
  void move_pulse(double earlier_s) { offset_s_ += earlier_s; }
  SimTime now() const { return now_; }
  Duration age() const { return now_ - powered_at_; }
  Duration warm_up() const { return warm_up_; }

 private:
  struct Octet {
    SimTime leaves;
    std::uint8_t value;
  };

  Duration octet_time_;
  Duration warm_up_;
  bool powered_ = false;
  SimTime now_, powered_at_, locks_at_, unlocked_until_, stalled_until_, deaf_until_;
  double free_phase_s_ = 0;
  double offset_s_ = 0;  // of everything that is not the free-running phase
  double temperature_c_ = 40;
  std::deque<Octet> out_;
};

}  // namespace timeball::refclock::sim
