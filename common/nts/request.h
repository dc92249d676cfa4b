// What an NTP request carries after its header, parsed once: NTS fields (RFC 8915, section 5), or
// none.
//
// Parse, don't validate: a constructed NtsRequest obeys every structural rule of sections 5.3
// to 5.7 (one Unique Identifier of 32 octets or more, one cookie in the clear, an authenticator
// with lengths that fit and padding that reaches N_REQ); only its cookie and authenticator are
// still to be checked. Spans point into the packet. Pure; any thread; no allocation.
#pragma once

#include <cstdint>
#include <optional>

#include "common/base/bytes.h"
#include "common/crypto/aead.h"

namespace timeball::nts {

inline constexpr std::size_t kMinUniqueIdentifierLength = 32;  // body, section 5.3
inline constexpr std::size_t kMaxCookiesInReply = 8;           // section 5.7: our cap

// The authenticator's body, section 5.6: two 16-bit lengths, nonce and ciphertext each padded to a
// multiple of 4, additional padding.
inline constexpr std::size_t kAuthenticatorPreamble = 4;
struct AuthenticatorField {
  std::size_t offset = 0;  // of the field in the packet: the associated data ends here
  Bytes nonce;
  Bytes ciphertext;            // with its tag, so at least kTagLength
  std::size_t nonce_room = 0;  // padded nonce + additional padding, to compare with N_REQ
};
// body: the field's body. offset: of the field in the packet. Nothing when a length does not fit
// the body, or the ciphertext has no room for a tag.
std::optional<AuthenticatorField> parse_authenticator(Bytes body, std::size_t offset);
// Length of the whole field (type and length included) that write_authenticator makes.
std::size_t authenticator_field_length(crypto::AeadId aead, std::size_t plaintext_length);

struct NtsRequest {
  Bytes unique_identifier;       // body, as to be echoed
  Bytes cookie;                  // body
  std::size_t placeholders = 0;  // in the clear, of the cookie's body length; not capped here
  AuthenticatorField authenticator;
};

enum class RequestKind : std::uint8_t {
  kPlain,  // no NTS request; unique_identifier is set when the packet carried exactly one good one
  kNts,    // nts is set
  kMalformed,  // an NTS request that breaks a structural rule: discard, no NAK (section 5.7)
};
struct ParsedRequest {
  RequestKind kind = RequestKind::kPlain;
  Bytes unique_identifier;  // kPlain: empty when there is none to echo
  NtsRequest nts;           // kNts
};
// packet: the whole UDP payload of an NTPv4 packet, header included, at least kHeaderLength octets.
// A packet is an NTS request when it has an authenticator field or a cookie field. Fields after the
// authenticator, a MAC or garbage there, are not looked at. Anything else is plain, whatever stands
// behind its fields (a MAC, octets that are no field): it is answered as an NTPv4 server without
// extensions would, with the identifier of its well-formed fields (section 5.3: every reply has
// it).
ParsedRequest parse_request(Bytes packet);

// Section 5.6: whether padded nonce and additional padding together reach N_REQ for this algorithm,
// and the nonce itself has a length it takes. Otherwise the packet MUST be discarded.
bool nonce_room_suffices(const AuthenticatorField& field, crypto::AeadId aead);

// Cookie placeholders among the decrypted fields that ask for another cookie of `cookie_length`.
// Nothing when the plaintext is not a sequence of extension fields, or holds a cookie
// (section 5.4).
std::optional<std::size_t> count_inner_placeholders(Bytes plaintext, std::size_t cookie_length);

}  // namespace timeball::nts
