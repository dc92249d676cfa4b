// Writing the NTS Authenticator and Encrypted Extension Fields extension field (RFC 8915,
// section 5.6), for requests and replies, in the two steps that prepare / stamp / seal need: lay
// the field out, later seal it over the finished packet. Pure; no allocation.
#pragma once

#include "common/base/bytes.h"
#include "common/crypto/aead.h"
#include "common/crypto/random.h"

namespace timeball::nts {

// A field laid out at the end of a packet: nonce written, ciphertext still to be sealed.
struct AuthenticatorLayout {
  Bytes nonce;
  Bytes associated_data;    // the packet up to the field; must be final before sealing
  MutableBytes ciphertext;  // in the packet
};

// Appends the field for a plaintext of this length, nonce drawn from `random`. The writer must hold
// the packet from its first octet. Nothing changes when there is no room (out.ok() turns false).
AuthenticatorLayout write_authenticator(ByteWriter& out, crypto::AeadId aead,
                                        std::size_t plaintext_length,
                                        crypto::RandomGenerator& random);

}  // namespace timeball::nts
