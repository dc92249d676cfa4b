// The client's half, without I/O: NTS-KE requests and responses, NTS-protected NTP requests, and
// the checks on a reply. Serves `timeball query`, the load generator and the tests. RFC 8915, 4
// and 5. Pure: octets, randomness and time are arguments. A ClientAssociation belongs to one
// thread.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/error.h"
#include "common/crypto/aead.h"
#include "common/crypto/random.h"
#include "common/ntp/extension_field.h"
#include "common/ntp/packet.h"
#include "common/nts/cookie.h"
#include "common/nts/ke_record.h"

namespace timeball::nts {

struct KeRequestOptions {
  std::vector<std::uint16_t> aeads = {30, 15, 17, 16};
  bool compliant_gcm_siv = true;  // send record 1024 when 30 is offered
};
std::vector<std::uint8_t> make_ke_request(const KeRequestOptions& options);

// Longer cookies are refused: ours to choose.
inline constexpr std::size_t kMaxForeignCookieLength = 1024;
// A response as received, already checked against the rules of section 4.
struct KeResponse {
  crypto::AeadId aead{};
  std::uint16_t exporter_aead = 0;  // for exporter_context(); 15 for AEAD 30 without record 1024
  std::vector<std::vector<std::uint8_t>> cookies;
  std::optional<std::string> server;
  std::optional<std::uint16_t> port;
  std::vector<std::uint16_t> warnings;
};
// Why a response gives no association: the first fault in the order of the records, then what is
// missing. `error_code` is set for an Error record.
struct KeFailure {
  enum class Kind { kErrorRecord, kNoCommonProtocol, kNoCommonAead, kMalformed } kind;
  std::optional<std::uint16_t> error_code;
  std::string detail;
};
// message: exactly message_length() octets.
tl::expected<KeResponse, KeFailure> parse_ke_response(Bytes message, const KeRequestOptions& sent);

// Everything the client keeps between packets. Cookies are taken from the front, added at the back.
struct ClientAssociation {
  AssociationKeys keys;
  std::deque<std::vector<std::uint8_t>> cookies;
};

struct NtpRequestOptions {
  std::size_t placeholders = 0;  // cookies asked for beyond the one spent
  std::size_t unique_identifier_length = 32;
};

// The burst form: requests made and replies checked many at a time in the caller's memory, so that
// the AEADs of different packets interleave. No allocation; bursts of any length.

// One request to make. Requires options.unique_identifier_length >= kMinUniqueIdentifierLength, a
// multiple of 4, and cookie.size() <= kMaxForeignCookieLength.
struct RequestJob {
  const AssociationKeys* keys = nullptr;  // null: a plain request, the header alone
  Bytes cookie;
  NtpRequestOptions options;
  NtpTimestamp transmit;    // random (data minimisation), not the time
  MutableBytes packet;      // request_length() octets; overlaps nothing above
  Bytes unique_identifier;  // set, in `packet`; empty in a plain request
};
// Of the packet that make_requests() fills.
std::size_t request_length(const RequestJob& job);
// False only when the cryptographic library failed: send none of them.
[[nodiscard]] bool make_requests(std::span<RequestJob> burst, crypto::Engine& engine,
                                 crypto::RandomGenerator& random);

// A reply to an NTS request is checked in this order; the first that applies is its status.
enum class ReplyStatus : std::uint8_t {
  kAuthentic,          // NTS: everything checked, whatever the stratum. Plain: matches the request
  kNotForThisRequest,  // too short, not version 4, mode 4, origin or identifier differ: ignore it
  kLongerThanRequest,  // NTS only (section 5.7)
  kNtsNak,             // matches, but unauthenticated by nature
  kKissCode,           // stratum 0, code in header.reference_id; unauthenticated, NTS or not
  kMissingAuthenticator,  // NTS only
  kForged,                // authenticator malformed, or does not verify
  kNotVerified,  // NTS, ReplyJob::verify false: all but the authenticator's tag was checked
};

// One reply to check against the request it may answer.
struct ReplyJob {
  Bytes packet;
  NtpTimestamp transmit;
  std::size_t request_length = 0;
  Bytes unique_identifier;
  const AssociationKeys* keys = nullptr;  // null: the request was plain
  bool verify = true;                     // false: leave the authenticator's tag unchecked
  MutableBytes room;                      // for decrypted fields: packet.size() octets; NTS only
  // Set by check_replies():
  ReplyStatus status = ReplyStatus::kNotForThisRequest;
  ntp::Header header;      // of any packet of kHeaderLength octets
  Bytes nonce;             // of a well-formed authenticator
  Bytes decrypted_fields;  // kAuthentic: in `room`
};
// Fields after the authenticator are ignored.
void check_replies(std::span<ReplyJob> burst, crypto::Engine& engine);

// The cookies among decrypted fields, one after another.
class CookieReader {
 public:
  explicit CookieReader(Bytes decrypted_fields);
  std::optional<Bytes> next();

 private:
  ntp::FieldReader fields_;
};

// One at a time, in memory of their own.

// A request on the wire, and what its reply must match.
struct SentRequest {
  std::vector<std::uint8_t> packet;
  std::vector<std::uint8_t> unique_identifier;
  NtpTimestamp transmit;  // random (data minimisation), not the time
  bool nts = false;
};
// Takes one cookie, even when it fails: there is none, or the library failed.
// Requires options.unique_identifier_length >= kMinUniqueIdentifierLength, a multiple of 4.
Result<SentRequest> make_nts_request(ClientAssociation& association,
                                     const NtpRequestOptions& options, crypto::Engine& engine,
                                     crypto::RandomGenerator& random);
SentRequest make_plain_request(crypto::RandomGenerator& random);

struct NtpReply {
  ReplyStatus status = ReplyStatus::kNotForThisRequest;
  ntp::Header header;
  std::size_t new_cookies = 0;  // added to the association
};
// Checks a reply; when kAuthentic and NTS, adds its cookies to the association, which may be null
// for a plain request only. Fields after the authenticator are ignored.
NtpReply accept_reply(Bytes packet, const SentRequest& sent, ClientAssociation* association,
                      crypto::Engine& engine);

}  // namespace timeball::nts
