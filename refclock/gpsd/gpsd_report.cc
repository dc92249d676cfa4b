#include "refclock/gpsd/gpsd_report.h"

#include <array>
#include <boost/json/parse.hpp>
#include <charconv>
#include <chrono>
#include <cmath>

#include "common/time/ntp_timestamp.h"

namespace timeball::refclock {
namespace {

namespace json = boost::json;

constexpr int kTaiMinusGps_s = 19;

// Within [low, high]; nothing when it is absent, no number, or beyond.
std::optional<double> number(const json::object& object, std::string_view name, double low,
                             double high) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  const double n = value->to_number<double>();
  if (!(n >= low && n <= high)) return std::nullopt;
  return n;
}

std::optional<std::int64_t> integer(const json::object& object, std::string_view name,
                                    std::int64_t low, std::int64_t high) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_int64()) return std::nullopt;
  const std::int64_t n = value->get_int64();
  if (n < low || n > high) return std::nullopt;
  return n;
}

std::string text(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

Antenna antenna(std::int64_t ant) {
  constexpr std::array<Antenna, 4> kMeaning = {Antenna::kUnknown, Antenna::kOk, Antenna::kShort,
                                               Antenna::kOpen};
  return kMeaning[static_cast<std::size_t>(ant)];
}

GpsdTpv tpv(const json::object& object) {
  GpsdTpv report;
  report.device = text(object, "device");
  report.mode = static_cast<int>(integer(object, "mode", 0, 3).value_or(0));
  report.status = static_cast<int>(integer(object, "status", 0, 99).value_or(0));
  if (const auto time = parse_gpsd_time(text(object, "time"))) {
    report.time = time->time;
    report.leap_second = time->leap_second;
  }
  if (const auto ept_s = number(object, "ept", 0, 86'400)) {
    report.time_error = Duration(static_cast<std::int64_t>(std::ceil(*ept_s * 1e9)));
  }
  if (const auto leap = integer(object, "leapseconds", 0, 255)) {
    report.leap_seconds = static_cast<int>(*leap);
  }
  if (const auto jam = integer(object, "jam", 0, 255)) {
    report.jamming_indicator = static_cast<unsigned>(*jam);
  }
  report.antenna = antenna(integer(object, "ant", 0, 3).value_or(0));
  return report;
}

std::optional<int> degrees(const json::object& object, std::string_view name, double low,
                           double high) {
  const auto value = number(object, name, low, high);
  return value ? std::optional(static_cast<int>(std::lround(*value))) : std::nullopt;
}

// gnssid and svid of gpsd_json(5), which are u-blox's; without them its own numbering, PRN.
Satellite satellite(const json::object& object) {
  constexpr std::array<Constellation, 8> kSystems = {
      Constellation::kGps,     Constellation::kSbas,    Constellation::kGalileo,
      Constellation::kBeidou,  Constellation::kUnknown, Constellation::kQzss,
      Constellation::kGlonass, Constellation::kNavic};
  Satellite one;
  const auto system = integer(object, "gnssid", 0, kSystems.size() - 1);
  const auto id = integer(object, system ? "svid" : "PRN", 0, 999);
  if (system) one.system = kSystems[static_cast<std::size_t>(*system)];
  one.number = static_cast<unsigned>(id.value_or(0));
  one.elevation_deg = degrees(object, "el", -90, 90);
  one.azimuth_deg = degrees(object, "az", 0, 360);
  if (one.azimuth_deg == 360) one.azimuth_deg = 0;
  if (const auto strength = degrees(object, "ss", 1, 99)) {
    one.cn0_dbhz = static_cast<unsigned>(*strength);
  }
  const json::value* used = object.if_contains("used");
  one.used = used != nullptr && used->is_bool() && used->get_bool();
  return one;
}

GpsdSky sky(const json::object& object) {
  GpsdSky report;
  report.device = text(object, "device");
  report.in_view = static_cast<unsigned>(integer(object, "nSat", 0, 1000).value_or(0));
  report.used = static_cast<unsigned>(integer(object, "uSat", 0, 1000).value_or(0));
  report.sky.pdop = number(object, "pdop", 0, 99);
  report.sky.tdop = number(object, "tdop", 0, 99);
  const json::value* satellites = object.if_contains("satellites");
  if (satellites == nullptr || !satellites->is_array()) return report;
  for (const json::value& one : satellites->get_array()) {
    if (report.sky.satellites.size() == kMaxSatellites) break;
    if (one.is_object()) report.sky.satellites.push_back(satellite(one.get_object()));
  }
  return report;
}

Result<GpsdReport> pps(const json::object& object) {
  constexpr std::int64_t kMost_s = 9'000'000'000;
  const auto real_s = integer(object, "real_sec", 0, kMost_s);
  const auto real_ns = integer(object, "real_nsec", 0, kNsPerSecond - 1);
  const auto clock_s = integer(object, "clock_sec", 0, kMost_s);
  const auto clock_ns = integer(object, "clock_nsec", 0, kNsPerSecond - 1);
  if (!real_s || !real_ns || !clock_s || !clock_ns) return fail("a PPS report without its times");
  GpsdPps report;
  report.device = text(object, "device");
  report.real = {*real_s * kNsPerSecond + *real_ns};
  report.clock = {*clock_s * kNsPerSecond + *clock_ns};
  report.precision = static_cast<int>(integer(object, "precision", -40, 0).value_or(-10));
  if (const auto error = integer(object, "qErr", -1'000'000, 1'000'000)) {
    report.error_ps = static_cast<std::int32_t>(*error);
  }
  return report;
}

// Some digits, exactly.
std::optional<int> digits(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.front() == '-') return {};
  return value;
}

}  // namespace

