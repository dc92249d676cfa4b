// u-blox's binary messages as values: those that tell of time, position, leap seconds, and who
// disturbs.
//
// Each struct is one row of the interface description: its class, id and length, and in fields()
// each field's name, offset and place among bits. Decoder, JSON and tests all walk fields(). A
// payload longer than the row is a later version that added to it, and is taken; a shorter one is
// refused. Offsets and units are the receiver's; all of it is little endian. Pure; values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <variant>
#include <vector>

#include "common/base/bytes.h"
#include "refclock/gnss/stream.h"

namespace timeball::refclock::gnss::ubx {

// A frame of the stream, whose checksum was right.
struct Packet {
  std::uint8_t message_class = 0;
  std::uint8_t id = 0;
  Bytes payload;
};
Packet packet_of(const Frame& frame);

// For fields that repeat: until the payload ends.
inline constexpr std::size_t kToTheEnd = SIZE_MAX;

struct NavStatus {
  static constexpr std::string_view kName = "NAV-STATUS";
  static constexpr std::uint8_t kClass = 0x01, kId = 0x03;
  static constexpr std::size_t kLength = 16;
  std::uint32_t itow_ms;
  std::uint8_t fix;  // as NavPvt::fix
  bool fix_ok, week_set, tow_set;
  std::uint8_t spoofing;  // 0 unknown or off, 1 none, 2 indicated, 3 by several detectors
  std::uint32_t first_fix_ms, uptime_ms;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("itow_ms", 0, m.itow_ms);
    visit("fix", 4, m.fix);
    visit.bits("fix_ok", 5, 0, 1, m.fix_ok);
    visit.bits("week_set", 5, 2, 1, m.week_set);
    visit.bits("tow_set", 5, 3, 1, m.tow_set);
    visit.bits("spoofing", 7, 3, 2, m.spoofing);
    visit("first_fix_ms", 8, m.first_fix_ms);
    visit("uptime_ms", 12, m.uptime_ms);
  }
};

struct NavDop {
  static constexpr std::string_view kName = "NAV-DOP";
  static constexpr std::uint8_t kClass = 0x01, kId = 0x04;
  static constexpr std::size_t kLength = 18;
  std::uint32_t itow_ms;
  std::uint16_t gdop_centi, pdop_centi, tdop_centi, vdop_centi, hdop_centi;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("itow_ms", 0, m.itow_ms);
    visit("gdop_centi", 4, m.gdop_centi);
    visit("pdop_centi", 6, m.pdop_centi);
    visit("tdop_centi", 8, m.tdop_centi);
    visit("vdop_centi", 10, m.vdop_centi);
    visit("hdop_centi", 12, m.hdop_centi);
  }
};

