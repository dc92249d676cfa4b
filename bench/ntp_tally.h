// What the NTP load counts: every way in which a request can end, and the times of those that ended
// well. Values; one thread each, merged at the end.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "bench/histogram.h"

namespace timeball::bench {

// Rows of ntp_event_row(), in this order in the report.
enum class NtpEvent : std::uint8_t {
  kSentPlain,
  kSentNts,
  kSentBadAuthenticator,
  kSentGarbage,
  kVerified,
  kNotVerified,
  kUnsynchronised,
  kLost,
  kLate,
  kNak,
  kKissRate,
  kKissDeny,
  kKissOther,
  kDuplicate,
  kWrongOrigin,
  kMalformed,
  kWrongUniqueIdentifier,
  kLongerThanRequest,
  kMissingAuthenticator,
  kForgedAuthenticator,
  kReplayedNonce,
  kStaleCookie,
  kBadStratum,
  kT2AfterT3,
  kBadAuthenticatorNak,
  kBadAuthenticatorSilence,
  kBadAuthenticatorAccepted,
  kGarbageAnswered,
  kNoCookie,
  kSendRefused,
};
inline constexpr std::size_t kNtpEvents = 30;

struct NtpEventRow {
  std::string_view name;
  std::string_view meaning;
  bool failure = false;  // of the server, or of the path to it
};
const NtpEventRow& ntp_event_row(NtpEvent event);

struct NtpTally {
  std::uint64_t started = 0;  // those that the server owes an answer
  std::array<std::uint64_t, kNtpEvents> events{};
  Histogram round_trip;  // of those done, from when they should have left
  Histogram send_delay;  // of the same, from then to when they did
  Histogram residence;   // T3 - T2
  Histogram offset;      // of those whose transmit time is known
  Histogram wire_to_t2;  // of the same
  Histogram t3_to_wire;

  std::uint64_t done() const { return round_trip.count(); }
  std::uint64_t of(NtpEvent event) const { return events[static_cast<std::size_t>(event)]; }
  void add(NtpEvent event, std::uint64_t count = 1) {
    events[static_cast<std::size_t>(event)] += count;
  }
  void merge(const NtpTally& other);
};

}  // namespace timeball::bench
