// The metrics of a rack's reference clocks: the discipline's, and those of each device that is
// configured.
#include <algorithm>
#include <array>
#include <numeric>
#include <span>
#include <string>
#include <tuple>

#include "server/metrics_table.h"

namespace timeball::server {
namespace {

using refclock::RackStatus;

// ---- The discipline.

template <auto value>
constexpr auto kRack = &one<&Snapshot::rack, value>;

// A value that may not be known.
template <auto value>
void maybe(const Snapshot& snapshot, Series& series) {
  if (!snapshot.rack) return;
  if (const auto known = value(*snapshot.rack)) add(series, static_cast<double>(*known));
}

void state(const Snapshot& snapshot, Series& series) {
  if (!snapshot.rack) return;
  for (auto s = refclock::State::kCold; s <= refclock::State::kFreerun;
       s = static_cast<refclock::State>(static_cast<int>(s) + 1)) {
    add(series, s == snapshot.rack->clock.state ? 1 : 0, {{"state", std::string(name_of(s))}});
  }
}

void flags(const Snapshot& snapshot, Series& series) {
  if (!snapshot.rack) return;
  const refclock::RackClockStatus& clock = snapshot.rack->clock;
  add(series, clock.suspect, {{"flag", "suspect"}});
  add(series, clock.degraded, {{"flag", "degraded"}});
  add(series, clock.leap_unknown, {{"flag", "leap-unknown"}});
}

template <auto value>
void each_alarm(const Snapshot& snapshot, Series& series) {
  if (!snapshot.rack) return;
  for (std::size_t i = 0; i < refclock::kAlarmCount; ++i) {
    const auto alarm = static_cast<refclock::Alarm>(i);
    add(series, static_cast<double>(value(snapshot.rack->clock, alarm)),
        {{"alarm", std::string(name_of(alarm))}});
  }
}

std::optional<double> in_seconds(std::optional<Duration> duration) {
  if (!duration) return std::nullopt;
  return seconds(*duration);
}

// ---- The receiver.

template <auto value>
void condition(const Snapshot& snapshot, Series& series) {
  if (!snapshot.rack || !snapshot.rack->clock.gnss) return;
  const auto known = value(*snapshot.rack->clock.gnss);
  if (known) add(series, static_cast<double>(*known));
}

template <class Enum>
std::optional<int> number_of(Enum value) {
  return static_cast<int>(value);
}

void frames(const Snapshot& snapshot, Series& series) {
  if (!snapshot.rack || !snapshot.rack->gnss) return;
  const auto& counts = snapshot.rack->gnss->stream.frames;
  for (std::size_t i = 1; i < counts.size(); ++i) {
    const auto protocol = static_cast<refclock::gnss::Protocol>(i);
    add(series, static_cast<double>(counts[i]), {{"protocol", std::string(name(protocol))}});
  }
}

void refusals(const Snapshot& snapshot, Series& series) {
  if (!snapshot.rack || !snapshot.rack->gnss) return;
  const auto& counts = snapshot.rack->gnss->stream.refusals;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const auto why = static_cast<refclock::gnss::Why>(i);
    add(series, static_cast<double>(counts[i]), {{"why", std::string(name(why))}});
  }
}

void labels(const Snapshot& snapshot, Series& series) {
  if (!snapshot.rack) return;
  std::uint64_t trusted = 0, untrusted = 0;
  if (const auto& gnss = snapshot.rack->gnss) {
    trusted = gnss->labels_trusted, untrusted = gnss->labels_untrusted;
  } else if (const auto& gpsd = snapshot.rack->gpsd) {
    trusted = gpsd->labels_trusted, untrusted = gpsd->labels_untrusted;
  } else {
    return;
  }
  add(series, static_cast<double>(trusted), {{"trusted", "yes"}});
  add(series, static_cast<double>(untrusted), {{"trusted", "no"}});
}

template <auto member>
void of_gnss(const Snapshot& snapshot, Series& series) {
  if (snapshot.rack && snapshot.rack->gnss) {
    add(series, static_cast<double>((*snapshot.rack->gnss).*member));
  }
}

template <auto value>
void of_gpsd(const Snapshot& snapshot, Series& series) {
  if (snapshot.rack && snapshot.rack->gpsd) {
    add(series, static_cast<double>(value(*snapshot.rack->gpsd)));
  }
}

// ---- The sky.

const refclock::Sky* sky_of(const Snapshot& snapshot) {
  if (!snapshot.rack) return nullptr;
  if (snapshot.rack->gnss) return &snapshot.rack->gnss->sky;
  return snapshot.rack->gpsd ? &snapshot.rack->gpsd->sky : nullptr;
}

template <auto value>
void sky(const Snapshot& snapshot, Series& series) {
  const refclock::Sky* const sky = sky_of(snapshot);
  if (sky == nullptr) return;
  if (const auto known = value(*sky)) add(series, static_cast<double>(*known));
}

// Those that count, by system; of a system without satellites nothing is said.
template <auto counts>
void constellations(const Snapshot& snapshot, Series& series) {
  const refclock::Sky* const sky = sky_of(snapshot);
  if (sky == nullptr) return;
  std::array<std::optional<unsigned>, refclock::kConstellations> numbers;
  for (const refclock::Satellite& satellite : sky->satellites) {
    auto& number = numbers[static_cast<std::size_t>(satellite.system)];
    number = number.value_or(0) + (counts(satellite) ? 1 : 0);
  }
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (!numbers[i]) continue;
    const auto system = static_cast<refclock::Constellation>(i);
    add(series, *numbers[i], {{"constellation", std::string(name_of(system))}});
  }
}

