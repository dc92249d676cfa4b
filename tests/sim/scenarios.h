// The matrix: what happens in the worlds that tests/sim makes. One row, one scenario.
#pragma once

#include <vector>

#include "refclock/sim/world.h"

namespace timeball::refclock::sim {

inline std::vector<Scenario> scenarios() {
  std::vector<Scenario> all;
  const auto add = [&](std::string_view name, auto&& set) {
    Scenario s;
    s.name = name;
    set(s);
    all.push_back(s);
  };
  const auto broken = [&](std::string_view name, Alarm alarm, auto&& set) {
    add(name, [&](Scenario& s) {
      s.within_contract = false;
      s.alarm = alarm;
      set(s);
    });
  };

  // Within the contract.
  add("cold-start", [](Scenario& s) { s.cold = true; });
  add("outage-1h", [](Scenario& s) { s.outage_h = 1; });
  add("outage-24h", [](Scenario& s) { s.outage_h = 24; });
  add("outage-7d", [](Scenario& s) { s.outage_h = 168; });
  add("outage-24h-ramp", [](Scenario& s) { s.outage_h = 24, s.ramp = true; });
  add("frequency-steps", [](Scenario& s) { s.outage_h = 24, s.frequency_steps = true; });
  add("hanging-bridges", [](Scenario& s) { s.outage_h = 1, s.hanging = true; });
  add("label-off-by-one", [](Scenario& s) { s.label_off_s = 1, s.alarm = Alarm::kLabelDisagrees; });
  add("week-rollover", [](Scenario& s) { s.rollover = true, s.alarm = Alarm::kWeekRollover; });
  add("receiver-reboots", [](Scenario& s) { s.reboot_every_h = 5; });
  add("rubidium-unlock", [](Scenario& s) {
    s.outage_h = 24, s.rubidium_unlock_h = 4;
    s.alarm = Alarm::kRubidiumUnlocked, s.must_stop = true;
  });
  add("leap-inserted", [](Scenario& s) { s.leap = 1; });
  add("leap-deleted", [](Scenario& s) { s.leap = -1; });
  add("leap-one-source",
      [](Scenario& s) { s.leap = 1, s.leap_in_file = false, s.alarm = Alarm::kLeapDisagreement; });
  add("jamming", [](Scenario& s) { s.jammed = true, s.alarm = Alarm::kJamming; });
  add("no-rubidium",
      [](Scenario& s) { s.has_rubidium = false, s.outage_h = 1, s.must_stop = true; });
  add("irq-outage-24h", [](Scenario& s) { s.stamps = Stamps::kIrq, s.outage_h = 24; });
  add("irq-latency-spikes",
      [](Scenario& s) { s.stamps = Stamps::kIrq, s.latency_spikes = true, s.outage_h = 24; });
  add("adverse", [](Scenario& s) { s.adverse = true, s.outage_h = 24; });
  add("adverse-7d", [](Scenario& s) { s.adverse = true, s.outage_h = 168; });
  add("adverse-push", [](Scenario& s) { s.push = true, s.outage_h = 24; });
  add("adverse-no-rubidium",
      [](Scenario& s) { s.adverse = true, s.has_rubidium = false, s.outage_h = 1; });
  add("irq-adverse",
      [](Scenario& s) { s.stamps = Stamps::kIrq, s.adverse = true, s.outage_h = 24; });

  // Outside of it.
  broken("spoof-step", Alarm::kPhaseStep, [](Scenario& s) { s.spoof_step_ns = 5000; });
  broken("jam-then-spoof", Alarm::kPhaseSlope,
         [](Scenario& s) { s.outage_h = 2, s.spoof_step_ns = 50'000; });
  broken("spoof-walk", Alarm::kPhaseSlope, [](Scenario& s) { s.spoof_walk_ns_per_s = 1; });
  broken("spoof-slow-walk", Alarm::kPhaseSlope, [](Scenario& s) { s.spoof_walk_ns_per_s = 0.1; });
  const std::size_t rare = all.size();
  broken("rubidium-frequency", Alarm::kPhaseSlope,
         [](Scenario& s) { s.rubidium_frequency = 10, s.must_stop = true; });
  broken("rubidium-frequency-unseen", Alarm::kPhaseSlope,
         [](Scenario& s) { s.outage_h = 4, s.rubidium_frequency = 1; });
  broken("rubidium-jump", Alarm::kRubidiumJumped, [](Scenario& s) { s.rubidium_phase_ns = 2000; });
  broken("rubidium-too-warm", Alarm::kRubidiumTemperature, [](Scenario& s) { s.too_warm_c = 6; });
  broken("host-crystal", Alarm::kHostClock,
         [](Scenario& s) { s.host_frequency = 2000, s.must_stop = true; });
  broken("late-stamps", Alarm::kPhaseStep,
         [](Scenario& s) { s.stamps = Stamps::kIrq, s.late_ns = 200'000; });
  broken("kernel-step", Alarm::kForeignSteering, [](Scenario& s) { s.kernel_step_ns = 1e6; });

  for (std::size_t i = rare; i < all.size(); ++i) all[i].one_in = 4;
  return all;
}

}  // namespace timeball::refclock::sim
