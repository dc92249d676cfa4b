// Leap seconds: the table that IERS publishes, and what two sources say together.
//
// leap-seconds.list: `#$` last update, `#@` expiry, data lines "NTP-seconds TAI-UTC", `#h` SHA-1 in
// five hexadecimal words over the digits of all of these. A file whose hash does not fit is
// refused; one that has expired still tells the offset in force, and announces nothing.
//
// A change is announced (LI 1 or 2, RFC 5905) on its last day only, and only when two sources that
// are trusted agree. What one alone claims is not announced; around the moment itself we then say
// that we do not know (Discipline).
//
// Values and pure functions; LeapSeconds is owned by the discipline, its thread calls.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "common/base/error.h"
#include "common/time/clock_state.h"
#include "refclock/observations.h"

namespace timeball::refclock {

struct LeapTable {
  struct Entry {
    UtcTime from;
    int tai_minus_utc_s = 0;
  };
  UtcTime updated;
  UtcTime expires;
  std::vector<Entry> entries;  // at least one, rising in time, steps of one second

  friend bool operator==(const LeapTable&, const LeapTable&) = default;
};
constexpr bool operator==(const LeapTable::Entry& a, const LeapTable::Entry& b) {
  return a.from == b.from && a.tai_minus_utc_s == b.tai_minus_utc_s;
}

// The octets of a leap-seconds.list; the error says what is wrong with it and in which line.
Result<LeapTable> parse_leap_seconds(std::string_view text);

// What the table says at `now`: not trusted once it has expired.
LeapNotice leap_notice(const LeapTable& table, UtcTime now);

struct LeapEvent {
  UtcTime first;   // the first second after it, 00:00:00
  int change = 0;  // of TAI-UTC: +1 inserts 23:59:60, -1 leaves 23:59:59 out

  friend constexpr bool operator==(const LeapEvent&, const LeapEvent&) = default;
};

class LeapSeconds {
 public:
  void hear(const LeapNotice& notice);

  // The next change that both sources announce, or (claimed) that only one does.
  std::optional<LeapEvent> agreed() const;
  std::optional<LeapEvent> claimed() const;
  // To announce at `now`.
  LeapIndicator indicator(UtcTime now) const;
  // No source that is trusted.
  bool unknown() const;
  // Trusted sources contradict each other: in the offset in force, or in a change within a day.
  bool disagree(UtcTime now) const;
  // The event is over: what the sources said of it is forgotten.
  void passed(const LeapEvent& event);

 private:
  std::array<std::optional<LeapNotice>, 2> heard_;  // by source
};

}  // namespace timeball::refclock
