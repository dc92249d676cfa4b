#include "server/status_text.h"

#include <spdlog/fmt/fmt.h>

#include <array>
#include <boost/json.hpp>
#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/printable.h"
#include "common/time/duration_text.h"

namespace timeball::server {
namespace {

namespace json = boost::json;

constexpr std::string_view kUnknown = "unknown";
constexpr int kGood = 32, kAttention = 33, kBad = 31;  // ANSI: green, yellow, red

std::string coloured(std::string text, int code, bool colour) {
  return colour ? fmt::format("\x1b[1;{}m{}\x1b[0m", code, text) : text;
}

// Of an answer's members none is taken for granted: the daemon may be another version.
const json::value* find(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && !value->is_null() ? value : nullptr;
}

const json::object* object_at(const json::object& object, std::string_view key) {
  const json::value* value = find(object, key);
  return value != nullptr ? value->if_object() : nullptr;
}

const json::array& array_at(const json::object& object, std::string_view key) {
  static const json::array kNone;
  const json::value* value = find(object, key);
  const json::array* array = value != nullptr ? value->if_array() : nullptr;
  return array != nullptr ? *array : kNone;
}

std::optional<double> number_at(const json::object& object, std::string_view key) {
  const json::value* value = find(object, key);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  return value->to_number<double>();
}

bool flag_at(const json::object& object, std::string_view key) {
  const json::value* value = find(object, key);
  return value != nullptr && value->is_bool() && value->get_bool();
}

std::string text_at(const json::object& object, std::string_view key) {
  const json::value* value = find(object, key);
  if (value == nullptr) return std::string(kUnknown);
  const json::string* text = value->if_string();
  return printable(text != nullptr ? std::string(*text) : json::serialize(*value));
}

// "312 ns", "1.21 us": three digits.
std::string span_text(std::optional<double> seconds) {
  if (!seconds) return std::string(kUnknown);
  constexpr std::array<std::pair<double, std::string_view>, 4> kUnits{
      {{1, "s"}, {1e-3, "ms"}, {1e-6, "us"}, {1e-9, "ns"}}};
  for (const auto& [unit, name] : kUnits) {
    if (std::abs(*seconds) >= unit || unit == kUnits.back().first) {
      return fmt::format("{:.3g} {}", *seconds / unit, name);
    }
  }
  return {};
}

// "3 d 4 h", "12 min": how long something has gone on.
std::string age_text(std::optional<double> seconds) {
  if (!seconds) return std::string(kUnknown);
  const auto s = static_cast<std::int64_t>(std::abs(*seconds));
  if (s < 120) return fmt::format("{} s", s);
  if (s < 2 * 3600) return fmt::format("{} min", s / 60);
  if (s < 48 * 3600) return fmt::format("{} h {} min", s / 3600, s / 60 % 60);
  return fmt::format("{} d {} h", s / 86400, s / 3600 % 24);
}

std::string rate_text(std::optional<double> rate) {
  if (!rate) return std::string(kUnknown);
  return *rate < 10 ? fmt::format("{:.1f}/s", *rate) : fmt::format("{:.0f}/s", *rate);
}

std::string percentiles_text(const json::object* percentiles) {
  if (percentiles == nullptr) return "not measured yet";
  return fmt::format("p50 {}, p99 {}", span_text(number_at(*percentiles, "p50")),
                     span_text(number_at(*percentiles, "p99")));
}

std::string row(std::string_view name, const std::string& text) {
  return fmt::format("{:<13}{}\n", name, text);
}

struct Verdict {
  std::string text;
  int colour;
};

Verdict verdict_of(const json::object& time) {
  if (!flag_at(time, "synchronised")) {
    return {"NOT SYNCHRONISED: clients are told to stay away", kBad};
  }
  const std::string within = "within " + span_text(number_at(time, "error_bound_s"));
  if (text_at(time, "state") != "HOLDOVER") return {"right, " + within, kGood};
  const auto left = number_at(time, "holdover_remaining_s");
  return {"HOLDOVER, " + within + (left ? ", good for " + age_text(left) + " more" : ""),
          kAttention};
}

std::string time_text(const json::object& time, bool colour) {
  const auto [verdict, code] = verdict_of(time);
  std::string text = row("time", coloured(verdict, code, colour));
  std::string state;
  if (find(time, "state") != nullptr) {
    state =
        fmt::format("{} for {}, ", text_at(time, "state"), age_text(number_at(time, "state_s")));
  }
  text += row("", fmt::format("{}stratum {}, reference {}, {} old", state, text_at(time, "stratum"),
                              text_at(time, "reference_id"),
                              span_text(number_at(time, "reference_age_s"))));
  for (const json::value& flag : array_at(time, "flags")) {
    if (flag.is_string()) {
      text += row("", coloured(printable(std::string(flag.get_string())), kAttention, colour));
    }
  }
  return text;
}

std::string service_text(const json::object& status) {
  std::string text;
  if (const auto* ntp = object_at(status, "ntp")) {
    text += row("NTP", fmt::format("{}, {} of them NTS; T3 to the wire {}",
                                   rate_text(number_at(*ntp, "requests_per_s")),
                                   rate_text(number_at(*ntp, "nts_per_s")),
                                   percentiles_text(object_at(*ntp, "t3_to_wire_s"))));
  }
  if (const auto* ke = object_at(status, "nts_ke")) {
    text +=
        row("NTS-KE",
            fmt::format("{}, {} open; handshake {}", rate_text(number_at(*ke, "handshakes_per_s")),
                        text_at(*ke, "open"), percentiles_text(object_at(*ke, "handshake_s"))));
  }
  if (const auto* keys = object_at(status, "keys")) {
    text += row("keys", fmt::format("{} ({}), rotated {} ago, next in {}",
                                    array_at(*keys, "generations").size(),
                                    text_at(*keys, "provider"), age_text(number_at(*keys, "age_s")),
                                    age_text(number_at(*keys, "next_rotation_s"))));
  }
  for (const json::value& certificate : array_at(status, "certificates")) {
    const auto* c = certificate.if_object();
    if (c == nullptr) continue;
    const auto days = number_at(*c, "days_left");
    text += row("certificate",
                fmt::format("{}: {}{}", text_at(*c, "file"),
                            days ? fmt::format("{:.0f} days left", *days) : std::string(kUnknown),
                            flag_at(*c, "refused") ? ", what is in its files is refused" : ""));
  }
  return text;
}

int colour_of(const std::string& severity) {
  return severity == "critical" ? kBad : kAttention;
}

std::string receiver_text(const json::object& receiver) {
  return fmt::format(
      "{}: {}, {} of {} satellites used, accuracy {}\n{:<13}jamming {}, spoofing {}, antenna {}",
      find(receiver, "model") ? text_at(receiver, "model") : text_at(receiver, "kind"),
      flag_at(receiver, "usable") ? "usable" : "NOT usable", text_at(receiver, "satellites_used"),
      text_at(receiver, "satellites_in_view"), span_text(number_at(receiver, "time_accuracy_s")),
      "", text_at(receiver, "jamming"), text_at(receiver, "spoofing"),
      text_at(receiver, "antenna"));
}

std::string rubidium_text(const json::object& rubidium) {
  const auto temperature = number_at(rubidium, "temperature_c");
  return fmt::format("{}: {}{}", text_at(rubidium, "model"),
                     flag_at(rubidium, "locked") ? "locked" : "NOT locked",
                     temperature ? fmt::format(", {:.1f} C", *temperature) : "");
}

std::string satellite_text(const json::object& satellite) {
  return fmt::format("  {:<9}{:>4}{:>11}{:>9}{:>7}  {}\n", text_at(satellite, "system"),
                     text_at(satellite, "number"), text_at(satellite, "elevation_deg"),
                     text_at(satellite, "azimuth_deg"), text_at(satellite, "cno_dbhz"),
                     flag_at(satellite, "used") ? "used" : "");
}

}  // namespace

std::string status_text(const json::object& status, bool colour) {
  std::string text;
  if (const auto* time = object_at(status, "time")) text += time_text(*time, colour);
  text += service_text(status);
  if (const auto* receiver = object_at(status, "receiver")) {
    text += row("receiver", receiver_text(*receiver));
  }
  if (const auto* rubidium = object_at(status, "rubidium")) {
    text += row("rubidium", rubidium_text(*rubidium));
  }
  return text + alarms_text(status, colour);
}

std::string sources_text(const json::object& status, bool colour) {
  std::string text;
  if (const auto* time = object_at(status, "time")) text += time_text(*time, colour);
  if (const auto* rubidium = object_at(status, "rubidium")) {
    text += row("rubidium", rubidium_text(*rubidium));
  }
  for (const json::value& value : array_at(status, "pulses")) {
    const auto* pulse = value.if_object();
    if (pulse == nullptr) continue;
    text += row("pulse", fmt::format("{}: {} pulses, {} missed", text_at(*pulse, "device"),
                                     text_at(*pulse, "pulses"), text_at(*pulse, "missed")));
  }
  for (const json::value& value : array_at(status, "samples")) {
    const auto* sample = value.if_object();
    if (sample == nullptr) continue;
    text += row("sample", fmt::format("{}: {} samples, newest {}", text_at(*sample, "device"),
                                      text_at(*sample, "samples"),
                                      span_text(number_at(*sample, "offset_s"))));
  }
  const auto* receiver = object_at(status, "receiver");
  if (receiver == nullptr) return text;
  text += row("receiver", receiver_text(*receiver));
  const json::array& satellites = array_at(*receiver, "satellites");
  if (satellites.empty()) return text;
  text += "  system   number  elevation  azimuth  C/N0\n";
  for (const json::value& satellite : satellites) {
    if (const auto* s = satellite.if_object()) text += satellite_text(*s);
  }
  return text;
}

std::string alarms_text(const json::object& status, bool colour) {
  const json::array& alarms = array_at(status, "alarms");
  if (alarms.empty()) return row("alarms", "none");
  std::string text;
  for (const json::value& value : alarms) {
    const auto* alarm = value.if_object();
    if (alarm == nullptr) continue;
    const std::string severity = text_at(*alarm, "severity");
    const std::string head = fmt::format("{} ({}), for {}", text_at(*alarm, "name"), severity,
                                         age_text(number_at(*alarm, "for_s")));
    text += row("alarm", coloured(head, colour_of(severity), colour));
    text += row("", text_at(*alarm, "meaning"));
    text += row("", "-> " + text_at(*alarm, "action"));
  }
  return text;
}

std::string clients_text(const json::object& clients) {
  const json::array& all = array_at(clients, "clients");
  if (all.empty()) return "nobody has asked yet\n";
  std::string text = fmt::format("{:<40}{:>14}\n", "client", "requests");
  for (const json::value& value : all) {
    if (const auto* client = value.if_object()) {
      text +=
          fmt::format("{:<40}{:>14}\n", text_at(*client, "address"), text_at(*client, "requests"));
    }
  }
  return text;
}

Health health_of(const json::object& status, const HealthLimits& limits) {
  const auto* time = object_at(status, "time");
  if (time == nullptr) return Health::kUnknown;
  const auto bound = number_at(*time, "error_bound_s");
  const auto over = [&](const std::optional<Duration>& limit) {
    return limit && (!bound || *bound > std::chrono::duration<double>(*limit).count());
  };
  if (!flag_at(*time, "synchronised") || over(limits.critical)) return Health::kCritical;
  Health health = over(limits.warning) ? Health::kWarning : Health::kOk;
  for (const json::value& value : array_at(status, "alarms")) {
    const auto* alarm = value.if_object();
    const std::string severity = alarm != nullptr ? text_at(*alarm, "severity") : "";
    if (severity == "critical") return Health::kCritical;
    if (severity != "minor") health = Health::kWarning;
  }
  return health;
}

std::string plugin_text(const json::object& status, const HealthLimits& limits) {
  constexpr std::array<const char*, 4> kWords{"OK", "WARNING", "CRITICAL", "UNKNOWN"};
  const Health health = health_of(status, limits);
  std::string text = fmt::format("TIMEBALL {} - ", kWords[static_cast<std::size_t>(health)]);
  const auto* time = object_at(status, "time");
  if (time == nullptr) return text + "the daemon does not say what time it serves\n";
  text += verdict_of(*time).text;
  for (const json::value& value : array_at(status, "alarms")) {
    if (const auto* alarm = value.if_object()) text += ", " + text_at(*alarm, "name");
  }
  const auto limit = [](const std::optional<Duration>& d) {
    return d ? fmt::format("{:g}", std::chrono::duration<double>(*d).count()) : std::string();
  };
  const auto value = [](const json::object* object, std::string_view key) {
    const auto v = object != nullptr ? number_at(*object, key) : std::nullopt;
    return v ? fmt::format("{:g}", *v) : std::string("U");
  };
  return text + fmt::format(" | error_bound={}s;{};{};0 offset={}s requests={} handshakes={}\n",
                            value(time, "error_bound_s"), limit(limits.warning),
                            limit(limits.critical), value(time, "offset_s"),
                            value(object_at(status, "ntp"), "requests_per_s"),
                            value(object_at(status, "nts_ke"), "handshakes_per_s"));
}

}  // namespace timeball::server