std::optional<GpsdTime> parse_gpsd_time(std::string_view text) {
  using namespace std::chrono;
  constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:dd";
  if (text.size() < kShape.size() + 1 || text.back() != 'Z') return std::nullopt;
  for (std::size_t i = 0; i < kShape.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (kShape[i] == 'd' ? !digit : text[i] != kShape[i]) return std::nullopt;
  }
  const auto part = [&](std::size_t at, std::size_t size) {
    return *digits(text.substr(at, size));
  };
  const year_month_day date(year(part(0, 4)), month(static_cast<unsigned>(part(5, 2))),
                            day(static_cast<unsigned>(part(8, 2))));
  const int second = part(17, 2);
  if (!date.ok() || date.year() < year(1970) || date.year() > year(2200) || part(11, 2) > 23 ||
      part(14, 2) > 59 || second > 60)
    return std::nullopt;
  std::int64_t fraction_ns = 0;
  std::string_view rest = text.substr(kShape.size(), text.size() - kShape.size() - 1);
  if (!rest.empty()) {
    rest.remove_prefix(1);
    if (text[kShape.size()] != '.' || rest.empty() || rest.size() > 9) return std::nullopt;
    const auto value = digits(rest);
    if (!value) return std::nullopt;
    fraction_ns = *value;
    for (std::size_t i = rest.size(); i < 9; ++i) fraction_ns *= 10;
  }
  const auto time = sys_days(date) + hours(part(11, 2)) + minutes(part(14, 2)) + seconds(second);
  return GpsdTime{{time.time_since_epoch().count() * kNsPerSecond + fraction_ns}, second == 60};
}

Result<GpsdReport> parse_gpsd(std::string_view line) {
  if (line.size() > kMaxGpsdLine) return fail("a line longer than gpsd writes");
  json::error_code error;
  const json::value value = json::parse(json::string_view(line), error);
  if (error) return fail("not JSON: " + error.message());
  const json::object* object = value.if_object();
  if (object == nullptr) return fail("not a JSON object");
  const std::string report_class = text(*object, "class");
  if (report_class.empty()) return fail("a report without a class");
  if (report_class == "TPV") return tpv(*object);
  if (report_class == "SKY") return sky(*object);
  if (report_class == "PPS") return pps(*object);
  if (report_class == "VERSION") {
    const auto major = integer(*object, "proto_major", 0, 1000);
    return GpsdVersion{text(*object, "release"), static_cast<int>(major.value_or(0))};
  }
  return GpsdOther{report_class};
}

bool GpsdFold::ours(const std::string& device) {
  if (device_.empty()) device_ = device;
  return device == device_;
}

GpsdFold::Observations GpsdFold::step(const GpsdReport& report, HostTime arrival) {
  if (const auto* r = std::get_if<GpsdTpv>(&report)) return take(*r, arrival);
  if (const auto* r = std::get_if<GpsdSky>(&report)) return take(*r, arrival);
  if (const auto* r = std::get_if<GpsdPps>(&report)) return take(*r, arrival);
  return {};
}

// Mode 0 with a time is a receiver in timing mode, which reports no position.
GpsdFold::Observations GpsdFold::take(const GpsdTpv& tpv, HostTime arrival) {
  if (!ours(tpv.device)) return {};
  const bool invented = tpv.status == 5 || tpv.status == 6 || tpv.status == 8;
  condition_.at = arrival;
  condition_.usable = tpv.mode != 1 && tpv.time.has_value() && !invented;
  condition_.time_accuracy = tpv.time_error;
  condition_.jamming_indicator = tpv.jamming_indicator;
  condition_.antenna = tpv.antenna;
  Observations out;
  out.condition = condition_;
  if (tpv.time && tpv.time->ns % kNsPerSecond == 0) {
    out.label = SecondLabel{arrival, *tpv.time, SecondLabel::Names::kLastPulse,
                            condition_.usable && tpv.leap_seconds.has_value(), tpv.leap_second};
  }
  if (tpv.leap_seconds) {
    out.leap = LeapNotice{LeapNotice::Source::kReceiver,
                          condition_.usable,
                          *tpv.leap_seconds + kTaiMinusGps_s,
                          LeapIndicator::kNone,
                          {}};
  }
  return out;
}

GpsdFold::Observations GpsdFold::take(const GpsdSky& sky, HostTime arrival) {
  if (!ours(sky.device)) return {};
  condition_.at = arrival;
  condition_.satellites_in_view = sky.in_view;
  condition_.satellites_used = sky.used;
  Observations out;
  out.sky = sky.sky;
  return out;
}

GpsdFold::Observations GpsdFold::take(const GpsdPps& pps, HostTime) {
  if (!ours(pps.device)) return {};
  Observations out;
  out.pulse = pps;
  if (pps.error_ps && pps.real.ns % kNsPerSecond == 0) {
    out.quantisation = QuantisationError{pps.real, *pps.error_ps, true};
  }
  return out;
}

}  // namespace timeball::refclock
