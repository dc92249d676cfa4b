// parse_request: a constructed NtsRequest obeys the rules it promises, judged by a second, slower
// reading of the packet; what follows the authenticator changes nothing.
#include <vector>

#include "common/crypto/aead.h"
#include "common/ntp/extension_field.h"
#include "common/ntp/packet.h"
#include "common/nts/request.h"
#include "tests/fuzz/property.h"

using namespace timeball;

namespace {

bool within(Bytes part, Bytes whole) {
  return part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size();
}

struct Count {
  std::size_t uid = 0, cookie = 0, placeholder = 0, authenticator = 0;
};

Count count(Bytes fields, std::size_t cookie_length) {
  Count n;
  ntp::FieldReader reader(fields, 0, ntp::kMinFieldLength);
  while (const auto field = reader.next()) {
    if (field->is(ntp::FieldType::kUniqueIdentifier)) ++n.uid;
    if (field->is(ntp::FieldType::kNtsCookie)) ++n.cookie;
    if (field->is(ntp::FieldType::kNtsAuthenticator)) ++n.authenticator;
    if (field->is(ntp::FieldType::kNtsCookiePlaceholder) && field->body.size() == cookie_length) {
      ++n.placeholder;
    }
  }
  return n;
}

void check_nts(Bytes packet, const nts::NtsRequest& request) {
  const nts::AuthenticatorField& field = request.authenticator;
  require(field.offset >= ntp::kHeaderLength && field.offset + 4 <= packet.size());
  const std::size_t end = field.offset + load_be16(packet.data() + field.offset + 2);
  require(end <= packet.size());
  const Bytes before = packet.first(field.offset);
  const Bytes inside = packet.first(end).subspan(field.offset);
  require(request.unique_identifier.size() >= nts::kMinUniqueIdentifierLength);
  require(within(request.unique_identifier, before) && within(request.cookie, before));
  require(within(field.nonce, inside) && within(field.ciphertext, inside));
  require(field.ciphertext.size() >= crypto::kTagLength);
  require(field.nonce_room + padded4(field.ciphertext.size()) + 8 == inside.size());
  for (const crypto::AeadParameters& aead : crypto::aead_table()) {
    if (nts::nonce_room_suffices(field, aead.id)) {
      require(inside.size() >= nts::authenticator_field_length(aead.id, 0));
    }
  }

  // As the last field it would be read as a MAC (RFC 7822, section 7.5.1.4); it has no room for a
  // nonce, and so is discarded in either case.
  if (inside.size() == 24) {
    require(field.nonce_room == 0);
    return;
  }

  // An empty rest of the packet keeps a last short field from being read as a MAC.
  std::vector<std::uint8_t> fields(before.begin() + ntp::kHeaderLength, before.end());
  fields.insert(fields.end(), {0, 0, 0, 28});
  fields.resize(fields.size() + 24);
  const Count n = count(fields, request.cookie.size());
  require(n.uid == 1 && n.cookie == 1 && n.authenticator == 0);
  require(n.placeholder == request.placeholders);

  const auto alone = nts::parse_request(packet.first(end));
  require(alone.kind == nts::RequestKind::kNts);
  require(alone.nts.placeholders == request.placeholders);
  require(alone.nts.authenticator.offset == field.offset);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes packet(data, size);
  (void)nts::count_inner_placeholders(packet, 100);
  if (size < ntp::kHeaderLength) return 0;
  const auto parsed = nts::parse_request(packet);
  switch (parsed.kind) {
    case nts::RequestKind::kNts:
      check_nts(packet, parsed.nts);
      break;
    case nts::RequestKind::kPlain:
      require(parsed.unique_identifier.empty() ||
              parsed.unique_identifier.size() >= nts::kMinUniqueIdentifierLength);
      require(parsed.unique_identifier.empty() || within(parsed.unique_identifier, packet));
      break;
    case nts::RequestKind::kMalformed: {
      const Count n = count(packet.subspan(ntp::kHeaderLength), 0);
      require(n.cookie + n.authenticator > 0);
      break;
    }
  }
  return 0;
}
