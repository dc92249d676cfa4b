// An SA.22c (or X99): echo, prompt, hexadecimal numbers, the 1PPS loop's states and its holdover.
// What the manual pages leave open is marked "assumed".
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "refclock/rubidium/sa22c.h"
#include "refclock/sim/rubidium_model.h"

namespace timeball::refclock::sim {

class Sa22cModel : public RubidiumModel {
 public:
  struct Options {
    Duration warm_up = std::chrono::seconds(300);
    unsigned baud = 57600;
    bool decimal = false;  // as the X99 writes numbers
    double time_constant_s = 400;
    double damping = 1;
  };
  explicit Sa22cModel(const Options& options);

  bool lock_pin() const;  // asserted when good: the line, with g2 the pulse too
  unsigned stores() const override { return stores_; }
  unsigned state() const { return state_; }

 private:
  void powered_up() override;
  void octet_in(char octet) override;
  void time_passed() override;
  void tagged(double in_after_out_ns) override;
  double steering() const override { return frequency_ + dds_; }

  void immediate(char letter);
  void with_argument(std::string_view text);
  std::string number(std::int64_t value) const;
  std::string info() const;
  std::string health() const;
  unsigned control_register() const;
  bool pulse_present() const;
  void discipline(double phase_s);
  void hold_over();
  void prompt() { send("\r\nr>"); }

  Options options_;
  unsigned stores_ = 0;
  std::string argument_;  // of a command that ends in CR; empty between commands
  double frequency_ = 0;  // f
  double dds_ = 0;        // the loop's
  double integrator_ = 0;
  unsigned mode_ = 0;    // g
  unsigned state_ = 0;   // 1ppsState
  unsigned pulses_ = 0;  // since the loop began
  double in_after_out_ns_ = 0;
  double predicted_ns_ = 0;
  std::optional<SimTime> last_pulse_, saved_at_;
  std::deque<double> saved_dds_;  // one a minute, the newest last
};

}  // namespace timeball::refclock::sim