// Of the satellites received.
template <auto fold>
std::optional<double> strength(const refclock::Sky& sky) {
  std::vector<double> strengths;
  for (const refclock::Satellite& satellite : sky.satellites) {
    if (satellite.cn0_dbhz) strengths.push_back(*satellite.cn0_dbhz);
  }
  if (strengths.empty()) return std::nullopt;
  return fold(strengths);
}

template <auto value>
std::optional<double> survey(const refclock::Sky& sky) {
  if (!sky.survey) return std::nullopt;
  return static_cast<double>(value(*sky.survey));
}

template <auto refclock::RadioBand::*member>
void bands(const Snapshot& snapshot, Series& series) {
  const refclock::Sky* const sky = sky_of(snapshot);
  if (sky == nullptr) return;
  for (std::size_t i = 0; i < sky->bands.size(); ++i) {
    add(series, static_cast<double>(sky->bands[i].*member), {{"band", std::to_string(i)}});
  }
}

void model(const Snapshot& snapshot, Series& series) {
  if (!snapshot.rack || !snapshot.rack->gnss || snapshot.rack->gnss->model.empty()) return;
  add(series, 1, {{"model", snapshot.rack->gnss->model}});
}

void leap_source(const Snapshot& snapshot, Series& series) {
  using Source = refclock::LeapNotice::Source;
  if (!snapshot.rack || !snapshot.rack->clock.leap) return;
  const Source source = snapshot.rack->clock.leap->source;
  add(series, source == Source::kFile, {{"source", "file"}});
  add(series, source == Source::kReceiver, {{"source", "receiver"}});
}

// ---- Serial lines.

template <std::uint64_t refclock::SerialCounts::*member>
void each_line(const Snapshot& snapshot, Series& series) {
  if (!snapshot.rack) return;
  const auto& [gnss, rubidium] = std::tie(snapshot.rack->gnss, snapshot.rack->rubidium);
  if (gnss) add(series, static_cast<double>(gnss->line.*member), {{"line", "gnss"}});
  if (rubidium) add(series, static_cast<double>(rubidium->line.*member), {{"line", "rubidium"}});
}

