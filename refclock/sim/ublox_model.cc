#include "refclock/sim/ublox_model.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <string>

#include "common/time/ntp_timestamp.h"

namespace timeball::refclock::sim {
namespace {

using Octets = UbloxModel::Octets;

constexpr std::size_t kMaxPayload = 1024;          // of what a host may send
constexpr std::int64_t kGpsEpoch_s = 315'964'800;  // 1980-01-06
constexpr std::int64_t kWeek_s = 7 * 86'400;
constexpr std::int64_t kRollover_s = 1024 * kWeek_s;

// A laboratory's roof.
constexpr std::int32_t kLatitude_e7 = 481'000'000;
constexpr std::int32_t kLongitude_e7 = 115'000'000;
constexpr std::int32_t kHeight_mm = 560'000;

struct MessageKey {
  std::uint32_t key;
  std::uint16_t message;  // class << 8 | id
};
// UART1's output rates.
constexpr std::array<MessageKey, 16> kMessageKeys = {{{0x20910007, 0x0107},
                                                      {0x20910016, 0x0135},
                                                      {0x2091001B, 0x0103},
                                                      {0x20910039, 0x0104},
                                                      {0x20910048, 0x0120},
                                                      {0x2091005C, 0x0121},
                                                      {0x20910061, 0x0126},
                                                      {0x20910066, 0x0122},
                                                      {0x20910160, 0x0161},
                                                      {0x20910098, 0x0d04},
                                                      {0x2091017E, 0x0d01},
                                                      {0x2091035A, 0x0a38},
                                                      {0x209101B5, 0x0a09},
                                                      {0x20910635, 0x2709},
                                                      {0x209100AC, 0xf004},
                                                      {0x209100D9, 0xf008}}};
constexpr std::array<std::uint32_t, 38> kOtherKeys = {
    0x20030001, 0x20030002, 0x40030003, 0x40030004, 0x40030005, 0x4003000F, 0x40030010, 0x40030011,
    0x20110021, 0x2011001C, 0x30110017, 0x30210001, 0x20210003, 0x1031001F, 0x10310021, 0x10310022,
    0x10310025, 0x1041000D, 0x20410001, 0x20410002, 0x30050001, 0x40050002, 0x40050003, 0x40050004,
    0x40050005, 0x40050006, 0x10050007, 0x10050008, 0x10050009, 0x1005000A, 0x1005000B, 0x2005000C,
    0x20050023, 0x20050030, 0x40520001, 0x10730001, 0x10740001, 0x10740002};

constexpr std::uint16_t kRmc = 0xf004;
constexpr std::uint16_t kZda = 0xf008;
constexpr std::uint16_t kGga = 0xf000;

const MessageKey* message_key(std::uint32_t key) {
  const auto* found = std::ranges::find(kMessageKeys, key, &MessageKey::key);
  return found == kMessageKeys.end() ? nullptr : found;
}

// Octets of a key's value, from its bits 28 to 30; 0: no such size.
std::size_t value_size(std::uint32_t key) {
  constexpr std::array<std::size_t, 8> kSizes = {0, 1, 1, 2, 4, 8, 0, 0};
  return kSizes[key >> 28 & 7];
}

class Payload {
 public:
  explicit Payload(std::size_t size) : octets_(size) {}
  // Little endian, at an offset as the interface description gives it.
  template <class T>
  Payload& put(std::size_t offset, T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      octets_.at(offset + i) =
          static_cast<std::uint8_t>(static_cast<std::uint64_t>(value) >> 8 * i);
    }
    return *this;
  }
  Payload& text(std::size_t offset, std::string_view text) {
    std::ranges::copy(text, octets_.begin() + static_cast<std::ptrdiff_t>(offset));
    return *this;
  }
  const Octets& octets() const { return octets_; }

 private:
  Octets octets_;
};

std::uint64_t load(Bytes octets) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < octets.size(); ++i) value |= std::uint64_t{octets[i]} << 8 * i;
  return value;
}

std::array<std::uint8_t, 2> checksum(Bytes octets) {
  std::uint8_t a = 0, b = 0;
  for (const std::uint8_t octet : octets) {
    a = static_cast<std::uint8_t>(a + octet);
    b = static_cast<std::uint8_t>(b + a);
  }
  return {a, b};
}

