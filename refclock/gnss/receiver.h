// A receiver's messages folded into what they say of time: names for seconds, errors of pulses, its
// condition, leap seconds.
//
// Messages of one epoch (same time of week, or same time of day) belong together; the epoch is
// reported when NAV-EOE ends it, when the caller says that the line is quiet, or when the next
// begins: then nearly a second late, which is why every report carries when its message arrived. A
// stream that has UBX time (NAV-PVT, NAV-TIMEUTC) is labelled by that alone.
//
// A label is trusted when all of this holds.
//
// UBX: the fix is good (gnssFixOK, not dead reckoning); NAV-PVT: date and time valid, fully
// resolved and confirmed; NAV-TIMEUTC, when it comes: week, time and UTC valid; NAV-TIMELS, when it
// comes: leap seconds not the firmware's default (source 0), aided or configured; NAV-TIMEGPS, when
// it comes: leap seconds valid. Without NAV-PVT, NAV-STATUS must say that the fix is good.
//
// NMEA: the checksum is right and no field is bad; RMC says A, GGA a quality that is a fix; the
// date is known; so it has been for five seconds, each a second after the one before; and UTC is
// the satellites': PUBX,04 says so (no D), or, since plain NMEA cannot say, the receiver has had a
// fix for `nmea_settling`.
//
// A leap notice is trusted only when a satellite system is its source.
//
// An error of a pulse is reported when the pulse can be named: TIM-TP in UTC, or in GPS or Galileo
// time with the leap seconds known. Epochs off the second (5 Hz) name none.
//
// A date before the pivot is 1024 weeks (or a multiple) early: GPS counts weeks modulo 1024. It is
// put right, and said (WeekRollover).
//
// Pure: arrival times are arguments. One thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/time/time_scales.h"
#include "refclock/gnss/nmea.h"
#include "refclock/gnss/stream.h"
#include "refclock/gnss/ubx.h"
#include "refclock/observations.h"

namespace timeball::refclock::gnss {

struct SurveyedPosition {
  double latitude_deg = 0;
  double longitude_deg = 0;
  double height_m = 0;  // above the ellipsoid
};

struct ReceiverOptions {
  UtcTime pivot;  // no date is before it: when this program was made
  std::optional<SurveyedPosition> position = std::nullopt;
  // After which a plain NMEA receiver is believed to have UTC's offset from the satellites, who
  // send it every 12.5 minutes.
  Duration nmea_settling = std::chrono::seconds(750);
};

// The receiver's date is so many weeks early. Once, and again when it changes (to 0: it has mended
// itself).
struct WeekRollover {
  HostTime at;
  int weeks = 0;
};

using Report =
    std::variant<SecondLabel, QuantisationError, GnssCondition, LeapNotice, WeekRollover>;
using Reports = std::vector<Report>;

// A second as a receiver names it; 23:59:60 as in SecondLabel.
struct NamedSecond {
  UtcTime second;
  bool leap_second = false;

  friend bool operator==(const NamedSecond&, const NamedSecond&) = default;
};

class Receiver {
 public:
  explicit Receiver(const ReceiverOptions& options) : options_(options) {}

  // Appends to `out`. arrival: of the message's first octet; never before the one before.
  void take(const ubx::Message& message, HostTime arrival, Reports& out);
  // checked: it had a checksum.
  void take(const nmea::Sentence& sentence, bool checked, HostTime arrival, Reports& out);
  // Decodes, too. Refused: the decoder's reason. RTCM and what we have no use for is nothing.
  std::optional<Why> take(const Frame& frame, Reports& out);
  // Nothing has come for a while: the epoch is over. What still comes of it is left alone.
  void quiet(Reports& out);

 private:
  struct UbxEpoch {
    HostTime arrival;
    bool reported = false;
    std::uint32_t itow_ms = 0;
    std::optional<ubx::NavPvt> pvt;
    std::optional<ubx::NavTimeUtc> utc;
    std::optional<ubx::NavTimeGps> gps;
    std::optional<ubx::NavTimeLs> leap;
    std::optional<ubx::NavStatus> status;
    std::optional<ubx::NavSat> satellites;
  };

  struct NmeaEpoch {
    HostTime arrival;
    bool reported = false;
    std::optional<nmea::TimeOfDay> time;
    std::optional<nmea::Rmc> rmc;
    std::optional<nmea::Gga> gga;
    std::optional<std::chrono::year_month_day> date;       // of ZDA
    std::map<std::string, unsigned, std::less<>> in_view;  // by talker
    bool sound = true;  // no sentence without a checksum or with a bad field
  };

  // What was said last, as long as it is repeated.
  template <class T>
  struct Recent {
    std::optional<T> value;
    HostTime at;
  };
  template <class T>
  void note(Recent<T>& recent, T value) const;
  template <class T>
  std::optional<T> get(const Recent<T>& recent) const;

  // A message that belongs to no epoch.
  template <class T>
  void hear(const T& message, Reports& out);
  void pulse(const ubx::TimTp& message, Reports& out);
  void text(std::string_view text);

  // The epoch that a message belongs to, after the one before has been reported.
  UbxEpoch& ubx_epoch(std::uint32_t itow_ms, Reports& out);
  NmeaEpoch& nmea_epoch(const std::optional<nmea::TimeOfDay>& time, Reports& out);
  void commit(const UbxEpoch& epoch, Reports& out);
  void commit(const NmeaEpoch& epoch, Reports& out);

  static bool usable(const UbxEpoch& epoch);
  static bool usable(const NmeaEpoch& epoch);
  static bool trusted(const UbxEpoch& epoch);
  bool trusted(const NmeaEpoch& epoch, const std::optional<NamedSecond>& second);
  bool follows(const NamedSecond& second, HostTime arrival) const;
  std::optional<NamedSecond> named(const UbxEpoch& epoch, Reports& out);
  std::optional<NamedSecond> named(const NmeaEpoch& epoch, Reports& out);
  NamedSecond repaired(NamedSecond named, Reports& out);
  void leap_notice(const UbxEpoch& epoch, const std::optional<NamedSecond>& second, bool trusted,
                   Reports& out) const;
  GnssCondition condition(HostTime at, bool usable) const;

  ReceiverOptions options_;
  HostTime now_;  // the newest arrival
  std::optional<UbxEpoch> ubx_;
  std::optional<NmeaEpoch> nmea_;
  int rollover_weeks_ = 0;

  Recent<bool> speaks_ubx_;  // of time
  Recent<Threat> rf_jamming_;
  Recent<Threat> sec_jamming_;
  Recent<Threat> sec_spoofing_;
  Recent<Threat> nav_spoofing_;
  Recent<unsigned> jamming_indicator_;
  Recent<Antenna> antenna_;
  Antenna antenna_text_ = Antenna::kUnknown;  // said when it changes, not repeated
  Recent<int> gps_minus_utc_s_;               // from the satellites
  Recent<bool> utc_is_default_;               // PUBX,04's D

  // Of NMEA.
  unsigned in_a_row_ = 0;  // seconds
  std::optional<NamedSecond> last_second_;
  HostTime last_arrival_;
  std::optional<HostTime> fix_since_;
};

}  // namespace timeball::refclock::gnss
