#include "refclock/gnss/nmea.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace timeball::refclock::gnss::nmea {
namespace {

constexpr std::size_t kMaxFields = 64;

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

constexpr std::int64_t power_of_ten(unsigned n) {
  std::int64_t value = 1;
  while (n-- != 0) value *= 10;
  return value;
}

// A decimal number times 10^decimals, rounded half away from zero.
std::optional<std::int64_t> scaled(std::string_view text, unsigned decimals) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const std::size_t point = std::min(text.find('.'), text.size());
  const std::string_view whole = text.substr(0, point);
  const std::string_view part = point < text.size() ? text.substr(point + 1) : std::string_view{};
  if (whole.empty() && part.empty()) return std::nullopt;
  if (whole.size() > 9 || !std::ranges::all_of(whole, is_digit) ||
      !std::ranges::all_of(part, is_digit)) {
    return std::nullopt;
  }
  std::int64_t value = 0;
  for (const char c : whole) value = value * 10 + (c - '0');
  for (unsigned i = 0; i < decimals; ++i) {
    value = value * 10 + (i < part.size() ? part[i] - '0' : 0);
  }
  if (part.size() > decimals && part[decimals] >= '5') ++value;
  return negative ? -value : value;
}

// Exactly so many digits.
std::optional<unsigned> digits(std::string_view text, std::size_t offset, std::size_t count) {
  if (offset + count > text.size()) return std::nullopt;
  unsigned value = 0;
  for (const char c : text.substr(offset, count)) {
    if (!is_digit(c)) return std::nullopt;
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  return value;
}

// hhmmss, hhmmss.ss
std::optional<TimeOfDay> time_of_day(std::string_view text) {
  const auto hour = digits(text, 0, 2);
  const auto minute = digits(text, 2, 2);
  const auto second = digits(text, 4, 2);
  if (!hour || !minute || !second || *hour > 23 || *minute > 59 || *second > 60) {
    return std::nullopt;
  }
  TimeOfDay time{*hour, *minute, *second, 0};
  const std::string_view part = text.substr(6);
  if (part.empty()) return time;
  // Cut, not rounded: a second does not become the next one.
  const auto ns = scaled(part.substr(0, 10), 9);
  if (part[0] != '.' || !ns || !std::ranges::all_of(part.substr(1), is_digit)) return std::nullopt;
  time.ns = static_cast<std::uint32_t>(*ns);
  return time;
}

std::optional<std::chrono::year_month_day> calendar_date(unsigned year, unsigned month,
                                                         unsigned day) {
  const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(year)),
                                         std::chrono::month(month), std::chrono::day(day)};
  return year <= 9999 && date.ok() ? std::optional(date) : std::nullopt;
}

// The fields after the address, by number from 1; remembers the first that is not what it should
// be.
class Fields {
 public:
  explicit Fields(std::string_view body) {
    while (count_ < kMaxFields) {
      const std::size_t comma = body.find(',');
      fields_[count_++] = body.substr(0, comma);
      if (comma == std::string_view::npos) break;
      body.remove_prefix(comma + 1);
    }
  }

  std::string_view address() const { return fields_[0]; }
  std::size_t count() const { return count_ - 1; }
  unsigned bad_field() const { return bad_field_; }
  std::string_view text(std::size_t n) const {
    return n < count_ ? fields_[n] : std::string_view{};
  }
  // From the n-th on, commas and all.
  std::string_view rest(std::size_t n) const {
    if (n >= count_) return {};
    const char* begin = fields_[n].data();
    return {begin, static_cast<std::size_t>(fields_[count_ - 1].data() +
                                            fields_[count_ - 1].size() - begin)};
  }

