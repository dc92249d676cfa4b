#include "refclock/gnss/sky_view.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <type_traits>
#include <utility>

namespace timeball::refclock::gnss {
namespace {

constexpr Duration kRecent = std::chrono::seconds(10);
// GSA comes with every fix, and what it does not name any more is not in the fix any more.
constexpr Duration kUsedLately = std::chrono::milliseconds(2500);
// Sentences of one second: a satellite's signals.
constexpr Duration kSameSecond = std::chrono::milliseconds(800);
constexpr double kCenti = 0.01;
constexpr std::uint16_t kNoDop = 9999;  // what u-blox says without a fix
constexpr double kFullGain = 8191;      // of the agc field of MON-RF and MON-HW

// gnssId of the interface description.
Constellation system_of(unsigned gnss_id) {
  constexpr std::array<Constellation, 8> kSystems = {
      Constellation::kGps,     Constellation::kSbas,    Constellation::kGalileo,
      Constellation::kBeidou,  Constellation::kUnknown, Constellation::kQzss,
      Constellation::kGlonass, Constellation::kNavic};
  return gnss_id < kSystems.size() ? kSystems[gnss_id] : Constellation::kUnknown;
}

// systemId of NMEA 4.11, table 19.
Constellation system_of_nmea(unsigned id) {
  constexpr std::array<Constellation, 7> kSystems = {
      Constellation::kUnknown, Constellation::kGps,    Constellation::kGlonass,
      Constellation::kGalileo, Constellation::kBeidou, Constellation::kQzss,
      Constellation::kNavic};
  return id < kSystems.size() ? kSystems[id] : Constellation::kUnknown;
}

Constellation system_of_talker(std::string_view address) {
  constexpr std::array<std::pair<std::string_view, Constellation>, 8> kTalkers = {
      {{"GP", Constellation::kGps},
       {"GL", Constellation::kGlonass},
       {"GA", Constellation::kGalileo},
       {"GB", Constellation::kBeidou},
       {"BD", Constellation::kBeidou},
       {"GQ", Constellation::kQzss},
       {"QZ", Constellation::kQzss},
       {"GI", Constellation::kNavic}}};
  for (const auto& [talker, system] : kTalkers) {
    if (address.starts_with(talker)) return system;
  }
  return Constellation::kUnknown;
}

// From NMEA's number under a system, or under none (GN before 4.11): 33 to 64 are SBAS (PRN - 87),
// 65 to 99 GLONASS, 193 and on QZSS, 301 and on Galileo, 401 and on BeiDou.
struct Number {
  Constellation system;
  unsigned number;
};
Number numbered(Constellation talker, unsigned id) {
  const bool gps = talker == Constellation::kGps || talker == Constellation::kUnknown;
  if (gps && id >= 33 && id <= 64) return {Constellation::kSbas, id + 87};
  if (gps && id >= 120 && id <= 158) return {Constellation::kSbas, id};
  if ((gps || talker == Constellation::kQzss) && id >= 193 && id <= 202) {
    return {Constellation::kQzss, id - 192};
  }
  const bool any = talker == Constellation::kUnknown;
  if ((any || talker == Constellation::kGlonass) && id >= 65 && id <= 99) {
    return {Constellation::kGlonass, id - 64};
  }
  if ((any || talker == Constellation::kGalileo) && id >= 301 && id <= 336) {
    return {Constellation::kGalileo, id - 300};
  }
  if ((any || talker == Constellation::kBeidou) && id >= 401 && id <= 463) {
    return {Constellation::kBeidou, id - 400};
  }
  if (any && id >= 1 && id <= 32) return {Constellation::kGps, id};
  return {talker, id};
}

std::optional<int> within(std::optional<std::int64_t> value, int low, int high) {
  if (!value || *value < low || *value > high) return std::nullopt;
  return static_cast<int>(*value);
}

std::optional<int> azimuth(std::optional<std::int64_t> value) {
  const auto degrees = within(value, 0, 360);
  return degrees == 360 ? 0 : degrees;
}

RadioBand band(std::uint16_t agc, std::uint16_t noise) {
  return {std::min(agc / kFullGain, 1.0), noise};
}

// 0 off, 1 on, 2 unknown.
std::optional<bool> power(std::uint8_t code) {
  return code > 1 ? std::nullopt : std::optional(code == 1);
}

}  // namespace

void SkyView::take(const ubx::Message& message, HostTime arrival) {
  std::visit(
      [this, arrival]<class T>(const T& m) {
        if constexpr (requires { hear(m, arrival); }) hear(m, arrival);
      },
      message);
}

void SkyView::hear(const ubx::NavSat& m, HostTime arrival) {
  nav_sat_at_ = arrival;
  seen_.clear();
  for (const auto& s : m.satellites) {
    if (seen_.size() == kMaxSatellites) return;
    Satellite satellite{system_of(s.gnss),      s.id,         within(s.elevation_deg, -90, 90),
                        azimuth(s.azimuth_deg), std::nullopt, s.used};
    if (s.cn0_dbhz != 0) satellite.cn0_dbhz = s.cn0_dbhz;
    seen_.push_back({satellite, arrival, s.used ? std::optional(arrival) : std::nullopt});
  }
}

void SkyView::hear(const ubx::NavDop& m, HostTime arrival) {
  if (m.pdop_centi < kNoDop) pdop_ = {m.pdop_centi * kCenti, arrival};
  if (m.tdop_centi < kNoDop) tdop_ = {m.tdop_centi * kCenti, arrival};
}

void SkyView::hear(const ubx::TimSvin& m, HostTime arrival) {
  const double accuracy_m = std::sqrt(static_cast<double>(m.mean_variance_mm2)) * 1e-3;
  survey_ = {{m.active, m.valid, std::chrono::seconds(m.duration_s), accuracy_m}, arrival};
}

void SkyView::hear(const ubx::NavSvin& m, HostTime arrival) {
  const double accuracy_m = m.mean_accuracy_100um * 1e-4;
  survey_ = {{m.active, m.valid, std::chrono::seconds(m.duration_s), accuracy_m}, arrival};
}

void SkyView::hear(const ubx::MonHw& m, HostTime arrival) {
  bands_ = {{band(m.agc, m.noise)}, arrival};
  antenna_power_ = {power(m.antenna_power), arrival};
}

void SkyView::hear(const ubx::MonRf& m, HostTime arrival) {
  bands_ = {{}, arrival};
  for (const auto& block : m.blocks) {
    if (bands_.value.size() < kMaxRadioBands) bands_.value.push_back(band(block.agc, block.noise));
  }
  if (!m.blocks.empty()) antenna_power_ = {power(m.blocks[0].antenna_power), arrival};
}

void SkyView::take(const nmea::Sentence& sentence, HostTime arrival) {
  const Constellation talker = system_of_talker(sentence.address);
  const auto* gsa = std::get_if<nmea::Gsa>(&sentence.content);
  if (gsa != nullptr && gsa->pdop_centi && *gsa->pdop_centi < kNoDop) {
    pdop_ = {static_cast<double>(*gsa->pdop_centi) * kCenti, arrival};
  }
  if (arrival - nav_sat_at_ <= kRecent) return;
  if (gsa != nullptr) used(*gsa, talker, arrival);
  if (const auto* gsv = std::get_if<nmea::Gsv>(&sentence.content))
    satellites(*gsv, talker, arrival);
}

void SkyView::satellites(const nmea::Gsv& message, Constellation talker, HostTime arrival) {
  for (const auto& s : message.satellites) {
    const Number n = numbered(talker, *s.id);
    Seen* const one = place(n.system, n.number, arrival);
    if (one == nullptr) return;
    Satellite& satellite = one->satellite;
    satellite.elevation_deg = within(s.elevation_deg, -90, 90);
    satellite.azimuth_deg = azimuth(s.azimuth_deg);
    std::optional<unsigned> strength;
    if (const auto known = within(s.cn0_dbhz, 1, 99)) strength = static_cast<unsigned>(*known);
    const bool another_signal = arrival - one->at < kSameSecond;
    satellite.cn0_dbhz = another_signal ? std::max(satellite.cn0_dbhz, strength) : strength;
    if (!another_signal) one->at = arrival;
  }
}

void SkyView::used(const nmea::Gsa& message, Constellation talker, HostTime arrival) {
  if (message.fix && *message.fix < 2) {
    for (Seen& one : seen_) one.used.reset();
    return;
  }
  if (message.system) talker = system_of_nmea(*message.system);
  for (const unsigned id : message.satellites) {
    const Number n = numbered(talker, id);
    if (Seen* const one = find(n.system, n.number)) one->used = arrival;
  }
}

SkyView::Seen* SkyView::find(Constellation system, unsigned number) {
  const auto found = std::ranges::find_if(seen_, [&](const Seen& one) {
    return one.satellite.system == system && one.satellite.number == number;
  });
  return found == seen_.end() ? nullptr : &*found;
}

// Its place, or a new one. Nothing: there is no room.
SkyView::Seen* SkyView::place(Constellation system, unsigned number, HostTime arrival) {
  if (Seen* const known = find(system, number)) return known;
  std::erase_if(seen_, [arrival](const Seen& one) { return arrival - one.at > kRecent; });
  if (seen_.size() == kMaxSatellites) return nullptr;
  Satellite satellite;
  satellite.system = system;
  satellite.number = number;
  return &seen_.emplace_back(Seen{satellite, arrival, std::nullopt});
}

Sky SkyView::sky(HostTime now) const {
  const auto recent = [now](HostTime at) { return now - at <= kRecent; };
  Sky sky;
  for (const Seen& one : seen_) {
    if (!recent(one.at)) continue;
    sky.satellites.push_back(one.satellite);
    sky.satellites.back().used = one.used && now - *one.used <= kUsedLately;
  }
  if (recent(pdop_.at)) sky.pdop = pdop_.value;
  if (recent(tdop_.at)) sky.tdop = tdop_.value;
  if (recent(survey_.at)) sky.survey = survey_.value;
  if (recent(bands_.at)) sky.bands = bands_.value;
  if (recent(antenna_power_.at)) sky.antenna_power = antenna_power_.value;
  return sky;
}

}  // namespace timeball::refclock::gnss
