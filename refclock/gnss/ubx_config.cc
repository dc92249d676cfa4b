#include "refclock/gnss/ubx_config.h"

namespace timeball::refclock::gnss::ubx {
namespace {

constexpr std::uint8_t kLayerRam = 1;  // of CFG-VALSET, a bit
constexpr std::uint8_t kFromRam = 0;   // of CFG-VALGET, a number

// Little endian.
class Writer {
 public:
  explicit Writer(std::size_t size = 0) : octets_(size) {}

  void put(std::size_t offset, std::uint64_t value, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) {
      octets_[offset + i] = static_cast<std::uint8_t>(value >> 8 * i);
    }
  }
  void append(std::uint64_t value, std::size_t size) {
    octets_.resize(octets_.size() + size);
    put(octets_.size() - size, value, size);
  }
  Octets take() { return std::move(octets_); }

 private:
  Octets octets_;
};

// 0: no such size.
std::size_t value_size(std::uint32_t key) {
  constexpr std::array<std::size_t, 8> kSizes = {0, 1, 1, 2, 4, 8, 0, 0};
  return kSizes[key >> 28 & 7];
}

std::uint64_t load(Bytes octets) {
  std::uint64_t value = 0;
  for (std::size_t i = octets.size(); i-- > 0;) value = value << 8 | octets[i];
  return value;
}

}  // namespace

Octets frame(std::uint8_t message_class, std::uint8_t id, Bytes payload) {
  Writer header;
  header.append(0x62b5, 2);
  header.append(message_class, 1);
  header.append(id, 1);
  header.append(payload.size(), 2);
  Octets out = header.take();
  out.insert(out.end(), payload.begin(), payload.end());
  std::uint8_t a = 0;
  std::uint8_t b = 0;
  for (const std::uint8_t octet : Bytes(out).subspan(2)) {
    a = static_cast<std::uint8_t>(a + octet);
    b = static_cast<std::uint8_t>(b + a);
  }
  out.push_back(a);
  out.push_back(b);
  return out;
}

Octets val_set(std::span<const KeyValue> values) {
  Writer payload;
  payload.append(0, 1);  // version
  payload.append(kLayerRam, 1);
  payload.append(0, 2);  // no transaction
  for (const KeyValue& one : values) {
    payload.append(one.key, 4);
    payload.append(one.value, value_size(one.key));
  }
  return frame(kCfg, kCfgValSet, payload.take());
}

Octets val_get(std::span<const KeyValue> keys) {
  Writer payload;
  payload.append(0, 1);  // version
  payload.append(kFromRam, 1);
  payload.append(0, 2);  // from the first
  for (const KeyValue& one : keys) payload.append(one.key, 4);
  return frame(kCfg, kCfgValGet, payload.take());
}

std::optional<std::vector<KeyValue>> val_get_answer(const Packet& packet) {
  if (packet.message_class != kCfg || packet.id != kCfgValGet) return std::nullopt;
  if (packet.payload.size() < 4 || packet.payload[0] != 1) return std::nullopt;
  std::vector<KeyValue> values;
  for (Bytes rest = packet.payload.subspan(4); !rest.empty();) {
    if (rest.size() < 4) return std::nullopt;
    const auto key = static_cast<std::uint32_t>(load(rest.first(4)));
    const std::size_t size = value_size(key);
    if (size == 0 || rest.size() < 4 + size) return std::nullopt;
    values.push_back({key, load(rest.subspan(4, size))});
    rest = rest.subspan(4 + size);
  }
  return values;
}

Octets rate_payload(std::uint16_t period_ms) {
  Writer payload(6);
  payload.put(0, period_ms, 2);
  payload.put(2, 1, 2);  // a solution for each measurement
  payload.put(4, 0, 2);  // on UTC's second
  return payload.take();
}

Octets time_pulse_payload(const TimePulse& pulse) {
  constexpr std::uint32_t kSecond_us = 1'000'000;
  // Active, locked to GNSS, other settings when locked, a length, on the second, rising; UTC.
  constexpr std::uint32_t kFlags = 0x01 | 0x02 | 0x04 | 0x10 | 0x20 | 0x40;
  Writer payload(32);
  payload.put(1, 1, 1);  // version; TP1
  payload.put(4, static_cast<std::uint16_t>(pulse.cable_delay_ns), 2);
  payload.put(8, kSecond_us, 4);
  payload.put(12, kSecond_us, 4);
  payload.put(16, 0, 4);
  payload.put(20, pulse.length_us, 4);
  payload.put(28, kFlags, 4);
  return payload.take();
}

Octets time_mode_payload(const TimeMode& mode) {
  Writer payload(28);
  payload.put(0, static_cast<std::uint8_t>(mode.mode), 1);
  for (std::size_t i = 0; i < mode.ecef_cm.size(); ++i) {
    payload.put(4 + 4 * i, static_cast<std::uint32_t>(mode.ecef_cm[i]), 4);
  }
  payload.put(16, mode.accuracy_mm, 4);
  payload.put(20, mode.survey_s, 4);
  payload.put(24, mode.survey_limit_mm, 4);
  return payload.take();
}

// The thresholds and algorithm bits that a receiver comes with, and the bit that switches it on.
Octets interference_payload() {
  Writer payload(8);
  payload.put(0, 0xad62'acf3, 4);
  payload.put(4, 0x31e, 4);
  return payload.take();
}

}  // namespace timeball::refclock::gnss::ubx
