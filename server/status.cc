#include "server/status.h"

#include <spdlog/fmt/chrono.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <string>
#include <utility>

#include "common/time/ntp_timestamp.h"
#include "server/settings.h"

namespace timeball::server {
namespace {

namespace json = boost::json;
using refclock::GnssCondition;
using refclock::RackStatus;
using refclock::State;

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}
json::value seconds(const std::optional<Duration>& duration) {
  return duration ? json::value(seconds(*duration)) : nullptr;
}

template <class T>
json::value or_null(const std::optional<T>& known) {
  return known ? json::value(*known) : nullptr;
}

json::value text_or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

json::value quantiles(const std::optional<Quantiles>& q) {
  if (!q) return nullptr;
  return {{"p50", q->p50_s}, {"p99", q->p99_s}};
}

std::string utc_text(std::int64_t unix_s) {
  return fmt::format("{:%FT%T}", fmt::gmtime(static_cast<std::time_t>(unix_s)));
}

// ---- The time served.

// RFC 5905, figure 12: text at stratum 1, an address or its like beyond.
std::string reference_id(const ClockState& state) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8) {
    const auto octet = static_cast<char>(state.reference_id >> shift & 0xFF);
    if (octet >= ' ' && octet <= '~') text += octet;
    if (octet != 0 && (octet < ' ' || octet > '~'))
      return fmt::format("{:08x}", state.reference_id);
  }
  return text;
}

json::array flags(const refclock::RackClockStatus& clock) {
  json::array raised;
  if (clock.suspect) raised.emplace_back("suspect");
  if (clock.degraded) raised.emplace_back("degraded");
  if (clock.leap_unknown) raised.emplace_back("leap-unknown");
  return raised;
}

json::object time_json(const Snapshot& snapshot) {
  json::object time{{"synchronised", false},
                    {"stratum", kMaxStratum},
                    {"leap", 3},
                    {"reference_id", nullptr},
                    {"error_bound_s", nullptr},
                    {"offset_s", nullptr},
                    {"root_delay_s", nullptr},
                    {"root_dispersion_s", nullptr},
                    {"reference_age_s", nullptr},
                    {"state", nullptr},
                    {"state_s", nullptr},
                    {"flags", json::array()},
                    {"holdover_s", nullptr},
                    {"holdover_remaining_s", nullptr}};
  if (snapshot.clock) {
    const auto& [state, now] = *snapshot.clock;
    time["synchronised"] = state.synchronised();
    time["stratum"] = state.stratum;
    time["leap"] = state.synchronised() ? static_cast<int>(state.leap) : 3;
    time["error_bound_s"] = seconds(error_bound_of(snapshot));
    if (const auto utc = utc_of(snapshot)) time["offset_s"] = seconds(Duration(utc->ns - now.ns));
    if (state.synchronised()) {
      time["reference_id"] = reference_id(state);
      time["root_delay_s"] = seconds(state.root_delay);
      time["root_dispersion_s"] = seconds(state.root_dispersion(now));
      time["reference_age_s"] = seconds(now - state.reference_time);
    }
  }
  if (!snapshot.rack) return time;
  const refclock::RackClockStatus& clock = snapshot.rack->clock;
  time["state"] = name_of(clock.state);
  time["state_s"] = seconds(clock.at - clock.state_since);
  time["flags"] = flags(clock);
  time["holdover_s"] = seconds(clock.holdover);
  time["holdover_remaining_s"] = seconds(clock.holdover_remaining);
  return time;
}

// ---- What is served.

const char* io_name(net::IoBackend io) {
  switch (io) {
    case net::IoBackend::kIoUring:
      return "io_uring";
    case net::IoBackend::kXdp:
      return "xdp";
    case net::IoBackend::kAuto:
    case net::IoBackend::kMmsg:
      break;
  }
  return "mmsg";
}

json::array xdp_json(const Snapshot& snapshot) {
  json::array all;
  for (const net::XdpStatus& one : snapshot.xdp) {
    all.push_back({{"interface", one.interface},
                   {"mode", one.native ? "native" : "generic"},
                   {"zero_copy", one.zero_copy},
                   {"queues", one.queues},
                   {"serving", one.taking},
                   {"received", one.received},
                   {"sent", one.sent},
                   {"lost", one.ring_full}});
  }
  return all;
}

json::object ntp_json(const Snapshot& snapshot, const Config& config) {
  std::array<std::uint64_t, kVerdicts> verdicts{};
  std::uint64_t received = 0, sent = 0;
  for (const ShardCounters* shard : snapshot.shards) {
    for (std::size_t i = 0; i < kVerdicts; ++i) verdicts[i] += shard->verdicts[i].value();
    received += shard->octets_received.value();
    sent += shard->octets_sent.value();
  }
  json::object requests;
  for (std::size_t i = 0; i < kVerdicts; ++i) {
    requests[name(static_cast<Verdict>(i))] = verdicts[i];
  }
  return {{"requests", std::move(requests)},
          {"requests_per_s", snapshot.recent.requests_per_s},
          {"nts_per_s", snapshot.recent.nts_per_s},
          {"shards", snapshot.shards.size()},
          {"io", io_name(config.ntp.io)},
          {"xdp", xdp_json(snapshot)},
          {"received_bytes", received},
          {"sent_bytes", sent},
          {"t3_to_wire_s", quantiles(snapshot.recent.t3_to_wire)}};
}

