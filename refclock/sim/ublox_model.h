// A u-blox timing receiver, as far as its serial line shows: what it sends each second, and how it
// takes its configuration. Bytes in, bytes out; the pulse itself is the caller's.
//
// It comes up as from the factory: NMEA on, every UBX message off, until it is told otherwise by
// CFG-VALSET (generation 9) or CFG-MSG and its kin (generation 8). Unknown keys and messages are
// refused (ACK-NAK), as the real ones do.
//
// Pure: no clock, no randomness. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"
#include "refclock/observations.h"

namespace timeball::refclock::sim {

enum class UbloxGeneration : std::uint8_t { k8, k9 };

// What the receiver sees of the sky, and what it makes of it.
struct UbloxSky {
  bool fix = true;
  bool time_confirmed = true;  // fully resolved, confirmed, UTC parameters received
  unsigned satellites = 14;
  Duration time_accuracy{12};
  Threat jamming = Threat::kNone;
  Threat spoofing = Threat::kNone;
  unsigned jamming_indicator = 8;
  Antenna antenna = Antenna::kOk;
  double moved_m = 0;  // upwards, from the surveyed position
  int gps_minus_utc_s = 18;
  LeapIndicator leap = LeapIndicator::kNone;  // announced
  UtcTime leap_event;                         // the first second after it
  bool leap_second = false;                   // now: 23:59:60, which `second` calls 00:00:00
  int label_error_s = 0;                      // off by one, or by anything
  bool week_rollover = false;                 // 1024 weeks early
};

class UbloxModel {
 public:
  using Octets = std::vector<std::uint8_t>;

  explicit UbloxModel(UbloxGeneration generation) : generation_(generation) { restart(); }

  // Power off and on: what was only in RAM is lost.
  void restart();

  // What it says after the pulse of `second`. next_error_ps: the quantisation error of the next
  // pulse, which TIM-TP announces.
  Octets epoch(UtcTime second, std::int32_t next_error_ps, const UbloxSky& sky);

  // What it answers to octets of the host.
  Octets receive(Bytes octets);

  // Of a key in RAM; none: never set.
  std::optional<std::uint64_t> configured(std::uint32_t key) const;
  // Whether a message leaves each second.
  bool sends(std::uint8_t message_class, std::uint8_t id) const;

 private:
  bool surveying() const;

  struct Moment;  // a second in the receiver's own terms

  void handle(std::uint8_t message_class, std::uint8_t id, Bytes payload, Octets& out);
  bool set_values(Bytes payload);
  bool get_values(Bytes payload, Octets& out) const;
  bool message_rate(Bytes payload, Octets& out);
  bool set_legacy(std::uint8_t id, Bytes payload, Octets& out);
  void add_version(Octets& out) const;
  void add_navigation(Octets& out, const Moment& moment, const UbloxSky& sky) const;
  void add_fix(Octets& out, const Moment& moment, const UbloxSky& sky) const;
  void add_timing(Octets& out, const Moment& moment, std::int32_t next_error_ps,
                  const UbloxSky& sky) const;
  void add_health(Octets& out, const Moment& moment, const UbloxSky& sky) const;
  void add_nmea(Octets& out, const Moment& moment, const UbloxSky& sky) const;

  UbloxGeneration generation_;
  std::map<std::uint32_t, std::uint64_t> ram_;   // generation 9, by key
  std::map<std::uint16_t, std::uint8_t> rates_;  // by class << 8 | id
  std::map<std::uint8_t, Octets> legacy_;        // generation 8: the last CFG message of an id
  std::uint32_t survey_s_ = 0;
  Octets unread_;
};

// An NMEA sentence with its frame: "$GPZDA,...*hh\r\n".
std::string nmea_sentence(std::string_view body);

}  // namespace timeball::refclock::sim
