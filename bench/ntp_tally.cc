#include "bench/ntp_tally.h"

namespace timeball::bench {
namespace {

constexpr std::array<NtpEventRow, kNtpEvents> kRows = {{
    {"sent_plain", "requests without NTS"},
    {"sent_nts", "requests with NTS"},
    {"sent_bad_authenticator", "NTS requests with an authenticator that does not verify"},
    {"sent_garbage", "random octets"},
    {"verified", "NTS replies whose authenticator was verified"},
    {"not_verified",
     "NTS replies of which all but the authenticator's tag was checked: see --check-all-up-to"},
    {"unsynchronised", "replies in order from a server that has no time to give"},
    {"lost", "no reply within the timeout", true},
    {"late", "replies after the timeout, counted as lost already"},
    {"nak", "NTS NAK for a request in order", true},
    {"kiss_rate", "kiss code RATE"},
    {"kiss_deny", "kiss codes DENY and RSTR"},
    {"kiss_other", "other kiss codes"},
    {"duplicate", "a second reply to one request", true},
    {"wrong_origin", "replies whose origin timestamp is of no request", true},
    {"malformed", "replies that are short, not of version 4, or not of mode 4", true},
    {"wrong_unique_identifier", "replies without the request's unique identifier", true},
    {"longer_than_request", "replies longer than the request", true},
    {"missing_authenticator", "replies to NTS requests without an authenticator", true},
    {"forged_authenticator", "replies whose authenticator does not verify", true},
    {"replayed_nonce", "replies with the nonce of an earlier one", true},
    {"stale_cookie", "replies with a cookie that was given or spent before", true},
    {"bad_stratum", "replies of stratum 17 or above", true},
    {"t2_after_t3", "replies sent before they were received, by their timestamps", true},
    {"bad_authenticator_nak", "NTS NAK for a bad authenticator, as it should be"},
    {"bad_authenticator_silence", "no answer to a bad authenticator"},
    {"bad_authenticator_accepted", "a bad authenticator answered as if it were good", true},
    {"garbage_answered", "replies to garbage, which may look like a request"},
    {"no_cookie", "requests not sent because every cookie was spent"},
    {"send_refused", "datagrams that this machine's kernel would not send"},
}};

}  // namespace

const NtpEventRow& ntp_event_row(NtpEvent event) {
  return kRows[static_cast<std::size_t>(event)];
}

void NtpTally::merge(const NtpTally& other) {
  started += other.started;
  for (std::size_t i = 0; i < kNtpEvents; ++i) events[i] += other.events[i];
  round_trip.merge(other.round_trip);
  send_delay.merge(other.send_delay);
  residence.merge(other.residence);
  offset.merge(other.offset);
  wire_to_t2.merge(other.wire_to_t2);
  t3_to_wire.merge(other.t3_to_wire);
}

}  // namespace timeball::bench