void add_frame(Octets& out, std::uint16_t message, Bytes payload) {
  const std::size_t start = out.size();
  out.insert(
      out.end(),
      {0xb5, 0x62, static_cast<std::uint8_t>(message >> 8), static_cast<std::uint8_t>(message),
       static_cast<std::uint8_t>(payload.size()), static_cast<std::uint8_t>(payload.size() >> 8)});
  out.insert(out.end(), payload.begin(), payload.end());
  const auto sum = checksum(Bytes(out).subspan(start + 2));
  out.insert(out.end(), sum.begin(), sum.end());
}

unsigned bits(Threat threat) {
  switch (threat) {
    case Threat::kUnknown:
      return 0;
    case Threat::kNone:
      return 1;
    case Threat::kWarning:
      return 2;
    case Threat::kCritical:
      return 3;
  }
  return 0;
}

unsigned bits(Antenna antenna) {
  switch (antenna) {
    case Antenna::kUnknown:
      return 1;
    case Antenna::kOk:
      return 2;
    case Antenna::kShort:
      return 3;
    case Antenna::kOpen:
      return 4;
  }
  return 1;
}

}  // namespace

std::string nmea_sentence(std::string_view body) {
  unsigned sum = 0;
  for (const char c : body) sum ^= static_cast<unsigned char>(c);
  return fmt::format("${}*{:02X}\r\n", body, sum);
}

struct UbloxModel::Moment {
  Moment(UtcTime second, const UbloxSky& sky)
      : utc_s(second.ns / kNsPerSecond + sky.label_error_s - (sky.week_rollover ? kRollover_s : 0)),
        gps_s(utc_s + sky.gps_minus_utc_s - kGpsEpoch_s),
        leap_s(sky.leap_second ? 1 : 0),
        date(std::chrono::floor<std::chrono::days>(named())),
        time(named() - std::chrono::sys_days(date)) {}

  std::uint32_t itow_ms() const { return static_cast<std::uint32_t>(gps_s % kWeek_s * 1000); }
  std::uint16_t week() const { return static_cast<std::uint16_t>(gps_s / kWeek_s); }
  unsigned year() const { return static_cast<unsigned>(static_cast<int>(date.year())); }
  unsigned month() const { return static_cast<unsigned>(date.month()); }
  unsigned day() const { return static_cast<unsigned>(date.day()); }
  unsigned hour() const { return static_cast<unsigned>(time.hours().count()); }
  unsigned minute() const { return static_cast<unsigned>(time.minutes().count()); }
  unsigned second() const { return static_cast<unsigned>(time.seconds().count() + leap_s); }
  std::chrono::sys_seconds named() const {
    return std::chrono::sys_seconds(std::chrono::seconds(utc_s - leap_s));
  }
  // The pulse to come, in UTC.
  std::int64_t next_s(const UbloxSky& sky) const {
    const bool skips =
        sky.leap == LeapIndicator::kDelete && utc_s + 2 == sky.leap_event.ns / kNsPerSecond;
    return utc_s + 1 - leap_s + (skips ? 1 : 0);
  }

  std::int64_t utc_s;
  std::int64_t gps_s;
  std::int64_t leap_s;
  std::chrono::year_month_day date;
  std::chrono::hh_mm_ss<std::chrono::seconds> time;
};

void UbloxModel::restart() {
  ram_.clear();
  legacy_.clear();
  rates_ = {{kRmc, 1}, {kGga, 1}};
  survey_s_ = 0;
  unread_.clear();
}

std::optional<std::uint64_t> UbloxModel::configured(std::uint32_t key) const {
  const auto found = ram_.find(key);
  return found == ram_.end() ? std::nullopt : std::optional(found->second);
}

bool UbloxModel::surveying() const {
  return configured(0x20030001).value_or(0) == 1 && survey_s_ < configured(0x40030010).value_or(0);
}

bool UbloxModel::sends(std::uint8_t message_class, std::uint8_t id) const {
  const auto found = rates_.find(static_cast<std::uint16_t>(message_class << 8 | id));
  return found != rates_.end() && found->second != 0;
}