// ---- Pulses.

std::string input_of(const refclock::PulseStatus& pulse) {
  return pulse.input == refclock::PulseInput::kGnss ? "gnss" : "rubidium";
}

template <auto value>
void each_pulse(const Snapshot& snapshot, Series& series) {
  if (!snapshot.rack) return;
  for (const refclock::PulseStatus& pulse : snapshot.rack->pulses) {
    const std::optional<double> known = value(pulse);
    if (known) add(series, *known, {{"pulse", input_of(pulse)}});
  }
}

template <std::uint64_t refclock::PulseCounts::*member>
std::optional<double> count_of(const refclock::PulseStatus& pulse) {
  return static_cast<double>(pulse.counts.*member);
}

void pulse_ages(const Snapshot& snapshot, Series& series) {
  if (!snapshot.rack) return;
  for (const refclock::PulseStatus& pulse : snapshot.rack->pulses) {
    if (!pulse.last) continue;
    add(series, seconds(snapshot.rack->clock.at - *pulse.last), {{"pulse", input_of(pulse)}});
  }
}

// ---- The rubidium.

template <auto value>
void oscillator(const Snapshot& snapshot, Series& series) {
  if (!snapshot.rack || !snapshot.rack->clock.oscillator) return;
  const auto known = value(*snapshot.rack->clock.oscillator);
  if (known) add(series, static_cast<double>(*known));
}

void answering(const Snapshot& snapshot, Series& series) {
  if (snapshot.rack && snapshot.rack->rubidium) add(series, snapshot.rack->rubidium->answers);
}

void readings(const Snapshot& snapshot, Series& series) {
  if (!snapshot.rack || !snapshot.rack->rubidium) return;
  for (const auto& [name, value] : snapshot.rack->rubidium->readings) {
    add(series, value, {{"reading", std::string(name)}});
  }
}

template <std::uint64_t refclock::rubidium::LineCounts::*member>
void of_rubidium(const Snapshot& snapshot, Series& series) {
  if (snapshot.rack && snapshot.rack->rubidium) {
    add(series, static_cast<double>(snapshot.rack->rubidium->counts.*member));
  }
}

// ---- Other programs.

template <auto value>
void each_sample(const Snapshot& snapshot, Series& series) {
  if (!snapshot.rack) return;
  for (std::size_t i = 0; i < snapshot.rack->samples.size(); ++i) {
    const std::optional<double> known = value(snapshot.rack->samples[i]);
    if (known) add(series, *known, {{"source", std::to_string(i)}});
  }
}

using refclock::GnssCondition;
using refclock::GpsdStatus;
using refclock::OscillatorCondition;
using refclock::PulseCounts;
using refclock::PulseStatus;
using refclock::RadioBand;
using refclock::SampleStatus;
using refclock::Satellite;
using refclock::SerialCounts;
using refclock::Sky;
using refclock::SurveyIn;
using refclock::rubidium::LineCounts;