json::value nts_ke_json(const Snapshot& snapshot) {
  if (!snapshot.nts_ke) return nullptr;
  json::object connections;
  for (std::size_t i = 0; i < kKeOutcomes; ++i) {
    connections[name(static_cast<KeOutcome>(i))] = snapshot.nts_ke->outcomes[i];
  }
  return {{"connections", std::move(connections)},
          {"handshakes_per_s", snapshot.recent.handshakes_per_s},
          {"open", snapshot.nts_ke->open_connections},
          {"handshake_s", quantiles(snapshot.recent.handshake)}};
}

json::array certificates_json(const Snapshot& snapshot) {
  json::array all;
  if (!snapshot.certificates) return all;
  const std::optional<UtcTime> utc = utc_of(snapshot);
  for (const CertificateStatus& one : snapshot.certificates->each) {
    json::value days = nullptr;
    if (utc) days = (static_cast<double>(one.not_after_s) - seconds(Duration(utc->ns))) / 86'400;
    all.push_back({{"file", one.file},
                   {"not_after", utc_text(one.not_after_s) + 'Z'},
                   {"days_left", std::move(days)},
                   {"refused", one.refused}});
  }
  return all;
}

// ---- The devices.

constexpr std::array<const char*, 4> kJamming{"unknown", "none", "warning", "critical"};
constexpr std::array<const char*, 4> kSpoofing{"unknown", "none", "indicated", "affirmed"};
constexpr std::array<const char*, 4> kAntenna{"unknown", "good", "short", "open"};

template <class Enum>
const char* word(const std::array<const char*, 4>& words, Enum value) {
  return words[static_cast<std::size_t>(value)];
}

json::array satellites_json(const refclock::Sky& sky) {
  json::array all;
  for (const refclock::Satellite& one : sky.satellites) {
    all.push_back({{"system", name_of(one.system)},
                   {"number", one.number},
                   {"elevation_deg", or_null(one.elevation_deg)},
                   {"azimuth_deg", or_null(one.azimuth_deg)},
                   {"cno_dbhz", or_null(one.cn0_dbhz)},
                   {"used", one.used}});
  }
  return all;
}

json::value receiver_json(const RackStatus& rack) {
  if (!rack.gnss && !rack.gpsd) return nullptr;
  const GnssCondition seen = rack.clock.gnss.value_or(GnssCondition{});
  return {{"kind", rack.gnss ? "gnss" : "gpsd"},
          {"model", rack.gnss ? text_or_null(rack.gnss->model) : nullptr},
          {"usable", seen.usable},
          {"satellites_used", or_null(seen.satellites_used)},
          {"satellites_in_view", or_null(seen.satellites_in_view)},
          {"time_accuracy_s", seconds(seen.time_accuracy)},
          {"position_offset_m", or_null(seen.position_offset_m)},
          {"jamming", word(kJamming, seen.jamming)},
          {"spoofing", word(kSpoofing, seen.spoofing)},
          {"antenna", word(kAntenna, seen.antenna)},
          {"satellites", satellites_json(rack.gnss ? rack.gnss->sky : rack.gpsd->sky)}};
}

json::array pulses_json(const RackStatus& rack) {
  json::array all;
  for (const refclock::PulseStatus& pulse : rack.pulses) {
    const bool gnss = pulse.input == refclock::PulseInput::kGnss;
    all.push_back({{"device", pulse.device},
                   {"input", gnss ? "gnss" : "rubidium"},
                   {"open", pulse.open},
                   {"pulses", pulse.counts.pulses},
                   {"missed", pulse.counts.missed},
                   {"width_s", seconds(pulse.width)}});
  }
  return all;
}

json::array samples_json(const RackStatus& rack) {
  json::array all;
  for (const refclock::SampleStatus& sample : rack.samples) {
    all.push_back({{"device", sample.device},
                   {"samples", sample.samples},
                   {"refused", sample.refused},
                   {"offset_s", seconds(sample.offset)}});
  }
  return all;
}

json::value rubidium_json(const RackStatus& rack, const Config& config) {
  if (!rack.rubidium) return nullptr;
  const auto configured =
      std::ranges::find(config.refclocks, RefclockDriver::kRubidium, &RefclockConfig::driver);
  json::object readings;
  for (const auto& [name, value] : rack.rubidium->readings) readings[name] = value;
  const auto& seen = rack.clock.oscillator;
  return {{"model", configured == config.refclocks.end() ? json::value(nullptr)
                                                         : json::value(configured->model)},
          {"identity", text_or_null(rack.rubidium->identity)},
          {"locked", seen ? json::value(seen->locked) : nullptr},
          {"phase_s", seen ? seconds(seen->phase) : nullptr},
          {"temperature_c", seen ? or_null(seen->temperature_c) : nullptr},
          {"readings", std::move(readings)}};
}

}  // namespace

