#include "server/refclock_options.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

namespace timeball::server {
namespace {

using namespace std::chrono_literals;
namespace ubx = refclock::gnss::ubx;

// No receiver's date is before this program's.
constexpr UtcTime kPivot{1'793'491'200 * kNsPerSecond};  // 2026-11-01

// LOCKED below this, unless told otherwise: what the hardware allows (clock_contract.h).
constexpr auto kLockedWithPhc = 500ns;
constexpr auto kLockedBeyondLatency = 2us;
constexpr auto kLockedWithSamples = 1ms;
constexpr auto kLockedWhileSteered = 300ns;  // in addition

// WGS 84 to Earth-centred, Earth-fixed centimetres.
std::array<std::int32_t, 3> ecef_cm(const Position& p) {
  constexpr double kAxis_m = 6'378'137, kFlattening = 1 / 298.257223563;
  constexpr double kEccentricity2 = kFlattening * (2 - kFlattening);
  const double latitude = p.latitude_deg * std::numbers::pi / 180;
  const double longitude = p.longitude_deg * std::numbers::pi / 180;
  const double sine = std::sin(latitude);
  const double n = kAxis_m / std::sqrt(1 - kEccentricity2 * sine * sine);
  const double across = (n + p.height_m) * std::cos(latitude);
  const auto cm = [](double m) { return static_cast<std::int32_t>(std::lround(m * 100)); };
  return {cm(across * std::cos(longitude)), cm(across * std::sin(longitude)),
          cm((n * (1 - kEccentricity2) + p.height_m) * sine)};
}

refclock::GnssOptions gnss(const RefclockConfig& c) {
  refclock::GnssOptions options;
  options.device = c.device;
  options.baud = c.baud;
  options.configure = c.configure;
  options.settings.pulse.cable_delay_ns = static_cast<std::int16_t>(c.cable_delay.count());
  options.receiver.pivot = kPivot;
  options.receiver.nmea_settling = c.settling;
  if (c.position) {
    options.receiver.position = {c.position->latitude_deg, c.position->longitude_deg,
                                 c.position->height_m};
    options.settings.position = {.mode = ubx::TimeMode::Mode::kFixed,
                                 .ecef_cm = ecef_cm(*c.position),
                                 .accuracy_mm = 100,
                                 .survey_s = 0,
                                 .survey_limit_mm = 0};
  }
  return options;
}

refclock::PulseInput input_of(const RefclockConfig& c) {
  return c.pulse == "rubidium" ? refclock::PulseInput::kOscillator : refclock::PulseInput::kGnss;
}

refclock::PulseOptions pulse(const RefclockConfig& c) {
  using Kind = refclock::PulseOptions::Kind;
  return {.kind = c.driver == RefclockDriver::kPhc ? Kind::kPhc : Kind::kPps,
          .device = c.device,
          .input = input_of(c),
          .edge = c.clear_edge ? refclock::Edge::kClear : refclock::Edge::kAssert,
          .channel = c.channel,
          .pin = c.pin < 0 ? std::nullopt : std::optional(static_cast<unsigned>(c.pin))};
}

refclock::RubidiumOptions rubidium(const RefclockConfig& c) {
  using refclock::rubidium::Model;
  static const std::array<std::pair<std::string_view, Model>, 6> kModels{
      {{"prs10", Model::kPrs10},
       {"sa5x", Model::kSa5x},
       {"sa22c", Model::kSa22c},
       {"spectratime", Model::kSpectratime},
       {"mro50", Model::kMro50},
       {"fe5680a", Model::kFe5680a}}};
  refclock::RubidiumOptions options;
  options.device = c.device;
  options.baud = c.baud;
  if (c.self_disciplined) {
    options.oscillator.wiring = refclock::rubidium::Wiring::kSelfDisciplined;
  }
  options.oscillator.model =
      std::ranges::find(kModels, c.model, [](const auto& m) { return m.first; })->second;
  return options;
}

std::array<char, 4> reference_id(const std::string& text) {
  std::array<char, 4> id{};
  std::copy_n(text.begin(), std::min(text.size(), id.size()), id.begin());
  return id;
}

// How the receiver's pulse is stamped, and what may be promised of it.
void set_stamps(const RefclockConfig& c, refclock::DisciplineOptions& discipline) {
  const bool phc = c.driver == RefclockDriver::kPhc;
  refclock::StampContract stamp = refclock::StampContract::phc();
  if (!phc) stamp = {static_cast<double>(c.latency.count()), 50};
  if (input_of(c) == refclock::PulseInput::kOscillator) {
    discipline.contract.rubidium_stamp = stamp;
    return;
  }
  discipline.contract.gnss_stamp = stamp;
  discipline.locked_bound = phc ? kLockedWithPhc : c.latency + kLockedBeyondLatency;
}

refclock::SampleOptions sample(const RefclockConfig& c, std::size_t source) {
  refclock::SampleOptions options;
  options.source = static_cast<std::uint8_t>(source);
  if (c.driver == RefclockDriver::kShm) options.unit = c.unit;
  options.path = c.device;
  options.error = c.error_bound;
  return options;
}

void add(const RefclockConfig& c, refclock::RackOptions& rack) {
  switch (c.driver) {
    case RefclockDriver::kSystem:
      return;
    case RefclockDriver::kGnss:
      rack.gnss = gnss(c);
      return;
    case RefclockDriver::kGpsd:
      rack.gpsd = {{c.gpsd.at(0).address.to_string(), std::to_string(c.gpsd.at(0).port)}, false};
      return;
    case RefclockDriver::kPps:
    case RefclockDriver::kPhc:
      rack.pulses.push_back(pulse(c));
      return set_stamps(c, rack.discipline);
    case RefclockDriver::kRubidium:
      rack.rubidium = rubidium(c);
      rack.discipline.rubidium = true;
      rack.discipline.rubidium_follows = c.self_disciplined;
      return;
    case RefclockDriver::kShm:
    case RefclockDriver::kSock:
      return rack.samples.push_back(sample(c, rack.samples.size()));
  }
}

}  // namespace

bool has_rack(const Config& config) {
  return config.refclocks.at(0).driver != RefclockDriver::kSystem;
}

refclock::SystemClockOptions system_clock_options(const Config& config) {
  const RefclockConfig& c = config.refclocks.at(0);
  return {.trust = c.trust, .stratum = c.stratum, .error_bound = c.error_bound};
}

refclock::RackOptions rack_options(const Config& config) {
  refclock::RackOptions rack;
  refclock::DisciplineOptions& discipline = rack.discipline;
  discipline.rubidium = false;
  // gpsd's stamps of a pulse, until told of better ones.
  discipline.contract.gnss_stamp = {20'000, 1'000'000};
  discipline.locked_bound = kLockedWithSamples;
  for (const RefclockConfig& c : config.refclocks) add(c, rack);
  const bool pulses = std::ranges::any_of(rack.pulses, [](const refclock::PulseOptions& p) {
    return p.input == refclock::PulseInput::kGnss;
  });
  for (const refclock::PulseOptions& p : rack.pulses) {
    if (rack.gnss && p.device == rack.gnss->device) rack.gnss->shared = true;
    if (rack.rubidium && p.device == rack.rubidium->device) rack.rubidium->shared = true;
  }
  if (rack.gpsd) rack.gpsd->pulses = !pulses;
  discipline.bare_pps = pulses && !rack.gnss && !rack.gpsd;
  if (!pulses && !rack.gpsd) {
    for (const refclock::SampleOptions& sample : rack.samples) {
      discipline.locked_bound = std::max<Duration>(discipline.locked_bound, 2 * sample.error);
    }
  }
  if (config.clock.mode == ClockMode::kSystem) {
    rack.steer_kernel = true;
    discipline.contract.kernel = refclock::KernelContract::steered();
    discipline.locked_bound += kLockedWhileSteered;
  }
  if (config.clock.locked_bound != 0ns) discipline.locked_bound = config.clock.locked_bound;
  discipline.holdover_limit = config.clock.holdover_limit;
  discipline.reference_id = reference_id(config.clock.reference_id);
  rack.leap_file = config.clock.leap_file;
  return rack;
}

}  // namespace timeball::server