struct NavPvt {
  static constexpr std::string_view kName = "NAV-PVT";
  static constexpr std::uint8_t kClass = 0x01, kId = 0x07;
  static constexpr std::size_t kLength = 84;  // 92 since generation 8
  std::uint32_t itow_ms;
  std::uint16_t year;
  std::uint8_t month, day, hour, minute, second;
  bool date_valid, time_valid, fully_resolved;
  std::uint32_t time_accuracy_ns;
  std::int32_t nano_ns;  // signed and large: the epoch is not on the second
  std::uint8_t fix;      // 0 none, 1 dead reckoning, 2 and 3 dimensions, 4 with DR, 5 time only
  bool fix_ok;
  bool confirmation_available, date_confirmed, time_confirmed;
  std::uint8_t satellites;
  std::int32_t longitude_e7, latitude_e7;
  std::int32_t height_mm, above_sea_mm;
  std::uint32_t horizontal_accuracy_mm, vertical_accuracy_mm;
  std::int32_t north_mm_s, east_mm_s, down_mm_s;
  std::uint32_t speed_accuracy_mm_s;
  std::uint16_t pdop_centi;
  bool position_invalid;
  bool time_authenticated, fix_authenticated;  // Galileo OSNMA

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("itow_ms", 0, m.itow_ms);
    visit("year", 4, m.year);
    visit("month", 6, m.month);
    visit("day", 7, m.day);
    visit("hour", 8, m.hour);
    visit("minute", 9, m.minute);
    visit("second", 10, m.second);
    visit.bits("date_valid", 11, 0, 1, m.date_valid);
    visit.bits("time_valid", 11, 1, 1, m.time_valid);
    visit.bits("fully_resolved", 11, 2, 1, m.fully_resolved);
    visit("time_accuracy_ns", 12, m.time_accuracy_ns);
    visit("nano_ns", 16, m.nano_ns);
    visit("fix", 20, m.fix);
    visit.bits("fix_ok", 21, 0, 1, m.fix_ok);
    visit.bits("confirmation_available", 22, 5, 1, m.confirmation_available);
    visit.bits("date_confirmed", 22, 6, 1, m.date_confirmed);
    visit.bits("time_confirmed", 22, 7, 1, m.time_confirmed);
    visit("satellites", 23, m.satellites);
    visit("longitude_e7", 24, m.longitude_e7);
    visit("latitude_e7", 28, m.latitude_e7);
    visit("height_mm", 32, m.height_mm);
    visit("above_sea_mm", 36, m.above_sea_mm);
    visit("horizontal_accuracy_mm", 40, m.horizontal_accuracy_mm);
    visit("vertical_accuracy_mm", 44, m.vertical_accuracy_mm);
    visit("north_mm_s", 48, m.north_mm_s);
    visit("east_mm_s", 52, m.east_mm_s);
    visit("down_mm_s", 56, m.down_mm_s);
    visit("speed_accuracy_mm_s", 68, m.speed_accuracy_mm_s);
    visit("pdop_centi", 76, m.pdop_centi);
    visit.bits("position_invalid", 78, 0, 1, m.position_invalid);
    visit.bits("time_authenticated", 78, 13, 1, m.time_authenticated);
    visit.bits("fix_authenticated", 78, 14, 1, m.fix_authenticated);
  }
};

struct NavTimeGps {
  static constexpr std::string_view kName = "NAV-TIMEGPS";
  static constexpr std::uint8_t kClass = 0x01, kId = 0x20;
  static constexpr std::size_t kLength = 16;
  std::uint32_t itow_ms;
  std::int32_t fractional_tow_ns;
  std::int16_t week;
  std::int8_t leap_s;  // GPS - UTC
  bool tow_valid, week_valid, leap_valid;
  std::uint32_t time_accuracy_ns;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("itow_ms", 0, m.itow_ms);
    visit("fractional_tow_ns", 4, m.fractional_tow_ns);
    visit("week", 8, m.week);
    visit("leap_s", 10, m.leap_s);
    visit.bits("tow_valid", 11, 0, 1, m.tow_valid);
    visit.bits("week_valid", 11, 1, 1, m.week_valid);
    visit.bits("leap_valid", 11, 2, 1, m.leap_valid);
    visit("time_accuracy_ns", 12, m.time_accuracy_ns);
  }
};

struct NavTimeUtc {
  static constexpr std::string_view kName = "NAV-TIMEUTC";
  static constexpr std::uint8_t kClass = 0x01, kId = 0x21;
  static constexpr std::size_t kLength = 20;
  std::uint32_t itow_ms, time_accuracy_ns;
  std::int32_t nano_ns;
  std::uint16_t year;
  std::uint8_t month, day, hour, minute, second;
  bool tow_valid, week_valid, utc_valid, authenticated;
  // 0 none, 1 CRL, 2 NIST, 3 USNO, 4 BIPM, 5 EU, 6 SU, 7 NTSC, 8 NPLI, 15 unknown
  std::uint8_t utc_standard;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("itow_ms", 0, m.itow_ms);
    visit("time_accuracy_ns", 4, m.time_accuracy_ns);
    visit("nano_ns", 8, m.nano_ns);
    visit("year", 12, m.year);
    visit("month", 14, m.month);
    visit("day", 15, m.day);
    visit("hour", 16, m.hour);
    visit("minute", 17, m.minute);
    visit("second", 18, m.second);
    visit.bits("tow_valid", 19, 0, 1, m.tow_valid);
    visit.bits("week_valid", 19, 1, 1, m.week_valid);
    visit.bits("utc_valid", 19, 2, 1, m.utc_valid);
    visit.bits("authenticated", 19, 3, 1, m.authenticated);
    visit.bits("utc_standard", 19, 4, 4, m.utc_standard);
  }
};

