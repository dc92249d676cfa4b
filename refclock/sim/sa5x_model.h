// A MAC SA5x: its C3 protocol with checksums and errors, its parameters, jam sync and a loop. The
// loop's gains are not published: one of second order with the time constant TauPps0 is assumed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "refclock/rubidium/sa5x.h"
#include "refclock/sim/rubidium_model.h"

namespace timeball::refclock::sim {

class Sa5xModel : public RubidiumModel {
 public:
  struct Options {
    Duration warm_up = std::chrono::seconds(300);
    // EEPROM: in force after power-up.
    bool disciplining = false;
    double tau_s = 600;               // TauPps0
    double phase_limit_ns = 100'000;  // PhaseLimit
    double threshold_ns = 20;         // DisciplineThresholdPps0
  };
  explicit Sa5xModel(const Options& options);

  unsigned stores() const override { return stores_; }
  bool disciplining() const { return values_.at("Disciplining") == 1; }

 private:
  void powered_up() override;
  void octet_in(char octet) override;
  void time_passed() override;
  void tagged(double in_after_out_ns) override;
  double steering() const override;

  void command(std::string_view text);
  void execute(std::string_view text, bool checked);
  void get(std::string_view name, bool checked);
  void set(std::string_view name, std::string_view value, bool checked);
  void reply(char kind, std::string_view text, bool checked);
  void refuse(unsigned error, bool checked);
  std::optional<std::string> value_of(std::string_view name) const;
  bool pulse_present() const;
  void jam_sync();
  void follow();

  std::map<std::string, double, std::less<>> stored_, values_;
  unsigned stores_ = 0;
  std::optional<std::string> line_;  // between the braces
  std::optional<SimTime> last_pulse_, jam_until_, good_since_;
  double phase_ns_ = 0;
  double integrator_ = 0, loop_ = 0;  // fractional frequency
  double last_correction_ = 0;
  double runtime_s_ = 0, locktime_s_ = 0;
  SimTime accounted_;
};

}  // namespace timeball::refclock::sim