constexpr Metric kDiscipline[] = {
    {"timeball_refclock_state", kGauge, "state", "1 for the state that the reference clocks are in",
     &state},
    {"timeball_refclock_state_seconds", kGauge, "", "Time in that state",
     kRack<[](const RackStatus& s) { return seconds(s.clock.at - s.clock.state_since); }>},
    {"timeball_refclock_flag", kGauge, "flag",
     "1 while GNSS is excluded (suspect), the rubidium is out of use (degraded), no source of leap "
     "seconds is trusted (leap-unknown)",
     &flags},
    {"timeball_refclock_bound_seconds", kGauge, "",
     "How wrong the time served may be until the next second; missing: time is not known",
     &maybe<[](const RackStatus& s) { return in_seconds(s.clock.bound); }>},
    {"timeball_refclock_holdover_seconds", kGauge, "",
     "Time in HOLDOVER; missing in the other states",
     &maybe<[](const RackStatus& s) { return in_seconds(s.clock.holdover); }>},
    {"timeball_refclock_holdover_remaining_seconds", kGauge, "",
     "Until the bound passes holdover_limit, by how it has grown in this holdover; missing while "
     "it "
     "has hardly grown",
     &maybe<[](const RackStatus& s) { return in_seconds(s.clock.holdover_remaining); }>},
    {"timeball_refclock_alarms_total", kCounter, "alarm", "How often the alarm was raised",
     &each_alarm<[](const refclock::RackClockStatus& s, refclock::Alarm a) {
       return s.raised[static_cast<std::size_t>(a)];
     }>},
    {"timeball_leap_tai_minus_utc_seconds", kGauge, "", "TAI - UTC in force, as a source says",
     &maybe<[](const RackStatus& s) {
       return s.clock.leap ? s.clock.leap->tai_minus_utc_s : std::nullopt;
     }>},
    {"timeball_leap_announced", kGauge, "",
     "Leap second that a source announces: 0 none, 1 insert, 2 delete",
     &maybe<[](const RackStatus& s) {
       return s.clock.leap ? number_of(s.clock.leap->change) : std::nullopt;
     }>},
    {"timeball_kernel_clock_steered", kGauge, "",
     "1 while the kernel's clock is steered; 0: the clock helper has ended, or the kernel refuses",
     &maybe<[](const RackStatus& s) { return s.kernel_steered; }>},
    {"timeball_leap_source", kGauge, "source", "1 for where TAI - UTC is taken from", &leap_source},
    {"timeball_leap_file_expires_timestamp_seconds", kGauge, "",
     "When leap-seconds.list expires, in seconds since 1970",
     &maybe<[](const RackStatus& s) -> std::optional<double> {
       if (!s.clock.leap_file_expires) return std::nullopt;
       return static_cast<double>(s.clock.leap_file_expires->ns) * 1e-9;
     }>},
};

