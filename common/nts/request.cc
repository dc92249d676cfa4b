#include "common/nts/request.h"

#include "common/ntp/extension_field.h"
#include "common/ntp/packet.h"

namespace timeball::nts {
namespace {

using ntp::ExtensionField;
using ntp::FieldReader;
using ntp::FieldType;

FieldReader fields_of(Bytes packet) {
  return FieldReader(packet.subspan(ntp::kHeaderLength), ntp::kHeaderLength, ntp::kMinFieldLength);
}

// What stands in a packet up to its authenticator, or to the end of what can be read.
struct Survey {
  std::size_t unique_identifiers = 0;
  std::size_t cookies = 0;
  bool placeholders = false;
  Bytes unique_identifier;  // the last seen
  Bytes cookie;             // the last seen
  std::optional<ExtensionField> authenticator;
};

Survey survey(Bytes packet) {
  Survey seen;
  FieldReader fields = fields_of(packet);
  while (const auto field = fields.next()) {
    switch (static_cast<FieldType>(field->type)) {
      case FieldType::kUniqueIdentifier:
        ++seen.unique_identifiers;
        seen.unique_identifier = field->body;
        break;
      case FieldType::kNtsCookie:
        ++seen.cookies;
        seen.cookie = field->body;
        break;
      case FieldType::kNtsCookiePlaceholder:
        seen.placeholders = true;
        break;
      case FieldType::kNtsAuthenticator:
        seen.authenticator = field;
        return seen;
    }
  }
  return seen;
}

// A placeholder may stand before the cookie whose length it must have, hence a second walk.
std::size_t count_placeholders(FieldReader fields, std::size_t cookie_length) {
  std::size_t count = 0;
  while (const auto field = fields.next()) {
    if (field->is(FieldType::kNtsAuthenticator)) break;
    if (field->is(FieldType::kNtsCookiePlaceholder) && field->body.size() == cookie_length) ++count;
  }
  return count;
}

}  // namespace

std::optional<AuthenticatorField> parse_authenticator(Bytes body, std::size_t offset) {
  ByteReader in(body);
  const std::size_t nonce_length = in.u16();
  const std::size_t ciphertext_length = in.u16();
  const Bytes nonce = in.take(padded4(nonce_length));
  const Bytes ciphertext = in.take(padded4(ciphertext_length));
  if (!in.ok() || ciphertext_length < crypto::kTagLength) return std::nullopt;
  return AuthenticatorField{offset, nonce.first(nonce_length), ciphertext.first(ciphertext_length),
                            nonce.size() + in.remaining()};
}

std::size_t authenticator_field_length(crypto::AeadId aead, std::size_t plaintext_length) {
  return ntp::kFieldHeaderLength + kAuthenticatorPreamble +
         padded4(crypto::parameters(aead).nonce_length) +
         padded4(plaintext_length + crypto::kTagLength);
}

ParsedRequest parse_request(Bytes packet) {
  const Survey seen = survey(packet);
  const bool identified =
      seen.unique_identifiers == 1 && seen.unique_identifier.size() >= kMinUniqueIdentifierLength;
  ParsedRequest parsed;
  if (!seen.authenticator && seen.cookies == 0) {
    if (identified) parsed.unique_identifier = seen.unique_identifier;
    return parsed;
  }
  parsed.kind = RequestKind::kMalformed;
  if (!seen.authenticator || seen.cookies != 1 || !identified) return parsed;
  const auto authenticator =
      parse_authenticator(seen.authenticator->body, seen.authenticator->offset);
  if (!authenticator) return parsed;

  parsed.kind = RequestKind::kNts;
  parsed.nts = {seen.unique_identifier, seen.cookie, 0, *authenticator};
  if (seen.placeholders) {
    parsed.nts.placeholders = count_placeholders(fields_of(packet), seen.cookie.size());
  }
  return parsed;
}

bool nonce_room_suffices(const AuthenticatorField& field, crypto::AeadId aead) {
  const crypto::AeadParameters& needed = crypto::parameters(aead);
  if (needed.nonce_length_fixed && field.nonce.size() != needed.nonce_length) return false;
  return field.nonce_room >= padded4(needed.nonce_length);
}

std::optional<std::size_t> count_inner_placeholders(Bytes plaintext, std::size_t cookie_length) {
  FieldReader fields(plaintext, 0, ntp::kFieldHeaderLength);
  std::size_t count = 0;
  while (const auto field = fields.next()) {
    if (field->is(FieldType::kNtsCookie)) return std::nullopt;
    if (field->is(FieldType::kNtsCookiePlaceholder) && field->body.size() == cookie_length) ++count;
  }
  if (fields.malformed()) return std::nullopt;
  return count;
}

}  // namespace timeball::nts