UbloxModel::Octets UbloxModel::epoch(UtcTime second, std::int32_t next_error_ps,
                                     const UbloxSky& sky) {
  Octets out;
  ++survey_s_;
  const Moment moment(second, sky);
  add_navigation(out, moment, sky);
  add_fix(out, moment, sky);
  add_timing(out, moment, next_error_ps, sky);
  add_health(out, moment, sky);
  add_nmea(out, moment, sky);
  if (sends(0x01, 0x61)) add_frame(out, 0x0161, Payload(4).put(0, moment.itow_ms()).octets());
  return out;
}

void UbloxModel::add_fix(Octets& out, const Moment& t, const UbloxSky& sky) const {
  if (sends(0x01, 0x03)) {
    add_frame(out, 0x0103,
              Payload(16)
                  .put(0, t.itow_ms())
                  .put(4, static_cast<std::uint8_t>(sky.fix ? 5 : 0))
                  .put(5, static_cast<std::uint8_t>(sky.fix ? 0x0d : 0))
                  .put(7, static_cast<std::uint8_t>(bits(sky.spoofing) << 3))
                  .octets());
  }
  if (sends(0x01, 0x04)) {
    const std::uint16_t none = 9999;
    const bool positions = sky.fix && surveying();  // in time mode only the time is solved for
    add_frame(out, 0x0104,
              Payload(18)
                  .put(0, t.itow_ms())
                  .put(4, positions ? std::uint16_t{130} : none)
                  .put(6, positions ? std::uint16_t{112} : none)
                  .put(8, sky.fix ? std::uint16_t{41} : none)
                  .put(10, positions ? std::uint16_t{94} : none)
                  .put(12, positions ? std::uint16_t{62} : none)
                  .octets());
  }
}

void UbloxModel::add_navigation(Octets& out, const Moment& t, const UbloxSky& sky) const {
  const unsigned valid = sky.fix ? (sky.time_confirmed ? 0x07 : 0x03) : 0;
  const auto accuracy_ns = static_cast<std::uint32_t>(sky.time_accuracy.count());
  if (sends(0x01, 0x07)) {
    add_frame(out, 0x0107,
              Payload(92)
                  .put(0, t.itow_ms())
                  .put(4, static_cast<std::uint16_t>(t.year()))
                  .put(6, static_cast<std::uint8_t>(t.month()))
                  .put(7, static_cast<std::uint8_t>(t.day()))
                  .put(8, static_cast<std::uint8_t>(t.hour()))
                  .put(9, static_cast<std::uint8_t>(t.minute()))
                  .put(10, static_cast<std::uint8_t>(t.second()))
                  .put(11, static_cast<std::uint8_t>(valid))
                  .put(12, accuracy_ns)
                  .put(20, static_cast<std::uint8_t>(sky.fix ? 5 : 0))
                  .put(21, static_cast<std::uint8_t>(sky.fix ? 1 : 0))
                  .put(22, static_cast<std::uint8_t>(sky.time_confirmed ? 0xe0 : 0x20))
                  .put(23, static_cast<std::uint8_t>(sky.fix ? sky.satellites : 0))
                  .put(24, kLongitude_e7)
                  .put(28, kLatitude_e7)
                  .put(32, static_cast<std::int32_t>(kHeight_mm + sky.moved_m * 1000))
                  .put(36, static_cast<std::int32_t>(kHeight_mm + sky.moved_m * 1000))
                  .put(40, std::uint32_t{400})
                  .put(44, std::uint32_t{700})
                  .octets());
  }
  if (sends(0x01, 0x21)) {
    add_frame(out, 0x0121,
              Payload(20)
                  .put(0, t.itow_ms())
                  .put(4, accuracy_ns)
                  .put(12, static_cast<std::uint16_t>(t.year()))
                  .put(14, static_cast<std::uint8_t>(t.month()))
                  .put(15, static_cast<std::uint8_t>(t.day()))
                  .put(16, static_cast<std::uint8_t>(t.hour()))
                  .put(17, static_cast<std::uint8_t>(t.minute()))
                  .put(18, static_cast<std::uint8_t>(t.second()))
                  .put(19, static_cast<std::uint8_t>(valid | 0x30))
                  .octets());
  }
  if (sends(0x01, 0x20)) {
    add_frame(out, 0x0120,
              Payload(16)
                  .put(0, t.itow_ms())
                  .put(8, t.week())
                  .put(10, static_cast<std::uint8_t>(sky.gps_minus_utc_s))
                  .put(11, static_cast<std::uint8_t>(valid))
                  .put(12, accuracy_ns)
                  .octets());
  }
}