  std::optional<std::int64_t> number(std::size_t n, unsigned decimals = 0) {
    return checked(n, scaled(text(n), decimals));
  }
  std::optional<std::int64_t> number_with_suffix(std::size_t n, char suffix) {
    const std::string_view field = text(n);
    return checked(n, scaled(field.substr(0, field.size() - field.ends_with(suffix)), 0));
  }
  // A count or a code; leading zeros are usual.
  std::optional<unsigned> code(std::size_t n) {
    const std::string_view field = text(n);
    return checked(n, field.size() > 9 ? std::nullopt : digits(field, 0, field.size()));
  }
  std::optional<unsigned> hex_digit(std::size_t n) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    const std::size_t value = text(n).size() == 1 ? kDigits.find(text(n)[0]) : kDigits.npos;
    return checked(
        n, value == kDigits.npos ? std::nullopt : std::optional(static_cast<unsigned>(value)));
  }
  char letter(std::size_t n) {
    if (text(n).size() > 1) bad(n);
    return text(n).size() == 1 ? text(n)[0] : '\0';
  }
  std::optional<TimeOfDay> time(std::size_t n) { return checked(n, time_of_day(text(n))); }
  std::optional<ShortDate> short_date(std::size_t n) {
    const auto day = digits(text(n), 0, 2);
    const auto month = digits(text(n), 2, 2);
    const auto year = digits(text(n), 4, 2);
    const bool good = text(n).size() == 6 && day && month && year &&
                      calendar_date(2000 + *year, *month, *day).has_value();
    return checked(n, good ? std::optional(ShortDate{*day, *month, *year}) : std::nullopt);
  }
  // Day, month and year in three fields.
  std::optional<std::chrono::year_month_day> date(std::size_t n) {
    const auto day = code(n);
    const auto month = code(n + 1);
    const auto year = code(n + 2);
    if (!day || !month || !year) return std::nullopt;
    return checked(n, calendar_date(*year, *month, *day));
  }
  // yyyymmddhhmmss
  std::optional<std::chrono::year_month_day> compact_date(std::size_t n) {
    const auto year = digits(text(n), 0, 4);
    const auto month = digits(text(n), 4, 2);
    const auto day = digits(text(n), 6, 2);
    const bool good = year && month && day && time_of_day(text(n).substr(8)).has_value();
    return checked(n, good ? calendar_date(*year, *month, *day) : std::nullopt);
  }
  // ddmm.mmmm,N,dddmm.mmmm,E
  std::optional<Position> position(std::size_t n) {
    const auto latitude = angle(n, "NS", 90);
    const auto longitude = angle(n + 2, "EW", 180);
    if (!latitude || !longitude) return std::nullopt;
    return Position{*latitude, *longitude};
  }

 private:
  void bad(std::size_t n) {
    if (bad_field_ == 0) bad_field_ = static_cast<unsigned>(n);
  }
  template <class T>
  std::optional<T> checked(std::size_t n, std::optional<T> value) {
    if (text(n).empty()) return std::nullopt;
    if (!value) bad(n);
    return value;
  }
  std::optional<std::int64_t> angle(std::size_t n, std::string_view hemispheres, unsigned limit) {
    constexpr std::int64_t kDegree = power_of_ten(9);
    const auto value = number(n, 9);  // degrees * 100 + minutes
    if (!value) return std::nullopt;
    const std::int64_t degrees = *value / (100 * kDegree);
    const std::int64_t minutes = *value % (100 * kDegree);
    const std::int64_t angle = degrees * kDegree + (minutes + 30) / 60;
    const char hemisphere = letter(n + 1);
    if (*value < 0 || minutes >= 60 * kDegree || angle > limit * kDegree) {
      bad(n);
      return std::nullopt;
    }
    if (hemisphere != hemispheres[0] && hemisphere != hemispheres[1]) {
      bad(n + 1);
      return std::nullopt;
    }
    return hemisphere == hemispheres[1] ? -angle : angle;
  }

  std::array<std::string_view, kMaxFields> fields_;
  std::size_t count_ = 0;
  unsigned bad_field_ = 0;
};

using Content = decltype(Sentence::content);

Content rmc(Fields& f) {
  Rmc m;
  m.time = f.time(1);
  m.status = f.letter(2);
  m.position = f.position(3);
  m.speed_mknots = f.number(7, 3);
  m.course_mdeg = f.number(8, 3);
  m.date = f.short_date(9);
  m.mode = f.letter(12);
  m.navigation_status = f.letter(13);
  return m;
}

Content zda(Fields& f) {
  return Zda{f.time(1), f.date(2)};
}

Content gga(Fields& f) {
  Gga m;
  m.time = f.time(1);
  m.position = f.position(2);
  m.quality = f.code(6);
  m.satellites = f.code(7);
  m.hdop_centi = f.number(8, 2);
  m.altitude_mm = f.number(9, 3);
  m.geoid_mm = f.number(11, 3);
  return m;
}

Content gsa(Fields& f) {
  Gsa m;
  m.selection = f.letter(1);
  m.fix = f.code(2);
  for (std::size_t n = 3; n <= 14; ++n) {
    if (const auto id = f.code(n)) m.satellites.push_back(*id);
  }
  m.pdop_centi = f.number(15, 2);
  m.hdop_centi = f.number(16, 2);
  m.vdop_centi = f.number(17, 2);
  m.system = f.hex_digit(18);
  return m;
}

