// The server's half of NTS-KE as pure functions: a request's octets in, a decision out; then the
// decision and the exported keys in, the response's octets out. RFC 8915, section 4.
//
// TLS, sockets and deadlines are around it (server/ke_service.h). Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/bytes.h"
#include "common/crypto/aead.h"
#include "common/crypto/random.h"
#include "common/nts/cookie.h"
#include "common/nts/ke_record.h"
#include "common/nts/key_ring.h"

namespace timeball::nts {

inline constexpr std::size_t kCookiesInResponse = 8;       // section 4.1.6: SHOULD be eight
inline constexpr std::size_t kMaxKeRequestLength = 16384;  // section 4: at least 1024; ours
inline constexpr std::size_t kMaxKeResponseLength = 4096;

// An NTP server that can open our cookies.
struct NtpServer {
  std::string name;     // what record 6 may hold: a domain name or an address
  unsigned weight = 1;  // its share of the clients; at least 1

  bool operator==(const NtpServer&) const = default;
};
inline constexpr unsigned kMaxServerWeight = 1000;

// What the configuration lets this server negotiate.
struct KePolicy {
  // In order of preference.
  std::vector<crypto::AeadId> aeads = {
      crypto::AeadId::kAes128GcmSiv, crypto::AeadId::kAesSivCmac256, crypto::AeadId::kAesSivCmac512,
      crypto::AeadId::kAesSivCmac384};
  // True: choose 30 without record 1024 too, and export with context 15 (chrony 4.4 to 4.6).
  bool gcm_siv_without_record_1024 = false;
  // Record 6 in every agreement: the one that the client wishes for, or else one at random, by
  // weight; empty: none.
  std::vector<NtpServer> servers;
  std::uint16_t port = 0;  // record 7 in every agreement; 0: none
};

// The request was well formed and an AEAD was chosen: export keys, make cookies.
struct KeAgreement {
  crypto::AeadId aead;
  std::uint16_t exporter_aead;  // goes into the exporter's context
  bool confirm_record_1024 = false;
  std::optional<std::size_t> server = std::nullopt;  // of policy.servers: the client's wish
};
// Well formed, but no protocol in common (empty record 1), or no AEAD (empty record 4).
struct KeNoCommonProtocol {};
struct KeNoCommonAead {};

using KeDecision = std::variant<KeAgreement, KeNoCommonProtocol, KeNoCommonAead, KeError>;

// message: exactly message_length() octets, or whatever had arrived when the stream ended (an
// unfinished message is kBadRequest).
// Of several faults the first in the order of the records decides; what is only seen at the end
// (a missing record, an end before End of Message) comes last. Records 1, 4, 6 and 7 may stand once
// each; record 1024 may be repeated. Records 6 and 7 must be well formed. Record 6 is honoured
// when it names one of the policy's servers (section 4.1.7), else ignored, as record 7 is.
KeDecision negotiate(Bytes message, const KePolicy& policy);

// The whole response: record 1, record 4, 1024 when confirmed, cookies, 6 and 7 when configured,
// End of Message. policy: as for negotiate(). keys: what the exporter gave, set when decision is a
// KeAgreement. An empty ring or a failing library makes it the response to kInternalServerError.
// Never fails otherwise.
std::vector<std::uint8_t> make_response(const KeDecision& decision, const KePolicy& policy,
                                        const AssociationKeys& keys, const KeyRing& ring,
                                        crypto::Engine& engine, crypto::RandomGenerator& random);
std::vector<std::uint8_t> make_error_response(KeError error);

}  // namespace timeball::nts
