#include "refclock/gnss/configurator.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <utility>

namespace timeball::refclock::gnss {
namespace {

using ubx::Octets;

constexpr Duration kPatience = std::chrono::milliseconds(1500);  // it answers within a second
constexpr unsigned kAttempts = 3;
constexpr std::uint16_t kPeriod_ms = 1000;

struct Setting {
  const char* name;
  std::uint32_t key;
  std::uint64_t value;
};

// "PROTVER=29.20", "PROTVER 18.00"; 0: something else.
unsigned protocol_of(std::string_view text) {
  constexpr std::string_view kTag = "PROTVER";
  if (!text.starts_with(kTag) || text.size() <= kTag.size()) return 0;
  text.remove_prefix(kTag.size() + 1);
  unsigned whole = 0;
  unsigned part = 0;
  const auto [point, error] = std::from_chars(text.data(), text.data() + text.size(), whole);
  if (error != std::errc() || whole > 999) return 0;
  if (point != text.data() + text.size()) {
    std::from_chars(point + 1, std::min(point + 3, text.data() + text.size()), part);
  }
  return whole * 100 + part;
}

// A message that is wanted each second.
struct Wanted {
  std::uint8_t message_class;
  std::uint8_t id;
  std::uint32_t key;  // of its rate on UART1; 0: not of generation 9
  const char* name;
  bool needed;
  bool of_generation8;
};
constexpr Wanted kWanted[] = {
    {0x01, 0x07, 0x20910007, "NAV-PVT", true, true},
    {0x01, 0x03, 0x2091001b, "NAV-STATUS", false, true},
    {0x01, 0x21, 0x2091005c, "NAV-TIMEUTC", true, true},
    {0x01, 0x26, 0x20910061, "NAV-TIMELS", true, true},
    {0x01, 0x35, 0x20910016, "NAV-SAT", false, true},
    {0x01, 0x61, 0x20910160, "NAV-EOE", false, true},
    {0x0d, 0x01, 0x2091017e, "TIM-TP", true, true},
    {0x0d, 0x04, 0x20910098, "TIM-SVIN", false, true},
    {0x0a, 0x38, 0x2091035a, "MON-RF", false, false},
    {0x0a, 0x09, 0, "MON-HW", false, true},
    {0x27, 0x09, 0x20910635, "SEC-SIG", false, false},
    {0x01, 0x04, 0x20910039, "NAV-DOP", false, true},
};
// What a receiver sends from the factory: GGA, GLL, GSA, GSV, RMC, VTG; and ZDA.
constexpr std::uint8_t kNmeaClass = 0xf0;
constexpr std::uint8_t kNmeaIds[] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x08};

constexpr std::uint32_t kUsbRate = 2;  // beyond UART1's key
constexpr std::uint32_t kUart1Out = 0x1074'0000;
constexpr std::uint32_t kUsbOut = 0x1078'0000;

}  // namespace

Octets Configurator::start(HostTime now) {
  state_ = State::kIdentifying;
  steps_.clear();
  unmet_.clear();
  identity_ = {};
  attempts_ = 0;
  return send_again(now);
}

Octets Configurator::tick(HostTime now) {
  if (state_ == State::kDone || now - sent_ < kPatience) return {};
  if (attempts_ < kAttempts) return send_again(now);
  if (state_ == State::kConfiguring) return give_up(now, Unmet::Why::kNoAnswer);
  unmet_.push_back({"MON-VER", Unmet::Why::kNoAnswer, true});
  state_ = State::kDone;
  return {};
}

Octets Configurator::take(HostTime now, const ubx::Packet& packet) {
  if (state_ == State::kDone) return {};
  const auto message = ubx::decode(packet);
  if (!message) return {};
  if (state_ == State::kIdentifying) {
    const auto* version = std::get_if<ubx::MonVer>(&*message);
    if (version == nullptr) return {};
    identify(*version);
    state_ = State::kConfiguring;
    return next_step(now);
  }
  const std::uint8_t asked = request()[3];
  if (const auto* nak = std::get_if<ubx::AckNak>(&*message)) {
    return nak->about_class == ubx::kCfg && nak->about_id == asked ? refused(now) : Octets{};
  }
  if (phase_ == Phase::kWrite) {
    const auto* ack = std::get_if<ubx::AckAck>(&*message);
    const bool ours = ack != nullptr && ack->about_class == ubx::kCfg && ack->about_id == asked;
    return ours ? send(now, Phase::kVerify) : Octets{};
  }
  const auto as_wanted = compare(packet);
  return as_wanted ? answered(now, *as_wanted) : Octets{};
}

bool Configurator::satisfied() const {
  return state_ == State::kDone && std::ranges::none_of(unmet_, &Unmet::needed);
}

