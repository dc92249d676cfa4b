// What we take for granted of the hardware: hard limits, in one place. The estimator's promise
// (true error <= bound) holds in every world that keeps within them; the simulator makes its worlds
// from the same constants and saturates them; a limit that is seen to be broken is an alarm.
//
// A limit is not a sigma. Where a datasheet gives a deviation, the limit is the stated multiple of
// it, and the simulator clamps there, so that the contract holds by construction.
//
// Units: phase in ns, time in s, frequency as a fraction (1e-9 is 1 ns a second). Values; any
// thread. Changed only with its source: figures that were shown were made with these.
#pragma once

namespace timeball::refclock {

// How an oscillator of mean frequency y may move. For any two times t and s = t + tau:
//   |y(t)| <= frequency_max
//   |y(s) - y(t)| <= wander + min(drift * tau, drift_range) + step * (1 + floor(tau /
//   step_interval))
// and on top of the phase that y makes, noise whose increment over tau stays within
//   phase_noise_ns + noise_rate * tau.
struct OscillatorLimits {
  double frequency_max = 0;
  double drift_per_s = 0;
  double drift_range = 0;
  double wander = 0;
  double step = 0;
  double step_interval_s = 86400;
  double phase_noise_ns = 0;
  double noise_rate = 0;
};

// A PRS10-class rubidium that is locked to its line, free-running.
struct RubidiumContract {
  // SF's whole range is +-2000e-12 (PRS10 manual); ageing 5e-9 in 20 years is beyond it, and then
  // the oscillator is due for service.
  double frequency_max = 2e-9;
  // 5e-11 a month (PRS10 datasheet).
  double drift_per_s = 5e-11 / (30 * 86400.0);
  double drift_range = 2e-9;
  // 1e-10 over 70 C (PRS10 datasheet), in a room that keeps its base plate within 5 C.
  double per_celsius = 1e-10 / 70;
  double temperature_range_c = 5;
  // Flicker floor 1e-12 (FE-5680A, LPRO, PRS10 measurements; time-nuts), twice that either way.
  double flicker_range = 4e-12;
  // Sudden steps: 1e-11 rms, one in twenty days (Wouters, time-nuts 2019). Three times that, and
  // never two in a day.
  double step = 3e-11;
  double step_interval_s = 86400;
  // White FM 2e-11 / sqrt(tau) (datasheet), six times: 1.2e-10 * sqrt(tau) lies under this line for
  // every tau, since (1.2e-10)^2 <= 4 * 4 ns * 1e-12.
  double phase_noise_ns = 4;
  double noise_rate = 1e-12;
  // Loss of lock is reported this late (ST? every 5 s, twice because bits latch), and until then
  // the crystal has left the line by no more than this (SC-cut in an oven, EFC held).
  double unlock_report_s = 10;
  double unlocked_frequency = 5e-9;

  constexpr OscillatorLimits limits() const {
    return {frequency_max,  drift_per_s,
            drift_range,    per_celsius * temperature_range_c + flicker_range,
            step,           step_interval_s,
            phase_noise_ns, noise_rate};
  }
};

// The host's crystal, as CLOCK_MONOTONIC_RAW shows it.
struct HostContract {
  // Crystal 50e-6 and the kernel's calibration of the counter, as much again.
  double frequency_max = 1e-4;
  // AT cut near room temperature: under 0.3e-6 per C; a chassis moves under 1 C a minute.
  double drift_per_s = 5e-9;
  // Over the chassis's range of temperature, 20 C.
  double drift_range = 6e-6;
  // Short term: 1e-9 at 1 s (TCXO and XO datasheets), twice that either way.
  double wander = 4e-9;
  // Granularity of reading it.
  double phase_noise_ns = 4;
  double noise_rate = 0;

  constexpr OscillatorLimits limits() const {
    return {frequency_max, drift_per_s, drift_range, wander, 0, 86400, phase_noise_ns, noise_rate};
  }
};

// The receiver's pulse against UTC, while it says that it is usable.
struct GnssContract {
  // Does not move: cable and receiver delay as calibrated, antenna position (1 m up is 3.3 ns),
  // and the constellation's UTC against UTC (ICD-GPS-200: 40 ns at two sigma).
  double fixed_ns = 100;
  // Moves: noise 5 ns rms (timing receivers: 5 to 20 ns), clamped at four sigma; ionosphere +-10
  // ns; multipath +-5 ns; what the sawtooth correction leaves (ps).
  double variable_ns = 40;
  // Without a valid TIM-TP: half a tick of the slowest clock (u-blox M8: 48 MHz).
  double sawtooth_ns = 10.5;
  // A label that its driver trusts, five seconds running, names the right second.
  int agreeing_seconds = 5;
};

// How a stamp may differ from the edge: late by 0..latency, and either way by the reading error
// that comes with each pulse (at most reading_error_ns).
struct StampContract {
  double latency_ns = 0;
  double reading_error_ns = 100;

  // External time stamps of a PTP clock: no latency; half the bracket of the cross-timestamp
  // (PTP_SYS_OFFSET_PRECISE, or the best of 25 EXTENDED readings).
  static constexpr StampContract phc() { return {0, 100}; }
  // Kernel PPS on an interrupt: 1..20 us late (serial DCD and GPIO, as measured by many); two clock
  // reads around a third.
  static constexpr StampContract irq() { return {20'000, 50}; }
};

// CLOCK_REALTIME against CLOCK_MONOTONIC_RAW: the same counter with two multipliers.
struct KernelContract {
  // adjtimex limits: 500e-6 frequency and as much slew.
  double frequency_max = 1e-3;
  // While nobody steers: the multiplier's rounding.
  double wander = 2e-9;
  double phase_noise_ns = 2;
  // Bracket of a pair of readings in the vDSO.
  double pair_error_ns = 60;

  // While we steer (clock.mode "system"): the kernel makes a frequency of two neighbouring
  // multipliers of some 23 bits, in turn, and changes over at timer ticks and wake-ups only. On an
  // idle host these are up to half a second apart (pulses and our own tick wake it): 1.8e-7 of
  // that.
  static constexpr KernelContract steered() {
    KernelContract contract;
    contract.phase_noise_ns = 90;
    return contract;
  }

  constexpr OscillatorLimits limits() const {
    return {frequency_max, 0, 0, wander, 0, 86400, phase_noise_ns, 0};
  }
};

struct ClockContract {
  RubidiumContract rubidium;
  HostContract host;
  GnssContract gnss;
  StampContract gnss_stamp;
  StampContract rubidium_stamp;
  KernelContract kernel;
  // A state is published at least this often; after it the state is void.
  double publish_interval_s = 2;
};

}  // namespace timeball::refclock
