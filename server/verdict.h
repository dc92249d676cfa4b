// Every outcome a request can have: one enum drives the reply, the metric, the log and the test.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace timeball::server {

enum class Verdict : std::uint8_t {
  kAnsweredPlain,       // an NTP reply
  kAnsweredNts,         // an authenticated reply
  kNak,                 // NTS NAK: cookie or authenticator did not verify (RFC 8915, section 5.7)
  kKissRate,            // Kiss-o'-Death RATE
  kDroppedShort,        // fewer than 48 octets
  kDroppedVersion,      // not 1..4
  kDroppedMode,         // a mode we do not answer
  kDroppedDenied,       // access policy
  kDroppedRate,         // over the rate limit
  kDroppedMalformed,    // an NTS request that breaks a structural rule
  kDroppedNoKeys,       // an NTS request before any master key is known
  kDroppedNewerKey,     // a cookie of a key that a member cut off from its cluster may lack
  kDroppedNtsRequired,  // a plain request where the configuration wants NTS
  kDroppedRefusalRate,  // a NAK or kiss was due, but too many have been sent
  kDroppedInternal,     // the cryptographic library failed
};
inline constexpr std::size_t kVerdicts = 15;

// The label value of the metric, snake_case.
constexpr std::string_view name(Verdict v) {
  constexpr std::array<std::string_view, kVerdicts> kNames = {"answered_plain",
                                                              "answered_nts",
                                                              "nak",
                                                              "kiss_rate",
                                                              "dropped_short",
                                                              "dropped_version",
                                                              "dropped_mode",
                                                              "dropped_denied",
                                                              "dropped_rate",
                                                              "dropped_malformed",
                                                              "dropped_no_keys",
                                                              "dropped_newer_key",
                                                              "dropped_nts_required",
                                                              "dropped_refusal_rate",
                                                              "dropped_internal"};
  return kNames[static_cast<std::size_t>(v)];
}

// Whether a reply leaves.
constexpr bool answered(Verdict v) {
  return v <= Verdict::kKissRate;
}

}  // namespace timeball::server