constexpr Metric kReceiver[] = {
    {"timeball_gnss_usable", kGauge, "", "1 while the receiver says that its fix is good for time",
     &condition<[](const GnssCondition& c) { return std::optional(c.usable); }>},
    {"timeball_gnss_satellites_used", kGauge, "", "Satellites in the fix",
     &condition<[](const GnssCondition& c) { return c.satellites_used; }>},
    {"timeball_gnss_satellites_in_view", kGauge, "", "Satellites received",
     &condition<[](const GnssCondition& c) { return c.satellites_in_view; }>},
    {"timeball_gnss_time_accuracy_seconds", kGauge, "", "The receiver's own estimate of its error",
     &condition<[](const GnssCondition& c) { return in_seconds(c.time_accuracy); }>},
    {"timeball_gnss_position_offset_meters", kGauge, "", "Distance from the position that is set",
     &condition<[](const GnssCondition& c) { return c.position_offset_m; }>},
    {"timeball_gnss_jamming", kGauge, "",
     "Jamming, as the receiver says: 0 unknown, 1 none, 2 warning, 3 critical",
     &condition<[](const GnssCondition& c) { return number_of(c.jamming); }>},
    {"timeball_gnss_jamming_indicator", kGauge, "", "Continuous-wave interference, 0 to 255",
     &condition<[](const GnssCondition& c) { return c.jamming_indicator; }>},
    {"timeball_gnss_spoofing", kGauge, "",
     "Spoofing, as the receiver says: 0 unknown, 1 none, 2 indicated, 3 affirmed",
     &condition<[](const GnssCondition& c) { return number_of(c.spoofing); }>},
    {"timeball_gnss_antenna", kGauge, "", "Antenna: 0 unknown, 1 good, 2 short, 3 open",
     &condition<[](const GnssCondition& c) { return number_of(c.antenna); }>},
    {"timeball_gnss_quantisation_error_seconds", kGauge, "",
     "What the receiver says its last pulse was off its own time",
     &maybe<[](const RackStatus& s) -> std::optional<double> {
       if (!s.clock.quantisation) return std::nullopt;
       return s.clock.quantisation->error_ps * 1e-12;
     }>},
    {"timeball_gnss_info", kGauge, "model", "Always 1; the label tells the receiver's model",
     &model},
    {"timeball_gnss_constellation_satellites_in_view", kGauge, "constellation",
     "Satellites that the receiver knows of, received or not",
     &constellations<[](const Satellite&) { return true; }>},
    {"timeball_gnss_constellation_satellites_used", kGauge, "constellation",
     "Satellites in the fix", &constellations<[](const Satellite& s) { return s.used; }>},
    {"timeball_gnss_cn0_mean_dbhz", kGauge, "", "C/N0 of the satellites received, their mean",
     &sky<&strength<[](const std::vector<double>& s) {
       return std::accumulate(s.begin(), s.end(), 0.0) / static_cast<double>(s.size());
     }>>},
    {"timeball_gnss_cn0_max_dbhz", kGauge, "", "C/N0 of the strongest satellite",
     &sky<&strength<[](const std::vector<double>& s) { return std::ranges::max(s); }>>},
    {"timeball_gnss_cn0_min_dbhz", kGauge, "", "C/N0 of the weakest satellite",
     &sky<&strength<[](const std::vector<double>& s) { return std::ranges::min(s); }>>},
    {"timeball_gnss_pdop", kGauge, "", "Dilution of precision of the position; lower is better",
     &sky<[](const Sky& s) { return s.pdop; }>},
    {"timeball_gnss_tdop", kGauge, "", "Dilution of precision of the time",
     &sky<[](const Sky& s) { return s.tdop; }>},
    {"timeball_gnss_survey_active", kGauge, "", "1 while the receiver surveys its position",
     &sky<&survey<[](const SurveyIn& s) { return s.active; }>>},
    {"timeball_gnss_survey_valid", kGauge, "", "1 once the survey has found it",
     &sky<&survey<[](const SurveyIn& s) { return s.valid; }>>},
    {"timeball_gnss_survey_seconds", kGauge, "", "How long it has surveyed",
     &sky<&survey<[](const SurveyIn& s) { return seconds(s.duration); }>>},
    {"timeball_gnss_survey_accuracy_meters", kGauge, "", "How good the surveyed position is",
     &sky<&survey<[](const SurveyIn& s) { return s.accuracy_m; }>>},
    {"timeball_gnss_agc_ratio", kGauge, "band",
     "Gain of the receiver's front end, 0 to 1: it falls when something strong comes in",
     &bands<&RadioBand::agc>},
    {"timeball_gnss_noise", kGauge, "band", "Noise level in the receiver's own units",
     &bands<&RadioBand::noise>},
    {"timeball_gnss_antenna_power", kGauge, "", "1 while the receiver feeds the antenna",
     &sky<[](const Sky& s) { return s.antenna_power; }>},
    {"timeball_gnss_labels_total", kCounter, "trusted",
     "Names of seconds, by whether every rule of validity held", &labels},
    {"timeball_gnss_frames_total", kCounter, "protocol", "Messages of the receiver", &frames},
    {"timeball_gnss_refusals_total", kCounter, "why", "What was no message, by why", &refusals},
    {"timeball_gnss_configured", kGauge, "", "1 while a u-blox receiver is set as needed",
     &of_gnss<&refclock::GnssStatus::configured>},
    {"timeball_gnss_configurations_total", kCounter, "", "How often it was set up",
     &of_gnss<&refclock::GnssStatus::configurations>},
    {"timeball_gpsd_reports_total", kCounter, "", "Reports of gpsd",
     &of_gpsd<[](const GpsdStatus& s) { return s.counts.reports; }>},
    {"timeball_gpsd_refused_total", kCounter, "", "Lines of gpsd that are no reports",
     &of_gpsd<[](const GpsdStatus& s) { return s.counts.refused; }>},
    {"timeball_gpsd_connected_total", kCounter, "", "Connections to gpsd",
     &of_gpsd<[](const GpsdStatus& s) { return s.counts.connected; }>},
    {"timeball_gpsd_connection_failures_total", kCounter, "", "Connections to gpsd that failed",
     &of_gpsd<[](const GpsdStatus& s) { return s.counts.connection_failures; }>},
    {"timeball_gpsd_lost_total", kCounter, "", "Connections to gpsd that were lost",
     &of_gpsd<[](const GpsdStatus& s) { return s.counts.lost; }>},
    {"timeball_gpsd_pulses_total", kCounter, "", "Stamps of the receiver's pulse taken from gpsd",
     &of_gpsd<[](const GpsdStatus& s) { return s.pulses; }>},
    {"timeball_gpsd_pulses_refused_total", kCounter, "",
     "Stamps left alone because the kernel's clock was stepped around them",
     &of_gpsd<[](const GpsdStatus& s) { return s.pulses_refused; }>},
};

