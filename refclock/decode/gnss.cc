#include <array>
#include <boost/json.hpp>
#include <concepts>
#include <cstdio>
#include <string>
#include <type_traits>

#include "common/base/printable.h"
#include "refclock/decode/decode.h"
#include "refclock/gnss/nmea.h"
#include "refclock/gnss/stream.h"
#include "refclock/gnss/ubx.h"

namespace timeball::refclock::decode {
namespace {

using boost::json::array;
using boost::json::object;

template <class... T>
std::string format(const char* format, T... values) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), format, values...);
  return text.data();
}

// "19:33:34", "23:57:24.02"
std::string text_of(const gnss::nmea::TimeOfDay& time) {
  std::string text = format("%02u:%02u:%02u", time.hour, time.minute, time.second);
  if (time.ns == 0) return text;
  text += format(".%09u", time.ns);
  return text.substr(0, text.find_last_not_of('0') + 1);
}

std::string text_of(const std::chrono::year_month_day& date) {
  return format("%04d-%02u-%02u", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
}

// As it came: the century is not known.
std::string text_of(const gnss::nmea::ShortDate& date) {
  return format("%02u%02u%02u", date.day, date.month, date.year_of_century);
}

template <std::integral T>
T text_of(T value) {
  return value;
}

// Absent values are left out.
class Members {
 public:
  explicit Members(object& out) : out_(out) {}

  template <class T>
  Members& operator()(const char* name, const std::optional<T>& value) {
    if (value) out_[name] = text_of(*value);
    return *this;
  }
  Members& operator()(const char* name, char letter) {
    if (letter != 0) out_[name] = std::string(1, letter);
    return *this;
  }
  Members& operator()(const char* name, std::string_view text) {
    if (!text.empty()) out_[name] = printable(text);
    return *this;
  }
  Members& operator()(const std::optional<gnss::nmea::Position>& position) {
    if (!position) return *this;
    out_["latitude_ndeg"] = position->latitude_ndeg;
    out_["longitude_ndeg"] = position->longitude_ndeg;
    return *this;
  }

 private:
  object& out_;
};

const char* describe(object& /*out*/, const gnss::nmea::Other& /*unused*/) {
  return nullptr;
}

const char* describe(object& out, const gnss::nmea::Rmc& m) {
  Members{out}("time", m.time)("status", m.status)(m.position)("speed_mknots", m.speed_mknots)(
      "course_mdeg", m.course_mdeg)("date_ddmmyy", m.date)("mode", m.mode)("navigation_status",
                                                                           m.navigation_status);
  return "RMC";
}

const char* describe(object& out, const gnss::nmea::Zda& m) {
  Members{out}("time", m.time)("date", m.date);
  return "ZDA";
}

const char* describe(object& out, const gnss::nmea::Gga& m) {
  Members{out}("time", m.time)(m.position)("quality", m.quality)("satellites", m.satellites)(
      "hdop_centi", m.hdop_centi)("altitude_mm", m.altitude_mm)("geoid_mm", m.geoid_mm);
  return "GGA";
}

const char* describe(object& out, const gnss::nmea::Gsa& m) {
  Members{out}("selection", m.selection)("fix", m.fix)("pdop_centi", m.pdop_centi)(
      "hdop_centi", m.hdop_centi)("vdop_centi", m.vdop_centi)("system", m.system);
  out["satellites"] = array(m.satellites.begin(), m.satellites.end());
  return "GSA";
}

const char* describe(object& out, const gnss::nmea::Gsv& m) {
  Members{out}("messages", m.messages)("number", m.message)("in_view", m.in_view)("signal",
                                                                                  m.signal);
  array satellites;
  for (const auto& satellite : m.satellites) {
    object one;
    Members{one}("id", satellite.id)("elevation_deg", satellite.elevation_deg)(
        "azimuth_deg", satellite.azimuth_deg)("cn0_dbhz", satellite.cn0_dbhz);
    satellites.emplace_back(std::move(one));
  }
  out["satellites"] = std::move(satellites);
  return "GSV";
}

const char* describe(object& out, const gnss::nmea::Gbs& m) {
  Members{out}("time", m.time)("latitude_error_mm", m.latitude_error_mm)(
      "longitude_error_mm", m.longitude_error_mm)("altitude_error_mm", m.altitude_error_mm)(
      "failed_satellite", m.failed_satellite)("missed_probability_ppm", m.missed_probability_ppm)(
      "bias_mm", m.bias_mm)("sigma_mm", m.sigma_mm);
  return "GBS";
}

const char* describe(object& out, const gnss::nmea::Gst& m) {
  Members{out}("time", m.time)("rms_mm", m.rms_mm)("major_mm", m.major_mm)("minor_mm", m.minor_mm)(
      "orientation_mdeg", m.orientation_mdeg)("latitude_sigma_mm", m.latitude_sigma_mm)(
      "longitude_sigma_mm", m.longitude_sigma_mm)("altitude_sigma_mm", m.altitude_sigma_mm);
  return "GST";
}

const char* describe(object& out, const gnss::nmea::Txt& m) {
  Members{out}("messages", m.messages)("number", m.message)("kind", m.kind)("text", m.text);
  return "TXT";
}

const char* describe(object& out, const gnss::nmea::Pubx04& m) {
  Members{out}("time", m.time)("date_ddmmyy", m.date)("utc_tow_ms", m.utc_tow_ms)(
      "utc_week", m.utc_week)("leap_s", m.leap_s)("clock_bias_ns", m.clock_bias_ns)(
      "clock_drift_ps_s", m.clock_drift_ps_s)("pulse_granularity_ns", m.pulse_granularity_ns);
  out["leap_is_default"] = m.leap_is_default;
  return "PUBX,04";
}

const char* describe(object& out, const gnss::nmea::Ptnta& m) {
  Members{out}("gps_date", m.date)("gps_time", m.time)("quality", m.quality)(
      "reference_minus_output_ns", m.reference_minus_output_ns)("fine_phase_ns", m.fine_phase_ns)(
      "status", m.status)("gps", m.gps)("date_quality", m.date_quality);
  return "PTNTA";
}

const char* describe(object& out, const gnss::nmea::Ptnts& m) {
  Members{out}("status", m.status)("frequency", m.frequency)(
      "holdover_frequency", m.holdover_frequency)("constant_mode", m.constant_mode)(
      "time_constant", m.time_constant)("sigma", m.sigma);
  return "PTNTS,B";
}

object nmea_object(object out, const gnss::Frame& frame) {
  const gnss::nmea::Sentence sentence = gnss::nmea::decode(frame.octets);
  object members;
  const char* message = std::visit(
      [&members](const auto& content) { return describe(members, content); }, sentence.content);
  out["message"] = message != nullptr ? message : printable(sentence.address);
  if (!frame.checked) out["checksum"] = "absent";
  if (sentence.bad_field != 0) out["bad_field"] = sentence.bad_field;
  out.insert(members.begin(), members.end());
  std::string_view text(reinterpret_cast<const char*>(frame.octets.data()), frame.octets.size());
  out["sentence"] = text.substr(0, text.find_last_not_of("\r\n") + 1);
  return out;
}

// Walks the fields() of a UBX message.
class UbxMembers {
 public:
  explicit UbxMembers(object& out) : out_(out) {}

  template <std::integral T>
  void operator()(std::string_view name, std::size_t /*offset*/, T value) {
    out_[name] = value;
  }
  template <std::integral T>
  void bits(std::string_view name, std::size_t /*offset*/, unsigned /*shift*/, unsigned /*width*/,
            T value) {
    out_[name] = value;
  }
  void text(std::string_view name, std::size_t /*offset*/, std::size_t /*length*/,
            const std::string& value) {
    out_[name] = printable(value);
  }
  template <class Group>
  void groups(std::string_view name, std::size_t /*offset*/, std::size_t /*stride*/,
              std::size_t /*count*/, const std::vector<Group>& values) {
    array all;
    for (const Group& value : values) {
      object one;
      UbxMembers members(one);
      Group::fields(value, members);
      all.emplace_back(std::move(one));
    }
    out_[name] = std::move(all);
  }
  static std::size_t length() { return 0; }

 private:
  object& out_;
};

object ubx_object(object out, const gnss::Frame& frame) {
  const gnss::ubx::Packet packet = gnss::ubx::packet_of(frame);
  out["message"] = format("%02x-%02x", packet.message_class, packet.id);
  const auto decoded = gnss::ubx::decode(packet);
  if (!decoded) {
    out["refused"] = name(gnss::Protocol::kUbx);
    out["why"] = name(decoded.error());
    out["octets"] = frame.octets.size();
    return out;
  }
  std::visit(
      [&out, &packet]<class T>(const T& message) {
        if constexpr (std::is_same_v<T, gnss::ubx::Other>) {
          out["octets"] = packet.payload.size();
        } else {
          out["message"] = T::kName;
          UbxMembers members(out);
          T::fields(message, members);
        }
      },
      *decoded);
  return out;
}

object rtcm3_object(object out, const gnss::Frame& frame) {
  const Bytes payload = frame.octets.subspan(3, frame.octets.size() - 6);
  out["message"] =
      payload.size() < 2 ? std::string("empty") : std::to_string(load_be16(payload.data()) >> 4);
  out["octets"] = payload.size();
  return out;
}

object object_of(const gnss::Frame& frame) {
  object out{{"offset", frame.offset}, {"protocol", name(frame.protocol)}};
  switch (frame.protocol) {
    case gnss::Protocol::kNmea:
      return nmea_object(std::move(out), frame);
    case gnss::Protocol::kUbx:
      return ubx_object(std::move(out), frame);
    case gnss::Protocol::kRtcm3:
      return rtcm3_object(std::move(out), frame);
    case gnss::Protocol::kComment:
    case gnss::Protocol::kNone:
      break;
  }
  std::string_view text(reinterpret_cast<const char*>(frame.octets.data()), frame.octets.size());
  out["text"] = printable(text.substr(0, text.find_last_not_of("\r\n") + 1));
  return out;
}

object object_of(const gnss::Refusal& refusal) {
  return {{"offset", refusal.offset},
          {"refused", name(refusal.protocol)},
          {"why", name(refusal.why)},
          {"octets", refusal.octets}};
}

}  // namespace

std::uint64_t decode_gnss(std::istream& log, const Print& print) {
  gnss::Stream stream(gnss::Stream::Comments::kTaken);
  const auto drain = [&stream, &print] {
    while (const auto event = stream.next()) {
      print(std::visit([](const auto& e) { return object_of(e); }, *event));
    }
  };
  std::array<char, 16384> read{};
  while (log.read(read.data(), read.size()) || log.gcount() > 0) {
    stream.add({reinterpret_cast<const std::uint8_t*>(read.data()),
                static_cast<std::size_t>(log.gcount())},
               HostTime{});
    drain();
  }
  stream.end();
  drain();
  std::uint64_t messages = 0;
  for (const auto protocol :
       {gnss::Protocol::kNmea, gnss::Protocol::kUbx, gnss::Protocol::kRtcm3}) {
    messages += stream.counts().frames[static_cast<std::size_t>(protocol)];
  }
  return messages;
}

}  // namespace timeball::refclock::decode