struct NavClock {
  static constexpr std::string_view kName = "NAV-CLOCK";
  static constexpr std::uint8_t kClass = 0x01, kId = 0x22;
  static constexpr std::size_t kLength = 20;
  std::uint32_t itow_ms;
  std::int32_t bias_ns, drift_ns_s;
  std::uint32_t time_accuracy_ns, frequency_accuracy_ps_s;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("itow_ms", 0, m.itow_ms);
    visit("bias_ns", 4, m.bias_ns);
    visit("drift_ns_s", 8, m.drift_ns_s);
    visit("time_accuracy_ns", 12, m.time_accuracy_ns);
    visit("frequency_accuracy_ps_s", 16, m.frequency_accuracy_ps_s);
  }
};

struct NavTimeLs {
  static constexpr std::string_view kName = "NAV-TIMELS";
  static constexpr std::uint8_t kClass = 0x01, kId = 0x26;
  static constexpr std::size_t kLength = 24;
  std::uint32_t itow_ms;
  std::uint8_t version;
  // 0 the firmware's default, 1 GPS - GLONASS, 2 GPS, 3 SBAS, 4 BeiDou, 5 Galileo, 6 aided,
  // 7 configured, 255 unknown
  std::uint8_t leap_source;
  std::int8_t leap_s;          // GPS - UTC
  std::uint8_t change_source;  // 0 none, 1 undefined, 2 GPS .. 6 GLONASS
  std::int8_t change_s;
  std::int32_t time_to_event_s;  // negative: since the last one
  std::uint16_t event_week, event_day;
  bool leap_valid, event_valid;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("itow_ms", 0, m.itow_ms);
    visit("version", 4, m.version);
    visit("leap_source", 8, m.leap_source);
    visit("leap_s", 9, m.leap_s);
    visit("change_source", 10, m.change_source);
    visit("change_s", 11, m.change_s);
    visit("time_to_event_s", 12, m.time_to_event_s);
    visit("event_week", 16, m.event_week);
    visit("event_day", 18, m.event_day);
    visit.bits("leap_valid", 23, 0, 1, m.leap_valid);
    visit.bits("event_valid", 23, 1, 1, m.event_valid);
  }
};

struct NavSat {
  static constexpr std::string_view kName = "NAV-SAT";
  static constexpr std::uint8_t kClass = 0x01, kId = 0x35;
  static constexpr std::size_t kLength = 8;
  struct Satellite {
    std::uint8_t gnss;  // 0 GPS, 1 SBAS, 2 Galileo, 3 BeiDou, 5 QZSS, 6 GLONASS, 7 NavIC
    std::uint8_t id, cn0_dbhz;
    std::int8_t elevation_deg;
    std::int16_t azimuth_deg, residual_dm;
    std::uint8_t quality;
    bool used;
    std::uint8_t health;  // 1 well, 2 not

    template <class Self, class Visit>
    static void fields(Self& m, Visit& visit) {
      visit("gnss", 0, m.gnss);
      visit("id", 1, m.id);
      visit("cn0_dbhz", 2, m.cn0_dbhz);
      visit("elevation_deg", 3, m.elevation_deg);
      visit("azimuth_deg", 4, m.azimuth_deg);
      visit("residual_dm", 6, m.residual_dm);
      visit.bits("quality", 8, 0, 3, m.quality);
      visit.bits("used", 8, 3, 1, m.used);
      visit.bits("health", 8, 4, 2, m.health);
    }
  };
  std::uint32_t itow_ms;
  std::uint8_t version, count;
  std::vector<Satellite> satellites;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("itow_ms", 0, m.itow_ms);
    visit("version", 4, m.version);
    visit("count", 5, m.count);
    visit.groups("satellites", 8, 12, m.count, m.satellites);
  }
};