constexpr Metric kDevices[] = {
    {"timeball_serial_received_bytes_total", kCounter, "line", "Octets from the device",
     &each_line<&SerialCounts::octets_received>},
    {"timeball_serial_sent_bytes_total", kCounter, "line", "Octets to the device",
     &each_line<&SerialCounts::octets_sent>},
    {"timeball_serial_unsent_bytes_total", kCounter, "line", "Octets that the device did not take",
     &each_line<&SerialCounts::octets_unsent>},
    {"timeball_serial_opened_total", kCounter, "line", "How often the line was opened",
     &each_line<&SerialCounts::opened>},
    {"timeball_serial_open_failures_total", kCounter, "line", "How often it could not be",
     &each_line<&SerialCounts::open_failures>},
    {"timeball_serial_lost_total", kCounter, "line", "How often it went while open",
     &each_line<&SerialCounts::lost>},
    {"timeball_serial_intruders_total", kCounter, "line", "Other processes that opened it too",
     &each_line<&SerialCounts::intruders>},

    {"timeball_pulses_total", kCounter, "pulse", "Pulses stamped",
     &each_pulse<&count_of<&PulseCounts::pulses>>},
    {"timeball_pulses_missed_total", kCounter, "pulse", "Gaps in the device's count of pulses",
     &each_pulse<&count_of<&PulseCounts::missed>>},
    {"timeball_pulse_timeouts_total", kCounter, "pulse", "Waits in which no pulse came",
     &each_pulse<&count_of<&PulseCounts::timeouts>>},
    {"timeball_pulses_stale_total", kCounter, "pulse", "Pulses of long ago, left alone",
     &each_pulse<&count_of<&PulseCounts::stale>>},
    {"timeball_pulses_wrong_edge_total", kCounter, "pulse", "Ends of pulses, left alone",
     &each_pulse<&count_of<&PulseCounts::wrong_edge>>},
    {"timeball_pulse_clock_steps_total", kCounter, "pulse",
     "Pulses left alone because the kernel's clock was stepped around them",
     &each_pulse<&count_of<&PulseCounts::clock_steps>>},
    {"timeball_pulse_open", kGauge, "pulse", "1 while the device is open",
     &each_pulse<[](const PulseStatus& p) { return std::optional<double>(p.open); }>},
    {"timeball_pulse_opened_total", kCounter, "pulse", "How often the device was opened",
     &each_pulse<[](const PulseStatus& p) { return std::optional<double>(p.opened); }>},
    {"timeball_pulse_open_failures_total", kCounter, "pulse", "How often it could not be",
     &each_pulse<[](const PulseStatus& p) { return std::optional<double>(p.open_failures); }>},
    {"timeball_pulse_lost_total", kCounter, "pulse", "How often the device went while open",
     &each_pulse<[](const PulseStatus& p) { return std::optional<double>(p.lost); }>},
    {"timeball_pulse_width_seconds", kGauge, "pulse", "From a pulse's beginning to its end",
     &each_pulse<[](const PulseStatus& p) { return in_seconds(p.width); }>},
    {"timeball_pulse_age_seconds", kGauge, "pulse", "Since the newest pulse", &pulse_ages},
    {"timeball_pulse_jitter_seconds", kGauge, "pulse",
     "How far its stamps scatter, root mean square over the last minute or so",
     &each_pulse<[](const PulseStatus& p) { return in_seconds(p.jitter); }>},

    {"timeball_rubidium_locked", kGauge, "", "1 while the oscillator is locked to its line",
     &oscillator<[](const OscillatorCondition& c) { return std::optional(c.locked); }>},
    {"timeball_rubidium_disciplined", kGauge, "",
     "1 while its own loop follows the receiver's pulse",
     &oscillator<[](const OscillatorCondition& c) { return std::optional(c.disciplined); }>},
    {"timeball_rubidium_answering", kGauge, "", "1 while it answers", &answering},
    {"timeball_rubidium_phase_seconds", kGauge, "",
     "The oscillator's own reading of the receiver's pulse after its own",
     &oscillator<[](const OscillatorCondition& c) { return in_seconds(c.phase); }>},
    {"timeball_rubidium_temperature_celsius", kGauge, "", "The oscillator's temperature",
     &oscillator<[](const OscillatorCondition& c) { return c.temperature_c; }>},
    {"timeball_rubidium_reading", kGauge, "reading",
     "What the oscillator says of itself; each name has its unit", &readings},
    {"timeball_rubidium_questions_total", kCounter, "", "Questions asked of the oscillator",
     &of_rubidium<&LineCounts::questions>},
    {"timeball_rubidium_answers_total", kCounter, "", "Answers",
     &of_rubidium<&LineCounts::answers>},
    {"timeball_rubidium_timeouts_total", kCounter, "", "Questions without an answer",
     &of_rubidium<&LineCounts::timeouts>},
    {"timeball_rubidium_resynchronisations_total", kCounter, "",
     "How often what it said had to be matched to the questions anew",
     &of_rubidium<&LineCounts::resynchronisations>},
    {"timeball_rubidium_refused_total", kCounter, "", "Commands that the oscillator refused",
     &of_rubidium<&LineCounts::refused>},
    {"timeball_rubidium_unexpected_total", kCounter, "", "Messages that answered no question",
     &of_rubidium<&LineCounts::unexpected>},
    {"timeball_rubidium_garbage_bytes_total", kCounter, "", "Octets that were no message",
     &of_rubidium<&LineCounts::garbage_octets>},
    {"timeball_rubidium_restarts_total", kCounter, "", "Restarts of the oscillator",
     &of_rubidium<&LineCounts::restarts>},

    {"timeball_samples_total", kCounter, "source", "Samples of time from another program",
     &each_sample<[](const SampleStatus& s) { return std::optional<double>(s.samples); }>},
    {"timeball_samples_refused_total", kCounter, "source", "What was no sample, or a pulse's",
     &each_sample<[](const SampleStatus& s) { return std::optional<double>(s.refused); }>},
    {"timeball_sample_offset_seconds", kGauge, "source",
     "The newest sample: UTC minus the kernel's clock",
     &each_sample<[](const SampleStatus& s) { return in_seconds(s.offset); }>},
};

}  // namespace

std::vector<Metric> rack_metrics() {
  std::vector<Metric> all;
  for (const std::span<const Metric> table :
       {std::span<const Metric>(kDiscipline), std::span<const Metric>(kReceiver),
        std::span<const Metric>(kDevices)}) {
    all.insert(all.end(), table.begin(), table.end());
  }
  return all;
}

}  // namespace timeball::server