void Configurator::identify(const ubx::MonVer& version) {
  identity_.software = version.software;
  identity_.hardware = version.hardware;
  for (const auto& extension : version.extensions) {
    if (extension.text.starts_with("MOD=")) identity_.model = extension.text.substr(4);
    if (const unsigned protocol = protocol_of(extension.text)) {
      identity_.protocol_hundredths = protocol;
    }
  }
  if (identity_.by_key()) {
    plan_by_key();
  } else {
    plan_by_message();
  }
}

void Configurator::plan_by_key() {
  const auto add = [this](const char* what, bool needed, const std::vector<Setting>& settings) {
    Step step;
    step.what = what;
    step.needed = needed;
    for (const Setting& setting : settings) {
      step.values.push_back({setting.key, setting.value});
      step.names.emplace_back(setting.name);
    }
    steps_.push_back(std::move(step));
  };
  const bool usb = settings_.port == ConfiguratorSettings::Port::kUsb;
  const std::uint32_t out = usb ? kUsbOut : kUart1Out;
  const auto& position = settings_.position;
  const auto word = [](std::int32_t value) {
    return std::uint64_t{static_cast<std::uint32_t>(value)};
  };

  add("UBX on this port", true, {{"OUTPROT-UBX", out + 1, 1}});
  add("rate", true,
      {{"RATE-MEAS", 0x30210001, kPeriod_ms},
       {"RATE-TIMEREF", 0x20210003, 0},
       {"NAVSPG-DYNMODEL", 0x20110021, 2}});
  add("time pulse", true,
      {{"TP-ANT_CABLEDELAY", 0x30050001,
        static_cast<std::uint16_t>(settings_.pulse.cable_delay_ns)},
       {"TP-PULSE_DEF", 0x20050023, 0},
       {"TP-PULSE_LENGTH_DEF", 0x20050030, 1},
       {"TP-PERIOD_TP1", 0x40050002, 1'000'000},
       {"TP-PERIOD_LOCK_TP1", 0x40050003, 1'000'000},
       {"TP-LEN_TP1", 0x40050004, 0},
       {"TP-LEN_LOCK_TP1", 0x40050005, settings_.pulse.length_us},
       {"TP-USER_DELAY_TP1", 0x40050006, 0},
       {"TP-TP1_ENA", 0x10050007, 1},
       {"TP-SYNC_GNSS_TP1", 0x10050008, 1},
       {"TP-USE_LOCKED_TP1", 0x10050009, 1},
       {"TP-ALIGN_TO_TOW_TP1", 0x1005000a, 1},
       {"TP-POL_TP1", 0x1005000b, 1},
       {"TP-TIMEGRID_TP1", 0x2005000c, 0}});
  std::vector<Setting> mode = {
      {"TMODE-MODE", 0x20030001, static_cast<std::uint64_t>(position.mode)}};
  if (position.mode == ubx::TimeMode::Mode::kSurveyIn) {
    mode.push_back({"TMODE-SVIN_MIN_DUR", 0x40030010, position.survey_s});
    mode.push_back(
        {"TMODE-SVIN_ACC_LIMIT", 0x40030011, std::uint64_t{position.survey_limit_mm} * 10});
  } else if (position.mode == ubx::TimeMode::Mode::kFixed) {
    mode.push_back({"TMODE-POS_TYPE", 0x20030002, 0});
    mode.push_back({"TMODE-ECEF_X", 0x40030003, word(position.ecef_cm[0])});
    mode.push_back({"TMODE-ECEF_Y", 0x40030004, word(position.ecef_cm[1])});
    mode.push_back({"TMODE-ECEF_Z", 0x40030005, word(position.ecef_cm[2])});
    mode.push_back({"TMODE-FIXED_POS_ACC", 0x4003000f, std::uint64_t{position.accuracy_mm} * 10});
  }
  add("position", true, mode);
  add("jamming monitor", false, {{"ITFM-ENABLE", 0x1041000d, 1}});
  for (const Wanted& wanted : kWanted) {
    if (wanted.key == 0) continue;
    add(wanted.name, wanted.needed, {{wanted.name, wanted.key + (usb ? kUsbRate : 0), 1}});
  }
  if (!settings_.keep_nmea) add("NMEA off", false, {{"OUTPROT-NMEA", out + 2, 0}});
}