struct NavSvin {
  static constexpr std::string_view kName = "NAV-SVIN";
  static constexpr std::uint8_t kClass = 0x01, kId = 0x3b;
  static constexpr std::size_t kLength = 40;
  std::uint32_t itow_ms, duration_s;
  std::int32_t mean_x_cm, mean_y_cm, mean_z_cm;
  std::uint32_t mean_accuracy_100um, observations;
  bool valid, active;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("itow_ms", 4, m.itow_ms);
    visit("duration_s", 8, m.duration_s);
    visit("mean_x_cm", 12, m.mean_x_cm);
    visit("mean_y_cm", 16, m.mean_y_cm);
    visit("mean_z_cm", 20, m.mean_z_cm);
    visit("mean_accuracy_100um", 28, m.mean_accuracy_100um);
    visit("observations", 32, m.observations);
    visit.bits("valid", 36, 0, 1, m.valid);
    visit.bits("active", 37, 0, 1, m.active);
  }
};

struct NavSig {
  static constexpr std::string_view kName = "NAV-SIG";
  static constexpr std::uint8_t kClass = 0x01, kId = 0x43;
  static constexpr std::size_t kLength = 8;
  struct Signal {
    std::uint8_t gnss, id, signal, frequency;
    std::int16_t residual_dm;
    std::uint8_t cn0_dbhz, quality, correction, ionosphere, health;
    bool pseudorange_used, authenticated;

    template <class Self, class Visit>
    static void fields(Self& m, Visit& visit) {
      visit("gnss", 0, m.gnss);
      visit("id", 1, m.id);
      visit("signal", 2, m.signal);
      visit("frequency", 3, m.frequency);
      visit("residual_dm", 4, m.residual_dm);
      visit("cn0_dbhz", 6, m.cn0_dbhz);
      visit("quality", 7, m.quality);
      visit("correction", 8, m.correction);
      visit("ionosphere", 9, m.ionosphere);
      visit.bits("health", 10, 0, 2, m.health);
      visit.bits("pseudorange_used", 10, 3, 1, m.pseudorange_used);
      visit.bits("authenticated", 10, 9, 1, m.authenticated);
    }
  };
  std::uint32_t itow_ms;
  std::uint8_t version, count;
  std::vector<Signal> signals;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("itow_ms", 0, m.itow_ms);
    visit("version", 4, m.version);
    visit("count", 5, m.count);
    visit.groups("signals", 8, 16, m.count, m.signals);
  }
};

struct NavEoe {
  static constexpr std::string_view kName = "NAV-EOE";
  static constexpr std::uint8_t kClass = 0x01, kId = 0x61;
  static constexpr std::size_t kLength = 4;
  std::uint32_t itow_ms;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("itow_ms", 0, m.itow_ms);
  }
};

struct NavTimeTrusted {
  static constexpr std::string_view kName = "NAV-TIMETRUSTED";
  static constexpr std::uint8_t kClass = 0x01, kId = 0x64;
  static constexpr std::size_t kLength = 40;
  std::uint8_t version, reference_system, valid_flags;
  std::uint32_t itow_ms, propagated_accuracy;
  std::int32_t delta_s, delta_ms;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("version", 0, m.version);
    visit("reference_system", 1, m.reference_system);
    visit("valid_flags", 2, m.valid_flags);
    visit("itow_ms", 4, m.itow_ms);
    visit("propagated_accuracy", 24, m.propagated_accuracy);
    visit("delta_s", 28, m.delta_s);
    visit("delta_ms", 32, m.delta_ms);
  }
};

