// Frames that configure a u-blox receiver. Generation 9 and later: values by key (CFG-VALSET);
// generation 8: a message for each subject. Octets out; pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/base/bytes.h"
#include "refclock/gnss/ubx.h"

namespace timeball::refclock::gnss::ubx {

using Octets = std::vector<std::uint8_t>;

inline constexpr std::uint8_t kCfg = 0x06;  // the class
inline constexpr std::uint8_t kCfgMsg = 0x01;
inline constexpr std::uint8_t kCfgRate = 0x08;
inline constexpr std::uint8_t kCfgTp5 = 0x31;
inline constexpr std::uint8_t kCfgItfm = 0x39;
inline constexpr std::uint8_t kCfgTmode2 = 0x3d;
inline constexpr std::uint8_t kCfgValSet = 0x8a;
inline constexpr std::uint8_t kCfgValGet = 0x8b;

// A payload with its sync, header and checksum. Without a payload: a poll.
Octets frame(std::uint8_t message_class, std::uint8_t id, Bytes payload = {});

// A key's bits 28 to 30 say how long its value is.
struct KeyValue {
  std::uint32_t key = 0;
  std::uint64_t value = 0;

  friend bool operator==(const KeyValue&, const KeyValue&) = default;
};

// To RAM only: flash wears, and who restarts is configured again.
Octets val_set(std::span<const KeyValue> values);
// From RAM.
Octets val_get(std::span<const KeyValue> keys);
// Of the answer; none: it is no such message.
std::optional<std::vector<KeyValue>> val_get_answer(const Packet& packet);

// Payloads of generation 8.
struct TimePulse {
  std::int16_t cable_delay_ns = 0;
  std::uint32_t length_us = 0;  // when locked; no pulse until then
};
struct TimeMode {
  enum class Mode : std::uint8_t { kOff = 0, kSurveyIn = 1, kFixed = 2 };
  Mode mode = Mode::kOff;
  std::array<std::int32_t, 3> ecef_cm{};  // of kFixed
  std::uint32_t accuracy_mm = 0;
  std::uint32_t survey_s = 0;         // of kSurveyIn: at least so long
  std::uint32_t survey_limit_mm = 0;  // and until it is so good
};
Octets rate_payload(std::uint16_t period_ms);
Octets time_pulse_payload(const TimePulse& pulse);
Octets time_mode_payload(const TimeMode& mode);
Octets interference_payload();

}  // namespace timeball::refclock::gnss::ubx