void Configurator::plan_by_message() {
  const auto add = [this](const char* what, bool needed, std::uint8_t id, Octets payload,
                          std::size_t compare_from) {
    Step step;
    step.what = what;
    step.needed = needed;
    step.id = id;
    step.payload = std::move(payload);
    step.compare_from = compare_from;
    if (id == ubx::kCfgTp5) step.poll = {0};  // TP1
    steps_.push_back(std::move(step));
  };
  add("rate", true, ubx::kCfgRate, ubx::rate_payload(kPeriod_ms), 0);
  // What is before is its number, its version and reserved.
  add("time pulse", true, ubx::kCfgTp5, ubx::time_pulse_payload(settings_.pulse), 4);
  add("position", true, ubx::kCfgTmode2, ubx::time_mode_payload(settings_.position), 0);
  add("jamming monitor", false, ubx::kCfgItfm, ubx::interference_payload(), 0);
  for (const Wanted& wanted : kWanted) {
    if (!wanted.of_generation8) continue;
    add_message(wanted.message_class, wanted.id, 1, wanted.name, wanted.needed);
  }
  if (settings_.keep_nmea) return;
  for (const std::uint8_t id : kNmeaIds) add_message(kNmeaClass, id, 0, "NMEA off", false);
}

// CFG-MSG sets the rate on the port that it comes in on.
void Configurator::add_message(std::uint8_t message_class, std::uint8_t id, std::uint8_t rate,
                               const std::string& what, bool needed) {
  Step step;
  step.what = what;
  step.needed = needed;
  step.id = ubx::kCfgMsg;
  step.poll = {message_class, id};
  step.payload = {message_class, id, rate};
  steps_.push_back(std::move(step));
}

// What the phase has to say.
Octets Configurator::request() const {
  if (state_ == State::kIdentifying) return ubx::frame(ubx::MonVer::kClass, ubx::MonVer::kId);
  const Step& step = steps_.front();
  const bool write = phase_ == Phase::kWrite;
  if (!step.values.empty()) return write ? ubx::val_set(step.values) : ubx::val_get(step.values);
  return ubx::frame(ubx::kCfg, step.id, write ? step.payload : step.poll);
}

std::optional<bool> Configurator::compare(const ubx::Packet& packet) const {
  const Step& step = steps_.front();
  if (!step.values.empty()) {
    const auto answer = ubx::val_get_answer(packet);
    if (!answer || answer->size() != step.values.size()) return std::nullopt;
    // Another step's answer, late, has other keys.
    bool as_wanted = true;
    for (const ubx::KeyValue& wanted : step.values) {
      const auto found = std::ranges::find(*answer, wanted.key, &ubx::KeyValue::key);
      if (found == answer->end()) return std::nullopt;
      as_wanted = as_wanted && found->value == wanted.value;
    }
    return as_wanted;
  }
  if (packet.message_class != ubx::kCfg || packet.id != step.id) return std::nullopt;
  if (step.id == ubx::kCfgMsg) {
    // Class, id, and the rates on I2C, UART1, UART2, USB, SPI.
    const std::size_t port = settings_.port == ConfiguratorSettings::Port::kUsb ? 5 : 3;
    if (packet.payload.size() != 8 || !equal(packet.payload.first(2), step.poll)) {
      return std::nullopt;
    }
    return packet.payload[port] == step.payload[2];
  }
  if (packet.payload.size() != step.payload.size()) return std::nullopt;
  return equal(packet.payload.subspan(step.compare_from),
               Bytes(step.payload).subspan(step.compare_from));
}

Octets Configurator::answered(HostTime now, bool as_wanted) {
  if (as_wanted) {
    steps_.pop_front();
    return next_step(now);
  }
  if (phase_ == Phase::kRead) return send(now, Phase::kWrite);
  return give_up(now, Unmet::Why::kDiffers);
}

// Of a read before a write it means nothing: the write will tell. CFG-VALSET is refused as a whole
// for one key that the receiver does not know: then each on its own.
Octets Configurator::refused(HostTime now) {
  if (phase_ == Phase::kRead) return send(now, Phase::kWrite);
  const Step step = steps_.front();
  if (phase_ == Phase::kVerify || step.values.size() < 2) return give_up(now, Unmet::Why::kRefused);
  steps_.pop_front();
  for (std::size_t i = step.values.size(); i-- > 0;) {
    Step one;
    one.what = step.what + ": " + step.names[i];
    one.needed = step.needed;
    one.values = {step.values[i]};
    one.names = {step.names[i]};
    steps_.push_front(std::move(one));
  }
  return next_step(now);
}

Octets Configurator::give_up(HostTime now, Unmet::Why why) {
  unmet_.push_back({steps_.front().what, why, steps_.front().needed});
  steps_.pop_front();
  return next_step(now);
}

Octets Configurator::next_step(HostTime now) {
  if (!steps_.empty()) return send(now, Phase::kRead);
  state_ = State::kDone;
  return {};
}

Octets Configurator::send(HostTime now, Phase phase) {
  phase_ = phase;
  attempts_ = 0;
  return send_again(now);
}

Octets Configurator::send_again(HostTime now) {
  ++attempts_;
  sent_ = now;
  return request();
}

}  // namespace timeball::refclock::gnss
