// What a receiver sees of the sky, and how well: for people to look at. Nothing of the time that is
// served depends on it. Values; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "common/time/time_scales.h"

namespace timeball::refclock {

enum class Constellation : std::uint8_t {
  kGps,
  kSbas,
  kGalileo,
  kBeidou,
  kQzss,
  kGlonass,
  kNavic,
  kUnknown
};
inline constexpr std::size_t kConstellations = 8;

constexpr std::string_view name_of(Constellation constellation) {
  constexpr std::array<std::string_view, kConstellations> kNames{
      "GPS", "SBAS", "Galileo", "BeiDou", "QZSS", "GLONASS", "NavIC", "unknown"};
  return kNames[static_cast<std::size_t>(constellation)];
}

struct Satellite {
  Constellation system = Constellation::kUnknown;
  unsigned number = 0;               // within its system; SBAS: its PRN, from 120
  std::optional<int> elevation_deg;  // -90 to 90
  std::optional<int> azimuth_deg;    // 0 to 359
  std::optional<unsigned> cn0_dbhz;  // of its strongest signal; nothing: not received
  bool used = false;                 // in the fix

  friend bool operator==(const Satellite&, const Satellite&) = default;
};

struct SurveyIn {
  bool active = false;
  bool valid = false;  // the position is found
  Duration duration{};
  double accuracy_m = 0;  // of the mean so far
};

// A receiver's front end; one for each frequency band that it has.
struct RadioBand {
  double agc = 0;  // gain, 0 to 1: low is a strong signal, or a jammer
  unsigned noise = 0;
};

inline constexpr std::size_t kMaxSatellites = 128;
inline constexpr std::size_t kMaxRadioBands = 4;

// What was not said is absent.
struct Sky {
  std::vector<Satellite> satellites;  // at most kMaxSatellites
  std::optional<double> pdop, tdop;
  std::optional<SurveyIn> survey;
  std::vector<RadioBand> bands;  // at most kMaxRadioBands
  std::optional<bool> antenna_power;
};

}  // namespace timeball::refclock
