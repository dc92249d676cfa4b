// A receiver's messages folded into what it sees: satellites of NAV-SAT, or of GSV and GSA;
// dilution of precision of NAV-DOP or GSA; the survey of TIM-SVIN or NAV-SVIN; the radio of MON-RF
// or MON-HW.
//
// NMEA gives a satellite once for each of its signals: the strongest counts. Its numbers are made
// those of the satellite's own system (GPS 44 is SBAS 131). While NAV-SAT comes, GSV and GSA are
// left alone.
//
// Pure: arrival times are arguments. One thread.
#pragma once

#include <limits>
#include <optional>
#include <vector>

#include "refclock/gnss/nmea.h"
#include "refclock/gnss/ubx.h"
#include "refclock/observations.h"
#include "refclock/sky.h"

namespace timeball::refclock::gnss {

class SkyView {
 public:
  // arrival: never before the one before.
  void take(const ubx::Message& message, HostTime arrival);
  // One whose checksum was right.
  void take(const nmea::Sentence& sentence, HostTime arrival);
  // What has been said within the last ten seconds.
  Sky sky(HostTime now) const;

 private:
  template <class T>
  struct Said {
    T value{};
    HostTime at{std::numeric_limits<std::int64_t>::min() / 2};
  };
  struct Seen {
    Satellite satellite;
    HostTime at;
    std::optional<HostTime> used;
  };

  void hear(const ubx::NavSat& m, HostTime arrival);
  void hear(const ubx::NavDop& m, HostTime arrival);
  void hear(const ubx::TimSvin& m, HostTime arrival);
  void hear(const ubx::NavSvin& m, HostTime arrival);
  void hear(const ubx::MonHw& m, HostTime arrival);
  void hear(const ubx::MonRf& m, HostTime arrival);
  void satellites(const nmea::Gsv& message, Constellation talker, HostTime arrival);
  void used(const nmea::Gsa& message, Constellation talker, HostTime arrival);
  Seen* find(Constellation system, unsigned number);
  Seen* place(Constellation system, unsigned number, HostTime arrival);

  std::vector<Seen> seen_;
  HostTime nav_sat_at_{std::numeric_limits<std::int64_t>::min() / 2};
  Said<double> pdop_, tdop_;
  Said<SurveyIn> survey_;
  Said<std::vector<RadioBand>> bands_;
  Said<std::optional<bool>> antenna_power_;
};

}  // namespace timeball::refclock::gnss