void UbloxModel::add_timing(Octets& out, const Moment& t, std::int32_t next_error_ps,
                            const UbloxSky& sky) const {
  if (sends(0x01, 0x26)) {
    const std::int64_t until_s = sky.leap_event.ns / kNsPerSecond - t.utc_s;
    const bool announced = sky.leap == LeapIndicator::kInsert || sky.leap == LeapIndicator::kDelete;
    add_frame(out, 0x0126,
              Payload(24)
                  .put(0, t.itow_ms())
                  .put(8, static_cast<std::uint8_t>(sky.time_confirmed ? 2 : 0))
                  .put(9, static_cast<std::int8_t>(sky.gps_minus_utc_s))
                  .put(10, static_cast<std::uint8_t>(announced ? 2 : 0))
                  .put(11, static_cast<std::int8_t>(!announced                           ? 0
                                                    : sky.leap == LeapIndicator::kInsert ? 1
                                                                                         : -1))
                  .put(12, static_cast<std::int32_t>(announced ? until_s : 0))
                  .put(23, static_cast<std::uint8_t>(announced ? 3 : 1))
                  .octets());
  }
  if (sends(0x0d, 0x01)) {  // of the pulse to come, in UTC's time of week
    const std::int64_t next_s = t.next_s(sky) - kGpsEpoch_s;
    add_frame(out, 0x0d01,
              Payload(16)
                  .put(0, static_cast<std::uint32_t>(next_s % kWeek_s * 1000))
                  .put(8, next_error_ps)
                  .put(12, static_cast<std::uint16_t>(next_s / kWeek_s))
                  .put(14, static_cast<std::uint8_t>(sky.fix ? 0x0b : 0x33))
                  .put(15, std::uint8_t{0x00})
                  .octets());
  }
  if (sends(0x0d, 0x04)) {
    const bool done = configured(0x20030001).value_or(0) == 1 && !surveying();
    add_frame(out, 0x0d04,
              Payload(28)
                  .put(0, survey_s_)
                  .put(16, std::uint32_t{250'000 / std::max(survey_s_, 1U) + 100})
                  .put(20, survey_s_)
                  .put(24, static_cast<std::uint8_t>(done))
                  .put(25, static_cast<std::uint8_t>(surveying()))
                  .octets());
  }
}

void UbloxModel::add_health(Octets& out, const Moment& t, const UbloxSky& sky) const {
  if (sends(0x0a, 0x38)) {
    add_frame(out, 0x0a38,
              Payload(28)
                  .put(1, std::uint8_t{1})
                  .put(5, static_cast<std::uint8_t>(bits(sky.jamming)))
                  .put(6, static_cast<std::uint8_t>(bits(sky.antenna)))
                  .put(7, std::uint8_t{1})
                  .put(16, std::uint16_t{92})
                  .put(18, std::uint16_t{3100})
                  .put(20, static_cast<std::uint8_t>(sky.jamming_indicator))
                  .octets());
  }
  if (sends(0x0a, 0x09)) {
    add_frame(out, 0x0a09,
              Payload(60)
                  .put(16, std::uint16_t{92})
                  .put(18, std::uint16_t{3100})
                  .put(20, static_cast<std::uint8_t>(bits(sky.antenna)))
                  .put(21, std::uint8_t{1})
                  .put(22, static_cast<std::uint8_t>(bits(sky.jamming) << 2))
                  .put(45, static_cast<std::uint8_t>(sky.jamming_indicator))
                  .octets());
  }
  if (sends(0x27, 0x09)) {
    add_frame(out, 0x2709,
              Payload(12)
                  .put(0, std::uint8_t{1})
                  .put(4, static_cast<std::uint8_t>(1 | bits(sky.jamming) << 1))
                  .put(8, static_cast<std::uint8_t>(1 | bits(sky.spoofing) << 1))
                  .octets());
  }
  if (sends(0x01, 0x35)) {
    Payload payload(8 + std::size_t{12} * sky.satellites);
    payload.put(0, t.itow_ms())
        .put(4, std::uint8_t{1})
        .put(5, static_cast<std::uint8_t>(sky.satellites));
    for (unsigned i = 0; i < sky.satellites; ++i) {
      const std::size_t at = 8 + std::size_t{12} * i;
      payload.put(at, static_cast<std::uint8_t>(i % 2 == 0 ? 0 : 2))
          .put(at + 1, static_cast<std::uint8_t>(i + 1))
          .put(at + 2, static_cast<std::uint8_t>(sky.fix ? 36 + i % 10 : 0))
          .put(at + 3, static_cast<std::uint8_t>(15 + 5 * (i % 14)))
          .put(at + 4, static_cast<std::uint16_t>(25 * i % 360))
          .put(at + 8, std::uint32_t{sky.fix ? 0x1fU : 0x11U});
    }
    add_frame(out, 0x0135, payload.octets());
  }
}

void UbloxModel::add_nmea(Octets& out, const Moment& t, const UbloxSky& sky) const {
  const auto add = [&out](const std::string& body) {
    const std::string sentence = nmea_sentence(body);
    out.insert(out.end(), sentence.begin(), sentence.end());
  };
  const std::string time = fmt::format("{:02}{:02}{:02}.00", t.hour(), t.minute(), t.second());
  if (rates_.contains(kRmc) && rates_.at(kRmc) != 0) {
    add(fmt::format("GNRMC,{},{},4806.00000,N,01130.00000,E,0.000,,{:02}{:02}{:02},,,{},V", time,
                    sky.fix ? 'A' : 'V', t.day(), t.month(), t.year() % 100, sky.fix ? 'A' : 'N'));
  }
  if (rates_.contains(kGga) && rates_.at(kGga) != 0) {
    add(fmt::format("GNGGA,{},4806.00000,N,01130.00000,E,{},{:02},0.70,560.0,M,46.0,M,,", time,
                    sky.fix ? 1 : 0, sky.fix ? std::min(sky.satellites, 12U) : 0));
  }
  if (rates_.contains(kZda) && rates_.at(kZda) != 0) {
    add(fmt::format("GNZDA,{},{:02},{:02},{},00,00", time, t.day(), t.month(), t.year()));
  }
}

UbloxModel::Octets UbloxModel::receive(Bytes octets) {
  Octets out;
  unread_.insert(unread_.end(), octets.begin(), octets.end());
  while (unread_.size() >= 8) {
    const std::size_t size = unread_[4] | unread_[5] << 8;
    if (unread_[0] != 0xb5 || unread_[1] != 0x62 || size > kMaxPayload) {
      unread_.erase(unread_.begin());
      continue;
    }
    if (unread_.size() < size + 8) break;
    const Bytes frame = Bytes(unread_).first(size + 8);
    const auto sum = checksum(frame.subspan(2, size + 4));
    if (!equal(frame.last(2), sum)) {
      unread_.erase(unread_.begin());
      continue;
    }
    handle(frame[2], frame[3], frame.subspan(6, size), out);
    unread_.erase(unread_.begin(), unread_.begin() + static_cast<std::ptrdiff_t>(size + 8));
  }
  return out;
}

void UbloxModel::handle(std::uint8_t message_class, std::uint8_t id, Bytes payload, Octets& out) {
  if (message_class == 0x0a && id == 0x04 && payload.empty()) return add_version(out);
  if (message_class != 0x06) return;  // only what configures is acknowledged
  const bool nine = generation_ == UbloxGeneration::k9;
  bool done = false;
  if (id == 0x8a) done = nine && set_values(payload);
  if (id == 0x8b) done = nine && get_values(payload, out);
  if (id == 0x01) done = !nine && message_rate(payload, out);
  if (id == 0x31 || id == 0x3d || id == 0x71 || id == 0x00 || id == 0x08 || id == 0x24 ||
      id == 0x39) {
    done = !nine && set_legacy(id, payload, out);
  }
  const std::uint8_t about[] = {message_class, id};
  add_frame(out, done ? 0x0501 : 0x0500, about);
}

// CFG-VALSET: all of it or nothing.
bool UbloxModel::set_values(Bytes payload) {
  if (payload.size() < 4 || payload[0] != 0 || (payload[1] & 1) == 0) return payload.size() >= 4;
  std::map<std::uint32_t, std::uint64_t> values;
  for (Bytes rest = payload.subspan(4); !rest.empty();) {
    if (rest.size() < 4) return false;
    const auto key = static_cast<std::uint32_t>(load(rest.first(4)));
    const std::size_t size = value_size(key);
    const bool known = message_key(key) != nullptr || std::ranges::count(kOtherKeys, key) != 0;
    if (!known || size == 0 || rest.size() < 4 + size) return false;
    values[key] = load(rest.subspan(4, size));
    rest = rest.subspan(4 + size);
  }
  for (const auto& [key, value] : values) {
    ram_[key] = value;
    if (const MessageKey* message = message_key(key)) {
      rates_[message->message] = static_cast<std::uint8_t>(value);
    }
    if (key == 0x10740002 && value == 0) rates_[kRmc] = rates_[kGga] = rates_[kZda] = 0;
    if (key == 0x20030001) survey_s_ = 0;
  }
  return true;
}

bool UbloxModel::get_values(Bytes payload, Octets& out) const {
  if (payload.size() < 8 || payload.size() % 4 != 0) return false;
  Octets answer = {1, payload[1], payload[2], payload[3]};
  for (Bytes rest = payload.subspan(4); !rest.empty(); rest = rest.subspan(4)) {
    const auto key = static_cast<std::uint32_t>(load(rest.first(4)));
    const auto found = ram_.find(key);
    if (found == ram_.end()) return false;
    answer.insert(answer.end(), rest.begin(), rest.begin() + 4);
    for (std::size_t i = 0; i < value_size(key); ++i) {
      answer.push_back(static_cast<std::uint8_t>(found->second >> 8 * i));
    }
  }
  add_frame(out, 0x068b, answer);
  return true;
}

// CFG-MSG: for the current port (3 octets) or for all six (8); asked for with two.
bool UbloxModel::message_rate(Bytes payload, Octets& out) {
  if (payload.size() != 2 && payload.size() != 3 && payload.size() != 8) return false;
  const auto message = static_cast<std::uint16_t>(payload[0] << 8 | payload[1]);
  if (payload.size() == 2) {
    const std::uint8_t rate = sends(payload[0], payload[1]) ? rates_[message] : std::uint8_t{0};
    add_frame(out, 0x0601, Payload(8).put(0, payload[0]).put(1, payload[1]).put(3, rate).octets());
    return true;
  }
  rates_[message] = payload[payload.size() == 3 ? 2 : 3];  // UART1 is port 1
  return true;
}

// Sets, and gives back when polled.
bool UbloxModel::set_legacy(std::uint8_t id, Bytes payload, Octets& out) {
  const bool poll = payload.empty() || ((id == 0x31 || id == 0x00) && payload.size() == 1);
  if (!poll) {
    legacy_[id].assign(payload.begin(), payload.end());
    if (id == 0x3d || id == 0x71) survey_s_ = 0;
    return true;
  }
  const auto found = legacy_.find(id);
  if (found == legacy_.end()) return false;
  add_frame(out, static_cast<std::uint16_t>(0x0600 | id), found->second);
  return true;
}

void UbloxModel::add_version(Octets& out) const {
  const bool nine = generation_ == UbloxGeneration::k9;
  add_frame(out, 0x0a04,
            Payload(40 + 3 * 30)
                .text(0, nine ? "EXT CORE 1.00 (simulated)" : "EXT CORE 3.01 (simulated)")
                .text(30, nine ? "00190000" : "00080000")
                .text(40, nine ? "FWVER=TIM 2.20" : "FWVER=TIM 1.10")
                .text(70, nine ? "PROTVER=29.20" : "PROTVER=22.00")
                .text(100, nine ? "MOD=ZED-F9T" : "MOD=LEA-M8T-0")
                .octets());
}

}  // namespace timeball::refclock::sim
