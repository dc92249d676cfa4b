#include "common/nts/authenticator.h"

#include "common/ntp/extension_field.h"
#include "common/nts/request.h"

namespace timeball::nts {

AuthenticatorLayout write_authenticator(ByteWriter& out, crypto::AeadId aead,
                                        std::size_t plaintext_length,
                                        crypto::RandomGenerator& random) {
  const Bytes associated_data = out.written();
  const std::size_t field_length = authenticator_field_length(aead, plaintext_length);
  const MutableBytes room = ntp::reserve_field(out, ntp::FieldType::kNtsAuthenticator,
                                               field_length - ntp::kFieldHeaderLength);
  if (room.empty()) return {};

  const std::size_t nonce_length = crypto::parameters(aead).nonce_length;
  const std::size_t ciphertext_length = plaintext_length + crypto::kTagLength;
  ByteWriter body(room);
  body.u16(static_cast<std::uint16_t>(nonce_length));
  body.u16(static_cast<std::uint16_t>(ciphertext_length));
  const MutableBytes nonce = body.reserve(nonce_length);
  random.fill(nonce);
  body.zeros(padded4(nonce_length) - nonce_length);
  const MutableBytes ciphertext = body.reserve(ciphertext_length);
  body.zeros(padded4(ciphertext_length) - ciphertext_length);
  return {nonce, associated_data, ciphertext};
}

}  // namespace timeball::nts