// Of the acknowledged message.
struct AckNak {
  static constexpr std::string_view kName = "ACK-NAK";
  static constexpr std::uint8_t kClass = 0x05, kId = 0x00;
  static constexpr std::size_t kLength = 2;
  std::uint8_t about_class, about_id;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("about_class", 0, m.about_class);
    visit("about_id", 1, m.about_id);
  }
};

struct AckAck {
  static constexpr std::string_view kName = "ACK-ACK";
  static constexpr std::uint8_t kClass = 0x05, kId = 0x01;
  static constexpr std::size_t kLength = 2;
  std::uint8_t about_class, about_id;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("about_class", 0, m.about_class);
    visit("about_id", 1, m.about_id);
  }
};

struct MonVer {
  static constexpr std::string_view kName = "MON-VER";
  static constexpr std::uint8_t kClass = 0x0a, kId = 0x04;
  static constexpr std::size_t kLength = 40;
  struct Extension {
    std::string text;  // "PROTVER=29.20", "MOD=ZED-F9T", "GPS;GLO;GAL;BDS"

    template <class Self, class Visit>
    static void fields(Self& m, Visit& visit) {
      visit.text("text", 0, 30, m.text);
    }
  };
  std::string software, hardware;
  std::vector<Extension> extensions;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit.text("software", 0, 30, m.software);
    visit.text("hardware", 30, 10, m.hardware);
    visit.groups("extensions", 40, 30, kToTheEnd, m.extensions);
  }
};

struct MonHw {
  static constexpr std::string_view kName = "MON-HW";
  static constexpr std::uint8_t kClass = 0x0a, kId = 0x09;
  static constexpr std::size_t kLength = 60;
  static constexpr std::size_t kOldLength = 68;  // before generation 7
  std::uint16_t noise, agc;
  std::uint8_t antenna, antenna_power, jamming;  // as MonRf::Block
  std::uint8_t jamming_indicator;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("noise", 16, m.noise);
    visit("agc", 18, m.agc);
    visit("antenna", 20, m.antenna);
    visit("antenna_power", 21, m.antenna_power);
    visit.bits("jamming", 22, 2, 2, m.jamming);
    visit("jamming_indicator", visit.length() < kOldLength ? 45 : 53, m.jamming_indicator);
  }
};

struct MonRf {
  static constexpr std::string_view kName = "MON-RF";
  static constexpr std::uint8_t kClass = 0x0a, kId = 0x38;
  static constexpr std::size_t kLength = 4;
  struct Block {
    std::uint8_t id;
    std::uint8_t jamming;        // 0 unknown or off, 1 none, 2 warning, 3 critical
    std::uint8_t antenna;        // 0 starting, 1 unknown, 2 well, 3 short, 4 open
    std::uint8_t antenna_power;  // 0 off, 1 on, 2 unknown
    std::uint32_t self_test;
    std::uint16_t noise, agc;
    std::uint8_t jamming_indicator;  // continuous wave, 0..255
    std::int8_t i_offset;
    std::uint8_t i_magnitude;
    std::int8_t q_offset;
    std::uint8_t q_magnitude;

    template <class Self, class Visit>
    static void fields(Self& m, Visit& visit) {
      visit("id", 0, m.id);
      visit.bits("jamming", 1, 0, 2, m.jamming);
      visit("antenna", 2, m.antenna);
      visit("antenna_power", 3, m.antenna_power);
      visit("self_test", 4, m.self_test);
      visit("noise", 12, m.noise);
      visit("agc", 14, m.agc);
      visit("jamming_indicator", 16, m.jamming_indicator);
      visit("i_offset", 17, m.i_offset);
      visit("i_magnitude", 18, m.i_magnitude);
      visit("q_offset", 19, m.q_offset);
      visit("q_magnitude", 20, m.q_magnitude);
    }
  };
  std::uint8_t version, count;
  std::vector<Block> blocks;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("version", 0, m.version);
    visit("count", 1, m.count);
    visit.groups("blocks", 4, 24, m.count, m.blocks);
  }
};

