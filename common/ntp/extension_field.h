// Extension fields of RFC 7822: type, length (of the whole field, in octets, a multiple of 4),
// value. Pure; any thread; no allocation.
#pragma once

#include <cstdint>
#include <optional>

#include "common/base/bytes.h"

namespace timeball::ntp {

inline constexpr std::size_t kFieldHeaderLength = 4;
inline constexpr std::size_t kMinFieldLength = 16;     // RFC 7822, section 7.5.1; inner fields: 4
inline constexpr std::size_t kMaxFieldLength = 65532;  // a multiple of 4 in 16 bits

enum class FieldType : std::uint16_t {
  kUniqueIdentifier = 0x0104,      // RFC 8915, section 5.3
  kNtsCookie = 0x0204,             // section 5.4
  kNtsCookiePlaceholder = 0x0304,  // section 5.5
  kNtsAuthenticator = 0x0404,      // section 5.6: authenticator and encrypted extension fields
};

struct ExtensionField {
  std::uint16_t type = 0;
  std::size_t offset = 0;  // of the field's first octet, from where the reader was told to count
  Bytes body;              // value and padding, without the four octets of type and length

  bool is(FieldType t) const { return type == static_cast<std::uint16_t>(t); }
};

// Walks the fields of a packet, or of decrypted plaintext.
class FieldReader {
 public:
  // fields: what follows the header. first_offset: what `offset` counts from (kHeaderLength for a
  // packet, 0 for plaintext). min_length: kMinFieldLength for a packet, kFieldHeaderLength for
  // inner fields, which no MAC follows.
  FieldReader(Bytes fields, std::size_t first_offset, std::size_t min_length);

  // The next well-formed field. Nothing at the end, and nothing when the rest is not a field: a
  // legacy MAC (RFC 5905, figure 14) or garbage; then malformed() or legacy_mac() says which. A
  // rest of exactly 4, 20 or 24 octets is a MAC, whatever it holds: a last field without a MAC
  // behind it has at least 28 octets (RFC 7822, section 7.5.1.4).
  std::optional<ExtensionField> next();
  bool malformed() const { return malformed_; }
  bool legacy_mac() const { return legacy_mac_; }

 private:
  Bytes rest_;
  std::size_t offset_;
  std::size_t min_length_;
  bool malformed_ = false;
  bool legacy_mac_ = false;
};

// Appends a field's type, length and padding, and returns the room for its body, contents
// untouched. Empty, and nothing appended, when there is no room for the whole (out.ok() turns
// false). Requires kFieldHeaderLength + padded4(body_length) <= kMaxFieldLength.
MutableBytes reserve_field(ByteWriter& out, FieldType type, std::size_t body_length);
// Appends a field with its body zero-padded to `padded4(body.size())`; nothing when there is no
// room. The body may lie in the octets written to, from where it will begin on.
void write_field(ByteWriter& out, FieldType type, Bytes body);

}  // namespace timeball::ntp
