// Any messages, in any order, at any pace: what the receiver reports is always well formed. The
// input is records, without checksums: {milliseconds * 16 since the one before, length, octets}. An
// octet 0xb5 begins a UBX message {0xb5, class, id, payload}, anything else is a sentence.
#include <cmath>
#include <cstdlib>
#include <vector>

#include "common/time/ntp_timestamp.h"
#include "refclock/gnss/receiver.h"
#include "refclock/gnss/sky_view.h"
#include "tests/fuzz/property.h"

using namespace timeball;
using namespace timeball::refclock;
using namespace timeball::refclock::gnss;

namespace {

constexpr UtcTime kPivot{1'750'000'000 * kNsPerSecond};

bool whole(UtcTime time) {
  return time.ns % kNsPerSecond == 0;
}

struct Checker {
  HostTime now;

  void operator()(const SecondLabel& label) const {
    require(whole(label.second));
    require(label.arrival <= now);
    require(!label.trusted || label.second >= kPivot);
    require(!label.leap_second || label.second.ns % (86'400 * kNsPerSecond) == 0);
  }
  void operator()(const QuantisationError& error) const { require(whole(error.second)); }
  void operator()(const GnssCondition& condition) const {
    require(condition.at <= now);
    require(!condition.position_offset_m || std::isfinite(*condition.position_offset_m));
    require(!condition.jamming_indicator || *condition.jamming_indicator <= 255);
  }
  void operator()(const LeapNotice& notice) const {
    require(notice.source == LeapNotice::Source::kReceiver);
    require(!notice.trusted || notice.tai_minus_utc_s);
    require(notice.event.ns % (86'400 * kNsPerSecond) == 0);
  }
  void operator()(const WeekRollover& rollover) const {
    require(rollover.at <= now && rollover.weeks >= 0 && rollover.weeks % 1024 == 0);
  }
};

void take(Receiver& receiver, SkyView& view, Bytes record, HostTime now, Reports& reports) {
  if (record.size() < 3 || record[0] != 0xb5) {
    const nmea::Sentence sentence = nmea::decode(record);
    receiver.take(sentence, record.size() % 8 != 0, now, reports);
    view.take(sentence, now);
    return;
  }
  if (const auto message = ubx::decode({record[1], record[2], record.subspan(3)})) {
    receiver.take(*message, now, reports);
    view.take(*message, now);
  }
}

void check(const Sky& sky) {
  require(sky.satellites.size() <= kMaxSatellites && sky.bands.size() <= kMaxRadioBands);
  require(!sky.survey || std::isfinite(sky.survey->accuracy_m));
  for (const RadioBand& band : sky.bands) require(band.agc >= 0 && band.agc <= 1);
  for (const Satellite& s : sky.satellites) {
    require(!s.elevation_deg || std::abs(*s.elevation_deg) <= 90);
    require(!s.azimuth_deg || (*s.azimuth_deg >= 0 && *s.azimuth_deg < 360));
    require(!s.cn0_dbhz || (*s.cn0_dbhz > 0 && *s.cn0_dbhz <= 255));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Receiver receiver({.pivot = kPivot,
                     .position = SurveyedPosition{48.1, 11.5, 560},
                     .nmea_settling = Duration(0)});
  SkyView view;
  Reports reports;
  Checker checker{HostTime{kNsPerSecond}};
  ByteReader reader({data, size});
  while (reader.remaining() > 2) {
    checker.now = checker.now + std::chrono::milliseconds(16 * reader.u8());
    const std::size_t length = std::min<std::size_t>(reader.u8(), reader.remaining());
    take(receiver, view, reader.take(length), checker.now, reports);
    check(view.sky(checker.now));
    for (const Report& report : reports) std::visit(checker, report);
    reports.clear();
  }
  return 0;
}