Content gsv(Fields& f) {
  Gsv m;
  m.messages = f.code(1);
  m.message = f.code(2);
  m.in_view = f.code(3);
  const std::size_t groups = f.count() < 3 ? 0 : (f.count() - 3) / 4;
  for (std::size_t group = 0; group < groups; ++group) {
    const std::size_t n = 4 + 4 * group;
    const Gsv::Satellite satellite{f.code(n), f.number(n + 1), f.number(n + 2), f.number(n + 3)};
    if (satellite.id) m.satellites.push_back(satellite);
  }
  if (f.count() == 4 + 4 * groups) m.signal = f.hex_digit(f.count());
  return m;
}

Content gbs(Fields& f) {
  Gbs m;
  m.time = f.time(1);
  m.latitude_error_mm = f.number(2, 3);
  m.longitude_error_mm = f.number(3, 3);
  m.altitude_error_mm = f.number(4, 3);
  m.failed_satellite = f.code(5);
  m.missed_probability_ppm = f.number(6, 6);
  m.bias_mm = f.number(7, 3);
  m.sigma_mm = f.number(8, 3);
  return m;
}

Content gst(Fields& f) {
  Gst m;
  m.time = f.time(1);
  m.rms_mm = f.number(2, 3);
  m.major_mm = f.number(3, 3);
  m.minor_mm = f.number(4, 3);
  m.orientation_mdeg = f.number(5, 3);
  m.latitude_sigma_mm = f.number(6, 3);
  m.longitude_sigma_mm = f.number(7, 3);
  m.altitude_sigma_mm = f.number(8, 3);
  return m;
}

Content txt(Fields& f) {
  return Txt{f.code(1), f.code(2), f.code(3), f.rest(4)};
}

Content pubx04(Fields& f) {
  Pubx04 m;
  m.time = f.time(2);
  m.date = f.short_date(3);
  m.utc_tow_ms = f.number(4, 3);
  m.utc_week = f.code(5);
  m.leap_is_default = f.text(6).ends_with('D');
  m.leap_s = f.number_with_suffix(6, 'D');
  m.clock_bias_ns = f.number(7);
  m.clock_drift_ps_s = f.number(8, 3);
  m.pulse_granularity_ns = f.number(9);
  return m;
}

// 20160203131536
Content ptnta(Fields& f) {
  Ptnta m;
  m.date = f.compact_date(1);
  m.time = m.date ? time_of_day(f.text(1).substr(8)) : std::nullopt;
  m.quality = f.code(2);
  m.reference_minus_output_ns = f.number(4);
  m.fine_phase_ns = f.number(5);
  m.status = f.code(6);
  m.gps = f.code(7);
  m.date_quality = f.code(8);
  return m;
}

Content ptnts(Fields& f) {
  return Ptnts{f.code(2), f.text(3), f.text(4), f.text(8), f.text(9), f.text(10)};
}

struct Kind {
  std::string_view letters;  // of the address: its last three, or all of a proprietary one
  std::string_view first;    // of the fields, when it takes part in the kind
  Content (*decode)(Fields&);
};
constexpr std::array<Kind, 11> kKinds = {{{"RMC", "", rmc},
                                          {"ZDA", "", zda},
                                          {"GGA", "", gga},
                                          {"GSA", "", gsa},
                                          {"GSV", "", gsv},
                                          {"GBS", "", gbs},
                                          {"GST", "", gst},
                                          {"TXT", "", txt},
                                          {"PUBX", "04", pubx04},
                                          {"PTNTA", "", ptnta},
                                          {"PTNTS", "B", ptnts}}};

bool matches(const Kind& kind, const Fields& fields) {
  std::string_view letters = fields.address();
  if (!letters.starts_with('P') && letters.size() > 3) letters.remove_prefix(letters.size() - 3);
  return letters == kind.letters && (kind.first.empty() || fields.text(1) == kind.first);
}

}  // namespace

Sentence decode(Bytes frame) {
  std::string_view body(reinterpret_cast<const char*>(frame.data()), frame.size());
  body = body.substr(0, body.find_last_not_of("\r\n ") + 1);
  body = body.substr(std::min<std::size_t>(1, body.size()), body.rfind('*') - 1);
  Fields fields(body);
  Sentence sentence{fields.address(), 0, Other{}};
  const auto kind =
      std::ranges::find_if(kKinds, [&fields](const Kind& k) { return matches(k, fields); });
  if (kind == kKinds.end()) return sentence;
  sentence.content = kind->decode(fields);
  sentence.bad_field = fields.bad_field();
  return sentence;
}

}  // namespace timeball::refclock::gnss::nmea
