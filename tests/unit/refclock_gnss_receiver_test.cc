// What is made of a receiver's messages: labels and when they are trusted, errors of pulses,
// condition, leap seconds.
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "common/time/ntp_timestamp.h"
#include "refclock/gnss/receiver.h"

using namespace timeball;
using namespace timeball::refclock;
using namespace timeball::refclock::gnss;

namespace {

using Octets = std::vector<std::uint8_t>;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::sys_days;

constexpr HostTime kStart{1'000 * kNsPerSecond};

UtcTime utc(std::chrono::year_month_day date, int hour, int minute, int second) {
  const auto time = sys_days(date).time_since_epoch() + std::chrono::hours(hour) +
                    std::chrono::minutes(minute) + seconds(second);
  return UtcTime{std::chrono::nanoseconds(time).count()};
}
constexpr std::chrono::year_month_day date(int year, unsigned month, unsigned day) {
  return std::chrono::year(year) / std::chrono::month(month) / std::chrono::day(day);
}
const UtcTime kPivot = utc(date(2025, 1, 1), 0, 0, 0);

// A receiver, and what it has reported.
class Listener {
 public:
  explicit Listener(ReceiverOptions options = {.pivot = kPivot}) : receiver_(options) {}

  void hear(const ubx::Message& message) { receiver_.take(message, at, reports); }
  // With its checksum, unless told otherwise.
  void fall_silent() { receiver_.quiet(reports); }
  void say(const std::string& sentence, bool checked = true) {
    const Octets octets(sentence.begin(), sentence.end());
    receiver_.take(nmea::decode(octets), checked, at, reports);
  }
  template <class T>
  std::vector<T> all() const {
    std::vector<T> found;
    for (const Report& report : reports) {
      if (const auto* one = std::get_if<T>(&report)) found.push_back(*one);
    }
    return found;
  }
  template <class T>
  T last() const {
    const auto found = all<T>();
    EXPECT_FALSE(found.empty());
    return found.empty() ? T{} : found.back();
  }

  HostTime at = kStart;
  Reports reports;

 private:
  Receiver receiver_;
};

// 2025-07-31 19:33:34, and everything is well.
ubx::NavPvt good_pvt() {
  ubx::NavPvt pvt{};
  pvt.itow_ms = 415'232'000;
  pvt.year = 2025;
  pvt.month = 7;
  pvt.day = 31;
  pvt.hour = 19;
  pvt.minute = 33;
  pvt.second = 34;
  pvt.date_valid = pvt.time_valid = pvt.fully_resolved = true;
  pvt.time_accuracy_ns = 12;
  pvt.fix = 5;
  pvt.fix_ok = true;
  pvt.confirmation_available = pvt.date_confirmed = pvt.time_confirmed = true;
  pvt.satellites = 14;
  pvt.latitude_e7 = 481'000'000;
  pvt.longitude_e7 = 115'000'000;
  pvt.height_mm = 560'000;
  return pvt;
}
const UtcTime kGoodSecond = utc(date(2025, 7, 31), 19, 33, 34);

// Of the same epoch.
ubx::NavTimeUtc good_utc() {
  ubx::NavTimeUtc m{};
  m.itow_ms = 415'232'000;
  m.time_accuracy_ns = 15;
  m.year = 2025;
  m.month = 7;
  m.day = 31;
  m.hour = 19;
  m.minute = 33;
  m.second = 34;
  m.tow_valid = m.week_valid = m.utc_valid = true;
  return m;
}
ubx::NavTimeLs good_leap() {
  ubx::NavTimeLs m{};
  m.itow_ms = 415'232'000;
  m.leap_source = 2;
  m.leap_s = 18;
  m.leap_valid = true;
  return m;
}
ubx::NavEoe good_end() {
  return {415'232'000};
}

SecondLabel label_of(const std::vector<ubx::Message>& epoch) {
  Listener listener;
  for (const auto& message : epoch) listener.hear(message);
  listener.hear(good_end());
  return listener.last<SecondLabel>();
}

// n seconds after 12:00:00 on 2025-07-31.
std::string rmc(int n, std::string_view status_and_mode = "AA", std::string_view day = "310725") {
  char text[100];
  std::snprintf(text, sizeof text, "$GPRMC,12%02d%02d.00,%c,4806.0,N,01130.0,E,0.0,,%.*s,,,%c*00",
                n / 60, n % 60, status_and_mode[0], static_cast<int>(day.size()), day.data(),
                status_and_mode[1]);
  return text;
}

}  // namespace

TEST(GnssReceiver, ALeaM8tInTimeMode) {
  // 2021-02-23 18:04:29, as recorded: the epoch is 321 us after the second.
  Listener listener({.pivot = utc(date(2021, 1, 1), 0, 0, 0)});
  listener.hear(ubx::TimTp{237'870'000, 0, -4331, 2146, true, true, 2, false, false, 15, 0});
  listener.at = listener.at + milliseconds(40);
  ubx::NavTimeUtc time{};
  time.itow_ms = 237'887'000;
  time.time_accuracy_ns = 1031;
  time.nano_ns = 321'732;
  time.year = 2021;
  time.month = 2;
  time.day = 23;
  time.hour = 18;
  time.minute = 4;
  time.second = 29;
  time.tow_valid = time.week_valid = time.utc_valid = true;
  listener.hear(time);
  listener.at = listener.at + milliseconds(10);
  ubx::NavTimeLs leap = good_leap();
  leap.itow_ms = 237'887'000;
  leap.leap_source = 1;
  listener.hear(leap);
  listener.hear(ubx::NavStatus{237'887'000, 5, true, true, true, 1, 15'100, 123'598});
  EXPECT_TRUE(listener.all<SecondLabel>().empty());  // no NAV-EOE: until the next epoch
  listener.at = kStart + seconds(1);
  listener.hear(ubx::NavStatus{237'888'000, 5, true, true, true, 1, 15'100, 124'598});

  // TIM-TP is of the next pulse, in UTC's time of week.
  const auto error = listener.last<QuantisationError>();
  EXPECT_EQ(error.second, utc(date(2021, 2, 23), 18, 4, 30));
  EXPECT_EQ(error.error_ps, -4331);
  EXPECT_TRUE(error.valid);
  const auto label = listener.last<SecondLabel>();
  EXPECT_EQ(label.second, utc(date(2021, 2, 23), 18, 4, 29));
  EXPECT_EQ(label.arrival, kStart + milliseconds(40));
  EXPECT_EQ(label.names, SecondLabel::Names::kLastPulse);
  EXPECT_TRUE(label.trusted);
  EXPECT_FALSE(label.leap_second);
  const auto notice = listener.last<LeapNotice>();
  EXPECT_TRUE(notice.trusted);
  EXPECT_EQ(notice.tai_minus_utc_s, 37);
  EXPECT_EQ(notice.change, LeapIndicator::kNone);
  const auto condition = listener.last<GnssCondition>();
  EXPECT_TRUE(condition.usable);
  EXPECT_EQ(condition.spoofing, Threat::kNone);
  EXPECT_EQ(condition.time_accuracy, Duration(1031));
}

TEST(GnssReceiver, UbxIsTrustedWhenEverythingHolds) {
  const SecondLabel label = label_of({good_pvt()});
  EXPECT_EQ(label.second, kGoodSecond);
  EXPECT_EQ(label.arrival, kStart);
  EXPECT_TRUE(label.trusted);
  EXPECT_TRUE(label_of({good_pvt(), good_utc(), good_leap()}).trusted);
}

TEST(GnssReceiver, UbxIsNotTrustedWhenAnythingFails) {
  const std::vector<void (*)(ubx::NavPvt&)> faults = {
      [](ubx::NavPvt& m) { m.date_valid = false; },
      [](ubx::NavPvt& m) { m.time_valid = false; },
      [](ubx::NavPvt& m) { m.fully_resolved = false; },
      [](ubx::NavPvt& m) { m.confirmation_available = false; },
      [](ubx::NavPvt& m) { m.date_confirmed = false; },
      [](ubx::NavPvt& m) { m.time_confirmed = false; },
      [](ubx::NavPvt& m) { m.fix_ok = false; },
      [](ubx::NavPvt& m) { m.fix = 0; },
      [](ubx::NavPvt& m) { m.fix = 1; },
      [](ubx::NavPvt& m) { m.fix = 6; }};
  for (const auto& fault : faults) {
    ubx::NavPvt pvt = good_pvt();
    fault(pvt);
    const SecondLabel label = label_of({pvt});
    EXPECT_FALSE(label.trusted) << &fault - faults.data();
    EXPECT_EQ(label.second, kGoodSecond);
  }
  const std::vector<void (*)(ubx::NavTimeUtc&)> utc_faults = {
      [](ubx::NavTimeUtc& m) { m.tow_valid = false; },
      [](ubx::NavTimeUtc& m) { m.week_valid = false; },
      [](ubx::NavTimeUtc& m) { m.utc_valid = false; },
      [](ubx::NavTimeUtc& m) { m.second = 35; }};  // disagrees with NAV-PVT
  for (const auto& fault : utc_faults) {
    ubx::NavTimeUtc time = good_utc();
    fault(time);
    EXPECT_FALSE(label_of({good_pvt(), time}).trusted) << &fault - utc_faults.data();
  }
  for (const int source : {0, 6, 7}) {
    ubx::NavTimeLs leap = good_leap();
    leap.leap_source = static_cast<std::uint8_t>(source);
    EXPECT_FALSE(label_of({good_pvt(), leap}).trusted) << source;
  }
  EXPECT_FALSE(label_of({good_utc()}).trusted);  // who says that there is a fix?
  EXPECT_TRUE(
      label_of({good_utc(), ubx::NavStatus{415'232'000, 3, true, true, true, 0, 0, 0}}).trusted);
  EXPECT_FALSE(
      label_of({good_utc(), ubx::NavStatus{415'232'000, 3, false, true, true, 0, 0, 0}}).trusted);
}

// A LEA-M8T says so for as long as it hears GLONASS.
TEST(GnssReceiver, ALeapSourceUnknownIsGoodForALabelAndNotForANotice) {
  ubx::NavTimeLs leap = good_leap();
  leap.leap_source = 255;
  Listener listener;
  listener.hear(good_pvt());
  listener.hear(leap);
  listener.hear(good_end());
  EXPECT_TRUE(listener.last<SecondLabel>().trusted);
  EXPECT_FALSE(listener.last<LeapNotice>().trusted);
  EXPECT_EQ(listener.last<LeapNotice>().tai_minus_utc_s, 37);
}

TEST(GnssReceiver, BeforeThereWasConfirmationTimeUtcStandsForIt) {
  ubx::NavPvt pvt = good_pvt();
  pvt.confirmation_available = pvt.date_confirmed = pvt.time_confirmed = false;
  EXPECT_FALSE(label_of({pvt}).trusted);
  EXPECT_TRUE(label_of({pvt, good_utc()}).trusted);
}

TEST(GnssReceiver, TheNearestSecondIfItIsNear) {
  const auto second_at = [](std::int32_t nano_ns) {
    ubx::NavPvt pvt = good_pvt();
    pvt.nano_ns = nano_ns;
    Listener listener;
    listener.hear(pvt);
    listener.hear(good_end());
    const auto labels = listener.all<SecondLabel>();
    return labels.empty() ? 0 : (labels[0].second - kGoodSecond).count() / kNsPerSecond + 1;
  };
  EXPECT_EQ(second_at(-999'999'999), 0 + 0);  // the second before: -1 + 1
  EXPECT_EQ(second_at(-321'732), 1);
  EXPECT_EQ(second_at(40'000'000), 1);
  EXPECT_EQ(second_at(999'999'999), 2);
  EXPECT_EQ(second_at(200'000'000), 0);  // 5 Hz: names none
  EXPECT_EQ(second_at(-400'000'000), 0);
  EXPECT_EQ(second_at(2'000'000'000), 0);
}

TEST(GnssReceiver, TheLeapSecondItself) {
  ubx::NavPvt pvt = good_pvt();
  pvt.month = 12;
  pvt.hour = 23;
  pvt.minute = 59;
  pvt.second = 60;
  SecondLabel label = label_of({pvt});
  EXPECT_EQ(label.second, utc(date(2026, 1, 1), 0, 0, 0));
  EXPECT_TRUE(label.leap_second);
  EXPECT_TRUE(label.trusted);
  pvt.minute = 58;  // there it is none
  Listener listener;
  listener.hear(pvt);
  listener.hear(good_end());
  EXPECT_TRUE(listener.all<SecondLabel>().empty());
}

TEST(GnssReceiver, WeekRolloverIsPutRightAndSaidOnce) {
  Listener listener;
  for (int n = 0; n < 3; ++n) {
    ubx::NavPvt pvt = good_pvt();
    pvt.itow_ms += static_cast<std::uint32_t>(n) * 1000;
    pvt.year = 2005;  // 7168 days before 2025-07-31 is 2005-12-15
    pvt.month = 12;
    pvt.day = 15;
    pvt.second = static_cast<std::uint8_t>(34 + n);
    listener.hear(pvt);
    listener.hear(ubx::NavEoe{pvt.itow_ms});
    const auto label = listener.last<SecondLabel>();
    EXPECT_EQ(label.second, kGoodSecond + seconds(n));
    EXPECT_TRUE(label.trusted);
    EXPECT_EQ(listener.last<GnssCondition>().rollover_weeks, 1024);
  }
  ASSERT_EQ(listener.all<WeekRollover>().size(), 1U);
  EXPECT_EQ(listener.last<WeekRollover>().weeks, 1024);
  // TIM-TP counts the same weeks.
  listener.hear(ubx::TimTp{415'217'000, 0, 7, 1353, true, true, 2, false, false, 0, 3});
  EXPECT_EQ(listener.last<QuantisationError>().second, utc(date(2025, 7, 31), 19, 20, 17));
  ubx::NavPvt mended = good_pvt();
  mended.itow_ms += 5000;
  listener.hear(mended);
  listener.hear(ubx::NavEoe{mended.itow_ms});
  EXPECT_EQ(listener.last<WeekRollover>().weeks, 0);
  EXPECT_EQ(listener.last<GnssCondition>().rollover_weeks, 0);
}

TEST(GnssReceiver, ADateThatIsNotValidIsNoRollover) {
  ubx::NavPvt pvt = good_pvt();
  pvt.year = 2015;
  pvt.date_valid = false;
  Listener listener;
  listener.hear(pvt);
  listener.hear(good_end());
  EXPECT_TRUE(listener.all<WeekRollover>().empty());
  EXPECT_EQ(listener.last<SecondLabel>().second, utc(date(2015, 7, 31), 19, 33, 34));
  EXPECT_FALSE(listener.last<SecondLabel>().trusted);
}

TEST(GnssReceiver, ErrorsOfPulses) {
  ubx::TimTp tp{415'217'000, 0, 4999, 2377, true, true, 2, false, false, 0, 3};
  const auto error_of = [](const ubx::TimTp& m, const std::vector<ubx::Message>& before) {
    Listener listener;
    for (const auto& message : before) listener.hear(message);
    listener.hear(m);
    return listener.all<QuantisationError>();
  };
  ASSERT_EQ(error_of(tp, {}).size(), 1U);
  EXPECT_TRUE(error_of(tp, {})[0].valid);
  EXPECT_EQ(error_of(tp, {})[0].second, utc(date(2025, 7, 31), 19, 20, 17));
  ubx::TimTp bad = tp;
  bad.error_invalid = true;
  EXPECT_FALSE(error_of(bad, {})[0].valid);
  bad = tp;
  bad.not_locked = true;
  EXPECT_FALSE(error_of(bad, {})[0].valid);
  bad = tp;
  bad.utc_available = false;
  EXPECT_FALSE(error_of(bad, {})[0].valid);
  // In GPS time it needs the leap seconds; GLONASS's and BeiDou's weeks are others.
  ubx::TimTp gps = tp;
  gps.utc = false;
  EXPECT_TRUE(error_of(gps, {}).empty());
  ubx::NavTimeLs by_firmware = good_leap();
  by_firmware.leap_source = 0;
  EXPECT_TRUE(error_of(gps, {by_firmware}).empty());
  ASSERT_EQ(error_of(gps, {good_leap()}).size(), 1U);
  EXPECT_EQ(error_of(gps, {good_leap()})[0].second, utc(date(2025, 7, 31), 19, 19, 59));
  gps.gnss = 1;
  EXPECT_TRUE(error_of(gps, {good_leap()}).empty());
  // A millisecond short of the second is the second; an impossible week is none.
  tp.tow_ms -= 1;
  EXPECT_EQ(error_of(tp, {})[0].second, utc(date(2025, 7, 31), 19, 20, 17));
  tp.week = 65535;
  EXPECT_TRUE(error_of(tp, {}).empty());
}

TEST(GnssReceiver, LeapNotices) {
  const auto notice_of = [](const ubx::NavTimeLs& leap, const ubx::NavPvt& pvt) {
    Listener listener;
    listener.hear(leap);
    listener.hear(pvt);
    listener.hear(good_end());
    return listener.last<LeapNotice>();
  };
  ubx::NavTimeLs leap = good_leap();
  EXPECT_TRUE(notice_of(leap, good_pvt()).trusted);
  leap.change_source = 2;
  leap.change_s = 1;
  leap.event_valid = true;
  leap.time_to_event_s = (4 * 60 + 26) * 60 + 26;  // to midnight
  LeapNotice notice = notice_of(leap, good_pvt());
  EXPECT_EQ(notice.source, LeapNotice::Source::kReceiver);
  EXPECT_TRUE(notice.trusted);
  EXPECT_EQ(notice.tai_minus_utc_s, 37);
  EXPECT_EQ(notice.change, LeapIndicator::kInsert);
  EXPECT_EQ(notice.event, utc(date(2025, 8, 1), 0, 0, 0));
  leap.change_s = -1;
  EXPECT_EQ(notice_of(leap, good_pvt()).change, LeapIndicator::kDelete);

  ubx::NavPvt unconfirmed = good_pvt();
  unconfirmed.time_confirmed = false;
  EXPECT_FALSE(notice_of(leap, unconfirmed).trusted);  // then nor is the date of the event
  const std::vector<void (*)(ubx::NavTimeLs&)> nothings = {
      [](ubx::NavTimeLs& m) { m.change_s = 0; },
      [](ubx::NavTimeLs& m) { m.change_s = 2; },
      [](ubx::NavTimeLs& m) { m.event_valid = false; },
      [](ubx::NavTimeLs& m) { m.change_source = 1; },
      [](ubx::NavTimeLs& m) { m.time_to_event_s = -5; },     // past
      [](ubx::NavTimeLs& m) { m.time_to_event_s -= 3600; },  // not at midnight
      [](ubx::NavTimeLs& m) { m.time_to_event_s = INT32_MAX; }};
  for (const auto& change : nothings) {
    ubx::NavTimeLs other = leap;
    change(other);
    EXPECT_EQ(notice_of(other, good_pvt()).change, LeapIndicator::kNone)
        << &change - nothings.data();
  }
  ubx::NavTimeLs by_firmware = leap;
  by_firmware.leap_source = 0;
  EXPECT_FALSE(notice_of(by_firmware, good_pvt()).trusted);
  by_firmware.leap_valid = false;
  EXPECT_FALSE(notice_of(by_firmware, good_pvt()).tai_minus_utc_s);
}

TEST(GnssReceiver, Condition) {
  Listener listener({.pivot = kPivot, .position = SurveyedPosition{48.1, 11.5, 557}});
  ubx::MonRf rf{};
  rf.blocks.resize(2);
  rf.blocks[0].jamming = 1;
  rf.blocks[0].antenna = 2;
  rf.blocks[0].jamming_indicator = 9;
  rf.blocks[1].jamming = 3;
  rf.blocks[1].antenna = 4;
  rf.blocks[1].jamming_indicator = 200;
  listener.hear(rf);
  listener.hear(ubx::SecSig1{1, true, 2, true, 2});
  ubx::NavSat satellites{};
  satellites.itow_ms = 415'232'000;
  satellites.satellites.resize(3);
  satellites.satellites[0].used = satellites.satellites[2].used = true;
  listener.hear(satellites);
  listener.hear(good_pvt());
  listener.hear(good_end());
  GnssCondition condition = listener.last<GnssCondition>();
  EXPECT_EQ(condition.at, kStart);
  EXPECT_TRUE(condition.usable);
  EXPECT_EQ(condition.satellites_used, 14U);  // NAV-PVT's word
  EXPECT_EQ(condition.satellites_in_view, 3U);
  EXPECT_EQ(condition.time_accuracy, Duration(12));
  EXPECT_NEAR(condition.position_offset_m.value(), 3.0, 0.01);
  EXPECT_EQ(condition.jamming, Threat::kCritical);  // the worst of all
  EXPECT_EQ(condition.spoofing, Threat::kWarning);
  EXPECT_EQ(condition.jamming_indicator, 200U);
  EXPECT_EQ(condition.antenna, Antenna::kOpen);

  // What is no longer said does not hold for ever.
  listener.at = listener.at + seconds(11);
  listener.hear(good_pvt());
  listener.hear(ubx::NavStatus{415'232'000, 5, true, true, true, 3, 0, 0});
  listener.hear(good_end());
  condition = listener.last<GnssCondition>();
  EXPECT_EQ(condition.jamming, Threat::kUnknown);
  EXPECT_EQ(condition.spoofing, Threat::kCritical);
  EXPECT_EQ(condition.antenna, Antenna::kUnknown);
  EXPECT_FALSE(condition.jamming_indicator);
}

TEST(GnssReceiver, ConditionOfGeneration8AndOfADetectorThatIsOff) {
  Listener listener;
  ubx::MonHw hw{};
  hw.jamming = 2;
  hw.antenna = 3;
  hw.jamming_indicator = 77;
  listener.hear(hw);
  listener.hear(ubx::SecSig2{2, false, 3, false, 3, 0, {}});
  ubx::NavPvt pvt = good_pvt();
  pvt.fix = 0;
  listener.hear(pvt);
  listener.hear(good_end());
  const auto condition = listener.last<GnssCondition>();
  EXPECT_FALSE(condition.usable);
  EXPECT_EQ(condition.jamming, Threat::kWarning);
  EXPECT_EQ(condition.spoofing, Threat::kUnknown);
  EXPECT_EQ(condition.antenna, Antenna::kShort);
  EXPECT_EQ(condition.jamming_indicator, 77U);
  EXPECT_FALSE(condition.position_offset_m);
}

namespace {

// One sentence a second; the label of the last of n seconds.
SecondLabel nmea_label(Listener& listener, int n, const std::string& also = "") {
  for (int i = 0; i <= n; ++i) {
    listener.at = kStart + seconds(i) + milliseconds(i % 2 * 80);
    listener.say(rmc(i));
    if (!also.empty()) listener.say(also);
  }
  return listener.last<SecondLabel>();
}
const ReceiverOptions kSettled = {.pivot = kPivot, .position = {}, .nmea_settling = Duration(0)};

}  // namespace

TEST(GnssReceiver, NmeaIsTrustedAfterFiveSecondsInARow) {
  Listener listener(kSettled);
  EXPECT_FALSE(nmea_label(listener, 4).trusted);
  Listener longer(kSettled);
  const auto label = nmea_label(longer, 5);
  EXPECT_TRUE(label.trusted);
  EXPECT_EQ(label.second, utc(date(2025, 7, 31), 12, 0, 4));
  EXPECT_EQ(label.arrival, kStart + seconds(4));
  EXPECT_TRUE(longer.last<GnssCondition>().usable);
}

TEST(GnssReceiver, SilenceEndsAnEpochOnce) {
  Listener l;
  l.hear(good_pvt());
  EXPECT_TRUE(l.all<SecondLabel>().empty());
  l.fall_silent();
  ASSERT_EQ(l.all<SecondLabel>().size(), 1U);
  EXPECT_EQ(l.last<SecondLabel>().arrival, kStart);
  l.hear(good_utc());  // a straggler
  l.fall_silent();
  EXPECT_EQ(l.all<SecondLabel>().size(), 1U);

  Listener plain;
  for (int i = 0; i < 6; ++i) {
    plain.at = kStart + seconds(i);
    plain.say(rmc(i));
    plain.fall_silent();
    EXPECT_EQ(plain.all<SecondLabel>().size(), static_cast<std::size_t>(i) + 1);
    plain.say(rmc(i));  // again
    plain.fall_silent();
  }
  EXPECT_EQ(plain.all<SecondLabel>().size(), 6U);
}

TEST(GnssReceiver, PlainNmeaHasToSettle) {
  // It cannot say whether it has UTC's offset from the satellites.
  Listener listener;
  EXPECT_FALSE(nmea_label(listener, 750).trusted);
  EXPECT_FALSE(nmea_label(listener, 740).trusted);  // time went back: from the beginning
  Listener another;
  EXPECT_TRUE(nmea_label(another, 752).trusted);
  Listener told;
  EXPECT_TRUE(nmea_label(told, 6, "$PUBX,04,120000.00,310725,1.0,2377,18,1,1,21,*00").trusted);
  Listener by_firmware(kSettled);
  EXPECT_FALSE(
      nmea_label(by_firmware, 20, "$PUBX,04,120000.00,310725,1.0,2377,18D,1,1,21,*00").trusted);
}

TEST(GnssReceiver, WhatBreaksARow) {
  const std::vector<std::pair<const char*, void (*)(Listener&)>> faults = {
      {"status V", [](Listener& l) { l.say(rmc(7, "VN")); }},
      {"estimated", [](Listener& l) { l.say(rmc(7, "AE")); }},
      {"manual", [](Listener& l) { l.say(rmc(7, "AM")); }},
      {"simulated", [](Listener& l) { l.say(rmc(7, "AS")); }},
      {"no checksum", [](Listener& l) { l.say(rmc(7), false); }},
      {"a bad field", [](Listener& l) { l.say("$GPRMC,120007,A,x,N,01130.0,E,,,310725,,,A"); }},
      {"quality 0", [](Listener& l) { l.say(rmc(7)), l.say("$GPGGA,120007.00,,,,,0,00"); }},
      {"quality 6", [](Listener& l) { l.say(rmc(7)), l.say("$GPGGA,120007.00,,,,,6,00"); }},
      {"quality 7", [](Listener& l) { l.say(rmc(7)), l.say("$GPGGA,120007.00,,,,,7,00"); }},
      {"quality 8", [](Listener& l) { l.say(rmc(7)), l.say("$GPGGA,120007.00,,,,,8,00"); }},
      {"another date", [](Listener& l) { l.say(rmc(7)), l.say("$GPZDA,120007,30,07,2025"); }},
      {"a jump", [](Listener& l) { l.say(rmc(8)); }},
      {"a second missing", [](Listener& l) { l.at = l.at + seconds(1), l.say(rmc(8)); }},
      {"late", [](Listener& l) { l.at = l.at + milliseconds(480), l.say(rmc(7)); }}};
  for (const auto& [what, fault] : faults) {
    Listener listener(kSettled);
    EXPECT_TRUE(nmea_label(listener, 6).trusted);
    listener.at = kStart + seconds(7);
    fault(listener);
    listener.reports.clear();
    listener.at = kStart + seconds(9);
    listener.say(rmc(9));
    for (const auto& label : listener.all<SecondLabel>()) EXPECT_FALSE(label.trusted) << what;
    const auto conditions = listener.all<GnssCondition>();
    ASSERT_FALSE(conditions.empty()) << what;
    const bool dated =
        std::string_view(what) == "another date" || std::string_view(what) == "a jump" ||
        std::string_view(what) == "a second missing" || std::string_view(what) == "late";
    EXPECT_EQ(conditions.back().usable, dated) << what;  // its fix may be good all the same
  }
}

TEST(GnssReceiver, GoodQualitiesAndDuplicatesDoNot) {
  Listener listener(kSettled);
  for (int i = 0; i < 8; ++i) {
    listener.at = kStart + seconds(i);
    char gga[60];
    std::snprintf(gga, sizeof gga, "$GNGGA,12000%d.00,,,,,%d,11,0.7,1.0,M,1.0,M,,", i, 1 + i % 5);
    listener.say(gga);
    listener.say(rmc(i));
    listener.say(rmc(i));
    listener.say("$GPGSV,1,1,10,02,24,310,29,1");
    listener.say("$GPGSV,1,1,07,02,24,310,29,8");
    listener.say("$GAGSV,1,1,05,02,24,310,29,1");
  }
  EXPECT_EQ(listener.all<SecondLabel>().size(), 7U);
  EXPECT_TRUE(listener.last<SecondLabel>().trusted);
  EXPECT_EQ(listener.last<GnssCondition>().satellites_used, 11U);
  EXPECT_EQ(listener.last<GnssCondition>().satellites_in_view, 15U);
}

TEST(GnssReceiver, NmeaThroughALeapSecond) {
  Listener listener(kSettled);
  const char* const times[] = {"235955", "235956", "235957", "235958", "235959",
                               "235960", "000000", "000001", "000002"};
  for (int i = 0; i < 9; ++i) {
    listener.at = kStart + seconds(i);
    listener.say("$GPRMC," + std::string(times[i]) + ".00,A,,,,,,," +
                 (i < 6 ? "311225" : "010126") + ",,,A");
  }
  const auto labels = listener.all<SecondLabel>();
  ASSERT_EQ(labels.size(), 8U);
  EXPECT_TRUE(labels[4].trusted && labels[5].trusted && labels[6].trusted && labels[7].trusted);
  EXPECT_EQ(labels[5].second, utc(date(2026, 1, 1), 0, 0, 0));
  EXPECT_TRUE(labels[5].leap_second);
  EXPECT_EQ(labels[6].second, utc(date(2026, 1, 1), 0, 0, 0));
  EXPECT_FALSE(labels[6].leap_second);
}

TEST(GnssReceiver, TwoDigitsOfAYear) {
  const auto year_at = [](int pivot_year, const char* day) {
    Listener listener({.pivot = utc(date(pivot_year, 1, 1), 0, 0, 0)});
    listener.say(rmc(0, "AA", day));
    listener.at = listener.at + seconds(1);
    listener.say(rmc(1, "AA", day));
    const auto day_of =
        std::chrono::floor<std::chrono::days>(Duration(listener.last<SecondLabel>().second.ns));
    return static_cast<int>(std::chrono::year_month_day(sys_days(day_of)).year());
  };
  EXPECT_EQ(year_at(2025, "310725"), 2025);
  EXPECT_EQ(year_at(2025, "310775"), 2075);
  EXPECT_EQ(year_at(2095, "310702"), 2102);
  EXPECT_EQ(year_at(2100, "310799"), 2119);  // 2099 is before the pivot: 1024 weeks
}

TEST(GnssReceiver, ARealRolloverOf2019) {
  // A Telit HE910 after 2019-04-06: 220899 is 2019-04-07.
  Listener listener({.pivot = utc(date(2019, 3, 14), 0, 0, 0)});
  listener.say("$GPRMC,000231.02,A,4829.0005,N,00022.0016,E,0.16,212.28,220899,,,A*59");
  listener.at = listener.at + seconds(1);
  listener.say("$GPRMC,000232.02,A,4829.0005,N,00022.0016,E,0.16,212.28,220899,,,A*59");
  EXPECT_EQ(listener.last<SecondLabel>().second, utc(date(2019, 4, 7), 0, 2, 31));
  EXPECT_EQ(listener.last<WeekRollover>().weeks, 1024);
}

TEST(GnssReceiver, AntennaInWords) {
  Listener listener;
  const std::pair<const char*, Antenna> texts[] = {{"OK", Antenna::kOk},
                                                   {"SHORT", Antenna::kShort},
                                                   {"OPEN", Antenna::kOpen},
                                                   {"DONTKNOW", Antenna::kUnknown}};
  int second = 0;
  for (const auto& [word, antenna] : texts) {
    listener.say("$GNTXT,01,01,02,ANTSTATUS=" + std::string(word) + "*00");
    for (int i = 0; i < 2; ++i, ++second) {
      listener.at = kStart + seconds(second);
      listener.say(rmc(second));
    }
    EXPECT_EQ(listener.last<GnssCondition>().antenna, antenna) << word;
  }
}

TEST(GnssReceiver, WhereUbxTellsTheTimeNmeaDoesNot) {
  Listener listener(kSettled);
  for (int i = 0; i < 10; ++i) {
    listener.at = kStart + seconds(i);
    ubx::NavPvt pvt = good_pvt();
    pvt.itow_ms += static_cast<std::uint32_t>(i) * 1000;
    pvt.second = static_cast<std::uint8_t>(34 + i);
    listener.hear(pvt);
    listener.say(rmc(i));
    listener.hear(ubx::NavEoe{pvt.itow_ms});
  }
  EXPECT_EQ(listener.all<SecondLabel>().size(), 10U);
  EXPECT_EQ(listener.all<GnssCondition>().size(), 10U);
  for (const auto& label : listener.all<SecondLabel>()) EXPECT_GE(label.second, kGoodSecond);
}

TEST(GnssReceiver, AReceiverWithoutAFixStillReportsItsCondition) {
  Listener listener;
  for (int i = 0; i < 3; ++i) {
    listener.at = kStart + seconds(i);
    listener.say("$GPRMC,,V,,,,,,,,,,N*53");
    listener.say("$GPGGA,,,,,,0,00,99.99,,,,,,*48");
  }
  const auto conditions = listener.all<GnssCondition>();
  ASSERT_EQ(conditions.size(), 2U);
  EXPECT_FALSE(conditions[0].usable);
  EXPECT_EQ(conditions[0].satellites_used, 0U);
  EXPECT_TRUE(listener.all<SecondLabel>().empty());
}
