// A PRS10: its serial line, the latches of its status bits, its warm-up and its 1PPS loop with the
// manual's gains. What the manual leaves open is marked "assumed".
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "refclock/rubidium/prs10.h"
#include "refclock/sim/rubidium_model.h"

namespace timeball::refclock::sim {

// The loop's gains for PT 0..14 and PF 0..4 (manual, page 17).
struct Prs10Gains {
  double integrator_s;           // tau1 = 2^(PT+8)
  double integral_per_s_per_ns;  // of SF, for 1 ns of phase in after out
  double proportional_per_ns;
  double natural_s;  // sqrt(1000 tau1)
};
Prs10Gains prs10_gains(unsigned pt, unsigned pf);

class Prs10Model : public RubidiumModel {
 public:
  struct Options {
    Duration warm_up = std::chrono::seconds(330);  // until the frequency lock loop closes
    // EEPROM: in force after power-up.
    bool loop = true;             // PL
    unsigned pt = 8;              // PT
    unsigned pf = 2;              // PF
    bool prefilter = true;        // LM1
    bool pp_moves_later = false;  // the other reading of what the manual says of PP
  };
  explicit Prs10Model(const Options& options);

  // It cannot take more octets for so long: XOFF now, XON then.
  void hold_off(Duration how_long);
  unsigned stores() const override { return eeprom_writes_; }
  bool loop_active() const { return loop_ == Loop::kActive; }

 private:
  enum class Loop : std::uint8_t { kDisabled, kAcquiring, kActive };

  void powered_up() override;
  void octet_in(char octet) override;
  void time_passed() override;
  void tagged(double in_after_out_ns) override;
  double steering() const override;

  void command(std::string_view text);
  std::optional<std::string> answer(std::string_view name, std::string_view argument);
  void set(std::string_view name, std::string_view argument);
  bool apply(std::string_view name, int value);
  std::string take_status();
  rubidium::prs10::Status current() const;
  void latch();
  void start_loop(bool enabled);
  void acquire(double tag_ns);
  void follow(double tag_ns);

  Options eeprom_, live_;
  unsigned eeprom_writes_ = 0;
  bool verbose_ = false;
  std::string line_;
  rubidium::prs10::Status latched_;
  std::optional<SimTime> xon_at_;

  int sf_ = 0;
  Loop loop_ = Loop::kDisabled;
  unsigned good_ = 0, bad_ = 0;
  double first_tag_ns_ = 0, last_good_ns_ = 0;
  double integrator_ = 0, filtered_ns_ = 0;  // SF steps; ns
  std::optional<double> tag_ns_;             // not yet asked for
  std::optional<SimTime> last_pulse_;
};

}  // namespace timeball::refclock::sim