// Of the next pulse, in the time of week of its own time base.
struct TimTp {
  static constexpr std::string_view kName = "TIM-TP";
  static constexpr std::uint8_t kClass = 0x0d, kId = 0x01;
  static constexpr std::size_t kLength = 16;
  std::uint32_t tow_ms, tow_sub_ms;  // the latter in 2^-32 ms
  std::int32_t error_ps;
  std::uint16_t week;
  bool utc;  // the time base; false: the GNSS below
  bool utc_available;
  std::uint8_t raim;  // 0 unknown, 1 inactive, 2 active
  bool error_invalid, not_locked;
  std::uint8_t gnss;  // 0 GPS, 1 GLONASS, 2 BeiDou, 3 Galileo, 15 unknown
  std::uint8_t utc_standard;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("tow_ms", 0, m.tow_ms);
    visit("tow_sub_ms", 4, m.tow_sub_ms);
    visit("error_ps", 8, m.error_ps);
    visit("week", 12, m.week);
    visit.bits("utc", 14, 0, 1, m.utc);
    visit.bits("utc_available", 14, 1, 1, m.utc_available);
    visit.bits("raim", 14, 2, 2, m.raim);
    visit.bits("error_invalid", 14, 4, 1, m.error_invalid);
    visit.bits("not_locked", 14, 5, 1, m.not_locked);
    visit.bits("gnss", 15, 0, 4, m.gnss);
    visit.bits("utc_standard", 15, 4, 4, m.utc_standard);
  }
};

struct TimTm2 {
  static constexpr std::string_view kName = "TIM-TM2";
  static constexpr std::uint8_t kClass = 0x0d, kId = 0x03;
  static constexpr std::size_t kLength = 28;
  std::uint8_t channel;
  bool running, stopped, new_falling;
  std::uint8_t time_base;  // 0 receiver, 1 GNSS, 2 UTC
  bool utc_available, time_valid, new_rising;
  std::uint16_t count, rising_week, falling_week;
  std::uint32_t rising_tow_ms, rising_sub_ms_ns, falling_tow_ms, falling_sub_ms_ns;
  std::uint32_t accuracy_ns;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("channel", 0, m.channel);
    visit.bits("running", 1, 0, 1, m.running);
    visit.bits("stopped", 1, 1, 1, m.stopped);
    visit.bits("new_falling", 1, 2, 1, m.new_falling);
    visit.bits("time_base", 1, 3, 2, m.time_base);
    visit.bits("utc_available", 1, 5, 1, m.utc_available);
    visit.bits("time_valid", 1, 6, 1, m.time_valid);
    visit.bits("new_rising", 1, 7, 1, m.new_rising);
    visit("count", 2, m.count);
    visit("rising_week", 4, m.rising_week);
    visit("falling_week", 6, m.falling_week);
    visit("rising_tow_ms", 8, m.rising_tow_ms);
    visit("rising_sub_ms_ns", 12, m.rising_sub_ms_ns);
    visit("falling_tow_ms", 16, m.falling_tow_ms);
    visit("falling_sub_ms_ns", 20, m.falling_sub_ms_ns);
    visit("accuracy_ns", 24, m.accuracy_ns);
  }
};

struct TimSvin {
  static constexpr std::string_view kName = "TIM-SVIN";
  static constexpr std::uint8_t kClass = 0x0d, kId = 0x04;
  static constexpr std::size_t kLength = 28;
  std::uint32_t duration_s;
  std::int32_t mean_x_cm, mean_y_cm, mean_z_cm;
  std::uint32_t mean_variance_mm2, observations;
  bool valid, active;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("duration_s", 0, m.duration_s);
    visit("mean_x_cm", 4, m.mean_x_cm);
    visit("mean_y_cm", 8, m.mean_y_cm);
    visit("mean_z_cm", 12, m.mean_z_cm);
    visit("mean_variance_mm2", 16, m.mean_variance_mm2);
    visit("observations", 20, m.observations);
    visit.bits("valid", 24, 0, 1, m.valid);
    visit.bits("active", 25, 0, 1, m.active);
  }
};