json::object keys_json(const KeysSample& keys, const Config& config) {
  const auto whole_seconds = [](Duration d) {
    return std::chrono::duration_cast<std::chrono::seconds>(d).count();
  };
  json::array generations;
  for (std::size_t i = 0; i < keys.ids.size(); ++i) {
    const char* role = i == 0 ? "next" : i == 1 ? "current" : "old";
    generations.push_back({{"id", fmt::format("{:08x}", keys.ids[i])}, {"role", role}});
  }
  json::object shown{{"provider", keys.status.cluster ? "etcd" : "file"},
                     {"file", config.keys.file},
                     {"age_s", whole_seconds(keys.now - keys.status.current_since)},
                     {"next_rotation_s", whole_seconds(keys.status.next_rotation - keys.now)},
                     {"generations", std::move(generations)},
                     {"cluster", nullptr}};
  if (const auto& cluster = keys.status.cluster) {
    shown["cluster"] = {{"name", config.etcd.cluster},
                        {"sequence", cluster->sequence},
                        {"in_contact", cluster->in_contact},
                        {"refused", cluster->refused},
                        {"rotates", cluster->rotates}};
  }
  return shown;
}

json::array alarms_json(const RaisedAlarms& alarms) {
  json::array all;
  for (const RaisedAlarm& alarm : alarms.all()) {
    json::value since = nullptr;
    if (alarm.since_utc) since = utc_text(alarm.since_utc->ns / kNsPerSecond) + 'Z';
    all.push_back({{"name", alarm.kind->name},
                   {"severity", name_of(alarm.kind->severity)},
                   {"since", std::move(since)},
                   {"for_s", seconds(alarms.updated_at() - alarm.since)},
                   {"meaning", alarm.kind->meaning},
                   {"action", alarm.kind->action},
                   {"runbook", alarm.kind->runbook()}});
  }
  return all;
}

json::object history_json(const History& history) {
  json::array points;
  for (const History::Point& point : history.points()) {
    points.push_back({{"t", point.t_s},
                      {"error_bound_s", seconds(point.error_bound)},
                      {"offset_s", seconds(point.offset)},
                      {"requests_per_s", point.requests_per_s},
                      {"handshakes_per_s", point.handshakes_per_s},
                      {"state", point.state ? json::value(name_of(*point.state)) : nullptr}});
  }
  return {{"step_s", seconds(History::kStep)}, {"points", std::move(points)}};
}

json::object clients_json(const std::vector<BusyClient>& clients) {
  json::array all;
  for (const BusyClient& client : clients) {
    all.push_back({{"address", client.address.to_string()},
                   {"requests", client.requests},
                   {"over", client.over},
                   {"nts", client.nts}});
  }
  return {{"window_s", 60}, {"clients", std::move(all)}};
}

json::array config_json(const Config& config) {
  json::array all;
  for (const SettingInForce& setting : settings_in_force(config)) {
    all.push_back({{"section", setting.section},
                   {"index", setting.index},
                   {"key", setting.key},
                   {"value", setting.value},
                   {"is_default", setting.is_default},
                   {"reloadable", setting.reloadable},
                   {"help", setting.help}});
  }
  return all;
}

json::object status_json(const Snapshot& snapshot, const RaisedAlarms& alarms,
                         const Config& config) {
  json::object status{
      {"version", TIMEBALL_VERSION}, {"host", nullptr}, {"now", nullptr}, {"uptime_s", nullptr}};
  if (snapshot.process) {
    status["host"] = snapshot.process->host;
    status["uptime_s"] = seconds(snapshot.process->uptime);
  }
  if (const auto utc = utc_of(snapshot)) {
    const auto [s, ns] = std::pair(utc->ns / kNsPerSecond, utc->ns % kNsPerSecond);
    status["now"] = fmt::format("{}.{:09}Z", utc_text(s), ns);
  }
  status["time"] = time_json(snapshot);
  status["ntp"] = ntp_json(snapshot, config);
  status["nts_ke"] = nts_ke_json(snapshot);
  status["keys"] = snapshot.keys ? json::value(keys_json(*snapshot.keys, config)) : nullptr;
  status["certificates"] = certificates_json(snapshot);
  const RackStatus none;
  const RackStatus& rack = snapshot.rack ? *snapshot.rack : none;
  status["receiver"] = receiver_json(rack);
  status["pulses"] = pulses_json(rack);
  status["samples"] = samples_json(rack);
  status["rubidium"] = rubidium_json(rack, config);
  status["alarms"] = alarms_json(alarms);
  return status;
}

}  // namespace timeball::server
