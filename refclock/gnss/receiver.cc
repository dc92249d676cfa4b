#include "refclock/gnss/receiver.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <numbers>
#include <numeric>
#include <type_traits>
#include <utility>

#include "common/time/ntp_timestamp.h"

namespace timeball::refclock::gnss {
namespace {

using std::chrono::days;
using std::chrono::sys_days;
using std::chrono::year_month_day;

constexpr Duration kRecent = std::chrono::seconds(10);
// Between sentences of an epoch there is less, even at 9600 baud.
constexpr Duration kSentenceGap = std::chrono::milliseconds(1500);
constexpr Duration kSecond = std::chrono::seconds(1);
constexpr Duration kLatenessChange = std::chrono::milliseconds(400);
// How far from a second an epoch may be and still name it.
constexpr std::int64_t kOffSecond_ns = 50'000'000;
constexpr unsigned kWantedInARow = 5;
constexpr std::int64_t kGpsEpoch_s = 315'964'800;  // 1980-01-06
constexpr std::int64_t kWeek_s = 7 * 86'400;
constexpr std::int64_t kDay_ns = 86'400 * kNsPerSecond;
constexpr int kRolloverWeeks = 1024;
constexpr int kMaxWeek = 10'000;  // of the year 2171
constexpr int kMaxRollovers = 4;
constexpr int kTaiMinusGps_s = 19;
constexpr int kMaxNotice_s = 366 * 86'400;  // of a leap second

// 0 none, 1 dead reckoning, 2 and 3 dimensions, 4 with dead reckoning, 5 time only.
bool is_fix(std::uint8_t fix) {
  return fix >= 2 && fix <= 5;
}

// GPS - UTC as a satellite system is known to have it.
bool from_the_sky(const ubx::NavTimeLs& m) {
  return m.leap_valid && m.leap_source >= 1 && m.leap_source <= 5;
}

// Not the firmware's default, nor what somebody told it. A LEA-M8T with GLONASS gives its source as
// unknown (255) day after day, while all else says that UTC is valid.
bool not_made_up(const ubx::NavTimeLs& m) {
  return from_the_sky(m) || (m.leap_valid && m.leap_source == 255);
}

Threat threat(unsigned code) {
  constexpr std::array<Threat, 4> kThreats = {Threat::kUnknown, Threat::kNone, Threat::kWarning,
                                              Threat::kCritical};
  return code < kThreats.size() ? kThreats[code] : Threat::kUnknown;
}

Antenna antenna(unsigned code) {
  constexpr std::array<Antenna, 5> kAntennas = {Antenna::kUnknown, Antenna::kUnknown, Antenna::kOk,
                                                Antenna::kShort, Antenna::kOpen};
  return code < kAntennas.size() ? kAntennas[code] : Antenna::kUnknown;
}

// The same year in another century: the one within 50 years of the pivot.
year_month_day full_date(const nmea::ShortDate& date, UtcTime pivot) {
  const sys_days day(std::chrono::floor<days>(Duration(pivot.ns)));
  const int near = static_cast<int>(year_month_day(day).year());
  int year = near / 100 * 100 + static_cast<int>(date.year_of_century);
  if (year > near + 50) year -= 100;
  if (year <= near - 50) year += 100;
  return std::chrono::year(year) / std::chrono::month(date.month) / std::chrono::day(date.day);
}

// The second nearest to a date, a time and a signed fraction, if that is near.
std::optional<NamedSecond> nearest_second(const year_month_day& date, const nmea::TimeOfDay& time,
                                          std::int64_t fraction_ns) {
  const int year = static_cast<int>(date.year());
  const bool legal = date.ok() && year >= 1980 && year < 2200 && time.hour < 24 &&
                     time.minute < 60 && time.second <= 60;
  const bool last_minute = time.hour == 23 && time.minute == 59;
  if (!legal || (time.second == 60 && !last_minute)) return std::nullopt;
  const int carry = fraction_ns > kNsPerSecond / 2 ? 1 : fraction_ns < -kNsPerSecond / 2 ? -1 : 0;
  if (std::abs(fraction_ns - carry * kNsPerSecond) > kOffSecond_ns) return std::nullopt;
  // Which second is next to these, only a table of leap seconds knows.
  const bool first = time.hour == 0 && time.minute == 0 && time.second == 0;
  if (carry != 0 && (first || (last_minute && time.second >= 58))) return std::nullopt;
  const std::int64_t day_s = std::int64_t{sys_days(date).time_since_epoch().count()} * 86'400;
  const std::int64_t time_s = time.hour * 3600 + time.minute * 60 + time.second;
  return NamedSecond{UtcTime{(day_s + time_s + carry) * kNsPerSecond}, time.second == 60};
}

// NAV-PVT's or NAV-TIMEUTC's.
template <class M>
std::optional<NamedSecond> second_of(const M& m) {
  const year_month_day date =
      std::chrono::year(m.year) / std::chrono::month(m.month) / std::chrono::day(m.day);
  return nearest_second(date, {m.hour, m.minute, m.second, 0}, m.nano_ns);
}

// But for the century.
bool same_day(const year_month_day& a, const year_month_day& b) {
  return a.month() == b.month() && a.day() == b.day() &&
         (static_cast<int>(a.year()) - static_cast<int>(b.year())) % 100 == 0;
}

using Vector = std::array<double, 3>;

// WGS 84, metres from the Earth's centre.
Vector earth_centred(double latitude_deg, double longitude_deg, double height_m) {
  constexpr double kRadian = std::numbers::pi / 180;
  constexpr double kSemiMajor_m = 6'378'137;
  constexpr double kFlattening = 1 / 298.257223563;
  constexpr double kE2 = kFlattening * (2 - kFlattening);
  const double sine = std::sin(latitude_deg * kRadian);
  const double cosine = std::cos(latitude_deg * kRadian);
  const double normal_m = kSemiMajor_m / std::sqrt(1 - kE2 * sine * sine);
  return {(normal_m + height_m) * cosine * std::cos(longitude_deg * kRadian),
          (normal_m + height_m) * cosine * std::sin(longitude_deg * kRadian),
          (normal_m * (1 - kE2) + height_m) * sine};
}

double distance_m(const ubx::NavPvt& pvt, const SurveyedPosition& surveyed) {
  const Vector a =
      earth_centred(pvt.latitude_e7 * 1e-7, pvt.longitude_e7 * 1e-7, pvt.height_mm * 1e-3);
  const Vector b = earth_centred(surveyed.latitude_deg, surveyed.longitude_deg, surveyed.height_m);
  return std::hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
}

template <class T>
concept OfUbxEpoch = std::is_same_v<T, ubx::NavPvt> || std::is_same_v<T, ubx::NavTimeUtc> ||
    std::is_same_v<T, ubx::NavTimeGps> || std::is_same_v<T, ubx::NavTimeLs> ||
    std::is_same_v<T, ubx::NavStatus> || std::is_same_v<T, ubx::NavSat>;

}  // namespace

template <class T>
void Receiver::note(Recent<T>& recent, T value) const {
  recent = {value, now_};
}

template <class T>
std::optional<T> Receiver::get(const Recent<T>& recent) const {
  return now_ - recent.at <= kRecent ? recent.value : std::nullopt;
}

std::optional<Why> Receiver::take(const Frame& frame, Reports& out) {
  if (frame.protocol == Protocol::kNmea) {
    take(nmea::decode(frame.octets), frame.checked, frame.arrival, out);
  }
  if (frame.protocol != Protocol::kUbx) return std::nullopt;
  const auto message = ubx::decode(ubx::packet_of(frame));
  if (!message) return message.error();
  take(*message, frame.arrival, out);
  return std::nullopt;
}

// ---- UBX

void Receiver::take(const ubx::Message& message, HostTime arrival, Reports& out) {
  now_ = arrival;
  std::visit(
      [this, &out]<class T>(const T& m) {
        if constexpr (OfUbxEpoch<T>) {
          UbxEpoch& epoch = ubx_epoch(m.itow_ms, out);
          if constexpr (std::is_same_v<T, ubx::NavPvt>) epoch.pvt = m;
          if constexpr (std::is_same_v<T, ubx::NavTimeUtc>) epoch.utc = m;
          if constexpr (std::is_same_v<T, ubx::NavTimeGps>) epoch.gps = m;
          if constexpr (std::is_same_v<T, ubx::NavTimeLs>) epoch.leap = m;
          if constexpr (std::is_same_v<T, ubx::NavStatus>) epoch.status = m;
          if constexpr (std::is_same_v<T, ubx::NavSat>) epoch.satellites = m;
        }
        hear(m, out);
      },
      message);
}

template <class T>
void Receiver::hear(const T& m, Reports& out) {
  if constexpr (std::is_same_v<T, ubx::NavEoe>) {
    if (ubx_ && ubx_->itow_ms == m.itow_ms) commit(*std::exchange(ubx_, std::nullopt), out);
  } else if constexpr (std::is_same_v<T, ubx::NavPvt> || std::is_same_v<T, ubx::NavTimeUtc>) {
    note(speaks_ubx_, true);
  } else if constexpr (std::is_same_v<T, ubx::NavTimeGps>) {
    if (m.leap_valid) note(gps_minus_utc_s_, int{m.leap_s});
  } else if constexpr (std::is_same_v<T, ubx::NavTimeLs>) {
    if (not_made_up(m)) note(gps_minus_utc_s_, int{m.leap_s});
  } else if constexpr (std::is_same_v<T, ubx::NavStatus>) {
    note(nav_spoofing_, threat(m.spoofing));
  } else if constexpr (std::is_same_v<T, ubx::TimTp>) {
    pulse(m, out);
  } else if constexpr (std::is_same_v<T, ubx::MonHw>) {
    note(rf_jamming_, threat(m.jamming));
    note(antenna_, antenna(m.antenna));
    note(jamming_indicator_, unsigned{m.jamming_indicator});
  } else if constexpr (std::is_same_v<T, ubx::MonRf>) {
    // The worst of the bands.
    const auto worst = [&m](auto of) {
      decltype(of(m.blocks[0])) value{};
      for (const auto& block : m.blocks) value = std::max(value, of(block));
      return value;
    };
    if (m.blocks.empty()) return;
    note(rf_jamming_, worst([](const auto& block) { return threat(block.jamming); }));
    note(antenna_, worst([](const auto& block) { return antenna(block.antenna); }));
    note(jamming_indicator_, worst([](const auto& b) { return unsigned{b.jamming_indicator}; }));
  } else if constexpr (std::is_same_v<T, ubx::SecSig1> || std::is_same_v<T, ubx::SecSig2>) {
    note(sec_jamming_, m.jamming_detector ? threat(m.jamming) : Threat::kUnknown);
    note(sec_spoofing_, m.spoofing_detector ? threat(m.spoofing) : Threat::kUnknown);
  }
}

void Receiver::quiet(Reports& out) {
  if (ubx_) {
    commit(*ubx_, out);
    ubx_->reported = true;
  }
  if (nmea_) {
    commit(*nmea_, out);
    nmea_->reported = true;
  }
}

Receiver::UbxEpoch& Receiver::ubx_epoch(std::uint32_t itow_ms, Reports& out) {
  if (ubx_ && ubx_->itow_ms != itow_ms) commit(*std::exchange(ubx_, std::nullopt), out);
  if (!ubx_) {
    ubx_ = UbxEpoch{};
    ubx_->arrival = now_;
    ubx_->itow_ms = itow_ms;
  }
  return *ubx_;
}

void Receiver::pulse(const ubx::TimTp& m, Reports& out) {
  if (m.week > kMaxWeek) return;
  std::int64_t second_s = kGpsEpoch_s + m.week * kWeek_s + (std::int64_t{m.tow_ms} + 500) / 1000;
  if (!m.utc) {
    const auto leap_s = get(gps_minus_utc_s_);
    const bool gps_time = m.gnss == 0 || m.gnss == 3;
    if (!leap_s || !gps_time) return;
    second_s -= *leap_s;
  }
  second_s += rollover_weeks_ * kWeek_s;
  const bool valid = !m.error_invalid && !m.not_locked && (!m.utc || m.utc_available);
  out.emplace_back(QuantisationError{UtcTime{second_s * kNsPerSecond}, m.error_ps, valid});
}

bool Receiver::usable(const UbxEpoch& epoch) {
  if (epoch.pvt) return epoch.pvt->fix_ok && is_fix(epoch.pvt->fix);
  return epoch.status && epoch.status->fix_ok && is_fix(epoch.status->fix);
}

bool Receiver::trusted(const UbxEpoch& epoch) {
  const auto& pvt = epoch.pvt;
  const auto& utc = epoch.utc;
  if (!usable(epoch)) return false;
  if (utc && !(utc->tow_valid && utc->week_valid && utc->utc_valid)) return false;
  if (utc && pvt && second_of(*utc) != second_of(*pvt)) return false;
  if (epoch.leap && !not_made_up(*epoch.leap)) return false;
  if (epoch.gps && !epoch.gps->leap_valid) return false;
  if (!pvt) return utc && epoch.status->week_set && epoch.status->tow_set;
  if (!pvt->date_valid || !pvt->time_valid || !pvt->fully_resolved) return false;
  // Before protocol 19 there is no confirmation, and NAV-TIMEUTC has to stand for it.
  if (!pvt->confirmation_available) return utc.has_value();
  return pvt->date_confirmed && pvt->time_confirmed;
}

void Receiver::commit(const UbxEpoch& epoch, Reports& out) {
  if (epoch.reported) return;
  const auto second = named(epoch, out);
  const bool trust = second && trusted(epoch);
  if (second) {
    out.emplace_back(SecondLabel{epoch.arrival, second->second, SecondLabel::Names::kLastPulse,
                                 trust, second->leap_second});
  }
  leap_notice(epoch, second, trust, out);
  if (!epoch.pvt && !epoch.status) return;
  GnssCondition state = condition(epoch.arrival, usable(epoch));
  if (epoch.satellites) {
    const auto& all = epoch.satellites->satellites;
    state.satellites_in_view = static_cast<unsigned>(all.size());
    state.satellites_used = static_cast<unsigned>(
        std::ranges::count_if(all, [](const auto& satellite) { return satellite.used; }));
  }
  if (epoch.utc) state.time_accuracy = Duration(epoch.utc->time_accuracy_ns);
  if (epoch.pvt) {
    state.satellites_used = epoch.pvt->satellites;
    state.time_accuracy = Duration(epoch.pvt->time_accuracy_ns);
    if (options_.position && state.usable && !epoch.pvt->position_invalid) {
      state.position_offset_m = distance_m(*epoch.pvt, *options_.position);
    }
  }
  out.emplace_back(state);
}

// NAV-TIMELS counts the seconds to the event; it is at midnight.
void Receiver::leap_notice(const UbxEpoch& epoch, const std::optional<NamedSecond>& second,
                           bool trusted, Reports& out) const {
  if (!epoch.leap) return;
  const ubx::NavTimeLs& m = *epoch.leap;
  LeapNotice notice;
  notice.source = LeapNotice::Source::kReceiver;
  notice.trusted = from_the_sky(m);
  if (m.leap_valid) notice.tai_minus_utc_s = m.leap_s + kTaiMinusGps_s;
  const bool announced = m.event_valid && m.change_source >= 2 && m.time_to_event_s >= 0 &&
                         m.time_to_event_s <= kMaxNotice_s && std::abs(m.change_s) == 1;
  if (announced && second) {
    const std::int64_t event_ns = second->second.ns + m.time_to_event_s * kNsPerSecond;
    const std::int64_t midnight_ns = (event_ns + kDay_ns / 2) / kDay_ns * kDay_ns;
    notice.trusted = notice.trusted && trusted;
    if (std::abs(event_ns - midnight_ns) <= 2 * kNsPerSecond) {
      notice.change = m.change_s > 0 ? LeapIndicator::kInsert : LeapIndicator::kDelete;
      notice.event = UtcTime{midnight_ns};
    }
  }
  out.emplace_back(notice);
}

GnssCondition Receiver::condition(HostTime at, bool usable) const {
  GnssCondition state;
  state.at = at;
  state.usable = usable;
  const auto either = [this](const Recent<Threat>& a, const Recent<Threat>& b) {
    return std::max(get(a).value_or(Threat::kUnknown), get(b).value_or(Threat::kUnknown));
  };
  state.jamming = either(rf_jamming_, sec_jamming_);
  state.spoofing = either(nav_spoofing_, sec_spoofing_);
  state.jamming_indicator = get(jamming_indicator_);
  state.antenna = get(antenna_).value_or(antenna_text_);
  state.rollover_weeks = rollover_weeks_;
  return state;
}

// ---- NMEA

void Receiver::take(const nmea::Sentence& sentence, bool checked, HostTime arrival, Reports& out) {
  now_ = arrival;
  if (const auto* txt = std::get_if<nmea::Txt>(&sentence.content)) return text(txt->text);
  if (const auto* pubx = std::get_if<nmea::Pubx04>(&sentence.content)) {
    if (checked && sentence.bad_field == 0) note(utc_is_default_, pubx->leap_is_default);
    return;
  }
  if (get(speaks_ubx_)) {
    nmea_.reset();
    return;
  }
  std::visit(
      [this, &sentence, &out, checked]<class T>(const T& m) {
        constexpr bool kTimed = requires {
          m.time;
        }
        &&!std::is_same_v<T, nmea::Ptnta>;
        if constexpr (kTimed) {
          NmeaEpoch& epoch = nmea_epoch(m.time, out);
          if (!checked || sentence.bad_field != 0) epoch.sound = false;
          if constexpr (std::is_same_v<T, nmea::Rmc>) epoch.rmc = m;
          if constexpr (std::is_same_v<T, nmea::Gga>) epoch.gga = m;
          if constexpr (std::is_same_v<T, nmea::Zda>) epoch.date = m.date;
        } else if constexpr (std::is_same_v<T, nmea::Gsv>) {
          if (!nmea_ || !m.in_view) return;
          unsigned& in_view = nmea_->in_view[std::string(sentence.address.substr(0, 2))];
          in_view = std::max(in_view, std::min(*m.in_view, 255U));
        }
      },
      sentence.content);
}

// u-blox says how its antenna is when that changes.
void Receiver::text(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, Antenna>, 3> kTexts = {
      {{"ANTSTATUS=OK", Antenna::kOk},
       {"ANTSTATUS=SHORT", Antenna::kShort},
       {"ANTSTATUS=OPEN", Antenna::kOpen}}};
  if (!text.starts_with("ANTSTATUS=")) return;
  antenna_text_ = Antenna::kUnknown;
  for (const auto& [words, state] : kTexts) {
    if (text.starts_with(words)) antenna_text_ = state;
  }
}

Receiver::NmeaEpoch& Receiver::nmea_epoch(const std::optional<nmea::TimeOfDay>& time,
                                          Reports& out) {
  const bool other = nmea_ && ((time && nmea_->time && *time != *nmea_->time) ||
                               now_ - nmea_->arrival >= kSentenceGap);
  // Without a time a receiver has no fix, and a pause is all that divides its epochs.
  const bool pause = nmea_ && !time && !nmea_->time && now_ - nmea_->arrival >= kSecond / 2;
  if (other || pause) commit(*std::exchange(nmea_, std::nullopt), out);
  if (!nmea_) {
    nmea_ = NmeaEpoch{};
    nmea_->arrival = now_;
  }
  if (time) nmea_->time = time;
  return *nmea_;
}

bool Receiver::usable(const NmeaEpoch& epoch) {
  constexpr std::string_view kNoFix = "NEMS";  // none, estimated, manual, simulated
  if (epoch.rmc && (epoch.rmc->status != 'A' ||
                    (epoch.rmc->mode != 0 && kNoFix.find(epoch.rmc->mode) != kNoFix.npos))) {
    return false;
  }
  if (!epoch.gga || !epoch.gga->quality) return epoch.rmc.has_value();
  const unsigned quality = *epoch.gga->quality;
  return quality >= 1 && quality <= 5;
}

// Whether it is the second after the last one, and came when that should.
bool Receiver::follows(const NamedSecond& second, HostTime arrival) const {
  if (!last_second_) return false;
  const Duration step = last_second_->leap_second ? Duration(0) : kSecond;
  const Duration late = arrival - last_arrival_ - kSecond;
  return second.second == last_second_->second + step && late <= kLatenessChange &&
         late >= -kLatenessChange && !(second.leap_second && last_second_->leap_second);
}

bool Receiver::trusted(const NmeaEpoch& epoch, const std::optional<NamedSecond>& second) {
  const bool good = second && usable(epoch) && epoch.sound;
  const bool continues = good && follows(*second, epoch.arrival);
  in_a_row_ = continues ? in_a_row_ + 1 : good ? 1 : 0;
  if (!continues) fix_since_ = good ? std::optional(epoch.arrival) : std::nullopt;
  last_second_ = good ? second : std::nullopt;
  last_arrival_ = epoch.arrival;
  if (in_a_row_ < kWantedInARow) return false;
  const auto utc_is_default = get(utc_is_default_);
  return utc_is_default ? !*utc_is_default : epoch.arrival - *fix_since_ >= options_.nmea_settling;
}

void Receiver::commit(const NmeaEpoch& epoch, Reports& out) {
  if (epoch.reported) return;
  const auto second = named(epoch, out);
  const bool trust = trusted(epoch, second);
  if (second) {
    out.emplace_back(SecondLabel{epoch.arrival, second->second, SecondLabel::Names::kLastPulse,
                                 trust, second->leap_second});
  }
  if (!epoch.rmc && !epoch.gga) return;
  GnssCondition state = condition(epoch.arrival, usable(epoch) && epoch.sound);
  if (epoch.gga) state.satellites_used = epoch.gga->satellites;
  if (!epoch.in_view.empty()) {
    state.satellites_in_view =
        std::accumulate(epoch.in_view.begin(), epoch.in_view.end(), 0U,
                        [](unsigned sum, const auto& talker) { return sum + talker.second; });
  }
  out.emplace_back(state);
}

// ---- Seconds

std::optional<NamedSecond> Receiver::named(const UbxEpoch& epoch, Reports& out) {
  if (!epoch.pvt && !epoch.utc) return std::nullopt;
  const auto second = epoch.pvt ? second_of(*epoch.pvt) : second_of(*epoch.utc);
  const bool dated = epoch.pvt ? epoch.pvt->date_valid : epoch.utc->week_valid;
  return second && dated ? repaired(*second, out) : second;
}

std::optional<NamedSecond> Receiver::named(const NmeaEpoch& epoch, Reports& out) {
  std::optional<year_month_day> date;
  if (epoch.rmc && epoch.rmc->date) date = full_date(*epoch.rmc->date, options_.pivot);
  if (epoch.date && date && !same_day(*epoch.date, *date)) return std::nullopt;
  if (epoch.date) date = epoch.date;
  if (!date || !epoch.time) return std::nullopt;
  const auto second = nearest_second(*date, *epoch.time, epoch.time->ns);
  return second && usable(epoch) ? repaired(*second, out) : second;
}

NamedSecond Receiver::repaired(NamedSecond named, Reports& out) {
  int weeks = 0;
  while (named.second < options_.pivot && weeks < kMaxRollovers * kRolloverWeeks) {
    weeks += kRolloverWeeks;
    named.second.ns += kRolloverWeeks * kWeek_s * kNsPerSecond;
  }
  if (weeks != rollover_weeks_) {
    rollover_weeks_ = weeks;
    out.emplace_back(WeekRollover{now_, weeks});
  }
  return named;
}

}  // namespace timeball::refclock::gnss
