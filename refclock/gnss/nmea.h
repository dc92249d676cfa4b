// NMEA 0183 sentences as values. Recognised by the last three letters of their address, whoever the
// talker is; proprietary ones of u-blox (PUBX,04) and Spectratime (PTNTA, PTNTS) by all of it.
//
// An empty field is an absent value. A field that is no such value is absent too, and `bad_field`
// says which was the first: receivers err, and the rest of the sentence is still worth printing;
// whoever trusts a sentence asks for none. Numbers are integers in the unit that the name ends in.
// Pure; the views are into the sentence given.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/bytes.h"

namespace timeball::refclock::gnss::nmea {

struct TimeOfDay {
  unsigned hour = 0;
  unsigned minute = 0;
  unsigned second = 0;  // to 60: a leap second is a legal time
  std::uint32_t ns = 0;

  friend bool operator==(const TimeOfDay&, const TimeOfDay&) = default;
};

// ddmmyy. The century is the reader's to find.
struct ShortDate {
  unsigned day = 0;
  unsigned month = 0;
  unsigned year_of_century = 0;
};

struct Position {
  std::int64_t latitude_ndeg = 0;  // 1e-9 degrees, north positive
  std::int64_t longitude_ndeg = 0;
};

struct Rmc {
  std::optional<TimeOfDay> time;
  char status = 0;  // A: valid, V: a warning; 0: absent
  std::optional<Position> position;
  std::optional<std::int64_t> speed_mknots;
  std::optional<std::int64_t> course_mdeg;
  std::optional<ShortDate> date;
  char mode = 0;               // A D E F M N P R S
  char navigation_status = 0;  // NMEA 4.1; always V on u-blox: means nothing
};

struct Zda {
  std::optional<TimeOfDay> time;
  std::optional<std::chrono::year_month_day> date;  // the only one with four digits of a year
};

struct Gga {
  std::optional<TimeOfDay> time;
  std::optional<Position> position;
  // 0 none, 1 GPS, 2 differential, 4 and 5 RTK, 6 dead reckoning, 7 manual, 8 simulator
  std::optional<unsigned> quality;
  std::optional<unsigned> satellites;  // used; at most 12 in many receivers
  std::optional<std::int64_t> hdop_centi;
  std::optional<std::int64_t> altitude_mm;  // above mean sea level
  std::optional<std::int64_t> geoid_mm;     // separation
};

struct Gsa {
  char selection = 0;           // A or M
  std::optional<unsigned> fix;  // 1 none, 2 or 3 dimensions
  std::vector<unsigned> satellites;
  std::optional<std::int64_t> pdop_centi;
  std::optional<std::int64_t> hdop_centi;
  std::optional<std::int64_t> vdop_centi;
  std::optional<unsigned> system;  // NMEA 4.11
};

struct Gsv {
  struct Satellite {
    std::optional<unsigned> id;
    std::optional<std::int64_t> elevation_deg;
    std::optional<std::int64_t> azimuth_deg;
    std::optional<std::int64_t> cn0_dbhz;
  };
  std::optional<unsigned> messages;
  std::optional<unsigned> message;
  std::optional<unsigned> in_view;
  std::vector<Satellite> satellites;
  std::optional<unsigned> signal;  // NMEA 4.11, one hexadecimal digit
};

struct Gbs {
  std::optional<TimeOfDay> time;
  std::optional<std::int64_t> latitude_error_mm;
  std::optional<std::int64_t> longitude_error_mm;
  std::optional<std::int64_t> altitude_error_mm;
  std::optional<unsigned> failed_satellite;
  std::optional<std::int64_t> missed_probability_ppm;
  std::optional<std::int64_t> bias_mm;
  std::optional<std::int64_t> sigma_mm;
};

struct Gst {
  std::optional<TimeOfDay> time;
  std::optional<std::int64_t> rms_mm;
  std::optional<std::int64_t> major_mm;
  std::optional<std::int64_t> minor_mm;
  std::optional<std::int64_t> orientation_mdeg;
  std::optional<std::int64_t> latitude_sigma_mm;
  std::optional<std::int64_t> longitude_sigma_mm;
  std::optional<std::int64_t> altitude_sigma_mm;
};

struct Txt {
  std::optional<unsigned> messages;
  std::optional<unsigned> message;
  std::optional<unsigned> kind;  // u-blox: 0 error, 1 warning, 2 notice, 7 user
  std::string_view text;
};

struct Pubx04 {
  std::optional<TimeOfDay> time;
  std::optional<ShortDate> date;
  std::optional<std::int64_t> utc_tow_ms;
  std::optional<unsigned> utc_week;
  std::optional<std::int64_t> leap_s;  // GPS - UTC
  bool leap_is_default = false;        // suffix D: the firmware's, not the satellites'
  std::optional<std::int64_t> clock_bias_ns;
  std::optional<std::int64_t> clock_drift_ps_s;
  std::optional<std::int64_t> pulse_granularity_ns;
};

struct Ptnta {
  std::optional<std::chrono::year_month_day> date;  // of GPS time, not UTC
  std::optional<TimeOfDay> time;
  std::optional<unsigned> quality;  // 0 warming up, 1 free run, 2 disciplined
  std::optional<std::int64_t> reference_minus_output_ns;
  std::optional<std::int64_t> fine_phase_ns;
  std::optional<unsigned> status;  // as the command ST answers
  std::optional<unsigned> gps;
  std::optional<unsigned> date_quality;
};

struct Ptnts {
  std::optional<unsigned> status;
  std::string_view frequency;  // hexadecimal
  std::string_view holdover_frequency;
  std::string_view constant_mode;
  std::string_view time_constant;
  std::string_view sigma;
};

// One that we have no use for.
struct Other {};

struct Sentence {
  std::string_view address;  // "GNRMC"
  unsigned bad_field = 0;    // counted from the one after the address; 0: none
  std::variant<Other, Rmc, Zda, Gga, Gsa, Gsv, Gbs, Gst, Txt, Pubx04, Ptnta, Ptnts> content;
};

// frame: of the stream, whose checksum was right or absent.
Sentence decode(Bytes frame);

}  // namespace timeball::refclock::gnss::nmea