struct SecSig1 {
  static constexpr std::string_view kName = "SEC-SIG";
  static constexpr std::uint8_t kClass = 0x27, kId = 0x09;
  static constexpr std::uint8_t kVersion = 1;
  static constexpr std::size_t kLength = 12;
  std::uint8_t version;
  bool jamming_detector;
  std::uint8_t jamming;  // 0 unknown, 1 none, 2 warning, 3 critical
  bool spoofing_detector;
  std::uint8_t spoofing;  // 0 unknown, 1 none, 2 indicated, 3 affirmed

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("version", 0, m.version);
    visit.bits("jamming_detector", 4, 0, 1, m.jamming_detector);
    visit.bits("jamming", 4, 1, 2, m.jamming);
    visit.bits("spoofing_detector", 8, 0, 1, m.spoofing_detector);
    visit.bits("spoofing", 8, 1, 3, m.spoofing);
  }
};

struct SecSig2 {
  static constexpr std::string_view kName = "SEC-SIG";
  static constexpr std::uint8_t kClass = 0x27, kId = 0x09;
  static constexpr std::uint8_t kVersion = 2;
  static constexpr std::size_t kLength = 4;
  struct Frequency {
    std::uint32_t centre;
    bool jammed;

    template <class Self, class Visit>
    static void fields(Self& m, Visit& visit) {
      visit.bits("centre", 0, 0, 24, m.centre);
      visit.bits("jammed", 0, 24, 1, m.jammed);
    }
  };
  std::uint8_t version;
  bool jamming_detector;
  std::uint8_t jamming;  // as SecSig1
  bool spoofing_detector;
  std::uint8_t spoofing;
  std::uint8_t count;
  std::vector<Frequency> frequencies;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("version", 0, m.version);
    visit.bits("jamming_detector", 1, 0, 1, m.jamming_detector);
    visit.bits("jamming", 1, 1, 2, m.jamming);
    visit.bits("spoofing_detector", 1, 3, 1, m.spoofing_detector);
    visit.bits("spoofing", 1, 4, 3, m.spoofing);
    visit("count", 3, m.count);
    visit.groups("frequencies", 4, 4, m.count, m.frequencies);
  }
};

struct SecSigLog {
  static constexpr std::string_view kName = "SEC-SIGLOG";
  static constexpr std::uint8_t kClass = 0x27, kId = 0x10;
  static constexpr std::size_t kLength = 8;
  struct Event {
    std::uint32_t elapsed_s;
    std::uint8_t detection, event;

    template <class Self, class Visit>
    static void fields(Self& m, Visit& visit) {
      visit("elapsed_s", 0, m.elapsed_s);
      visit("detection", 4, m.detection);
      visit("event", 5, m.event);
    }
  };
  std::uint8_t version, count;
  std::vector<Event> events;

  template <class Self, class Visit>
  static void fields(Self& m, Visit& visit) {
    visit("version", 0, m.version);
    visit("count", 1, m.count);
    visit.groups("events", 8, 8, m.count, m.events);
  }
};

// One that we have no use for.
struct Other {};

using Message =
    std::variant<Other, NavStatus, NavDop, NavPvt, NavTimeGps, NavTimeUtc, NavClock, NavTimeLs,
                 NavSat, NavSvin, NavSig, NavEoe, NavTimeTrusted, AckNak, AckAck, MonVer, MonHw,
                 MonRf, TimTp, TimTm2, TimSvin, SecSig1, SecSig2, SecSigLog>;

// Refused: kLength or kVersion.
tl::expected<Message, Why> decode(const Packet& packet);

}  // namespace timeball::refclock::gnss::ubx
