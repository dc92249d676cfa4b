// The server's part of an NTS-KE once the handshake is done, without the daemon around it.
#pragma once

#include <openssl/ssl.h>

#include <array>
#include <cstdint>
#include <variant>

#include "common/crypto/aead.h"
#include "common/crypto/random.h"
#include "common/nts/ke_negotiation.h"
#include "common/nts/key_ring.h"

namespace timeball::bench {

class KeAnswer {
 public:
  // Reads the request, writes the response and close_notify. False: the request is not there yet,
  // not whole, or asks for what we do not have.
  bool operator()(SSL* ssl) {
    std::array<std::uint8_t, 4096> octets;
    std::size_t size = 0;
    if (SSL_read_ex(ssl, octets.data(), octets.size(), &size) != 1) return false;
    const auto decision = nts::negotiate({octets.data(), size}, policy_);
    const auto* agreement = std::get_if<nts::KeAgreement>(&decision);
    nts::AssociationKeys keys;
    if (agreement == nullptr || !export_keys(ssl, *agreement, keys)) return false;
    const auto response = nts::make_response(decision, policy_, keys, ring_, engine_, random_);
    if (SSL_write(ssl, response.data(), static_cast<int>(response.size())) <= 0) return false;
    SSL_shutdown(ssl);
    return true;
  }

 private:
  static nts::KeyRing ring() {
    const std::array<std::uint8_t, nts::kMasterKeyLength> octets{1};
    return nts::KeyRing::create(1, nts::MasterKeySecret(octets), nts::MasterKeySecret(octets));
  }
  static bool export_keys(SSL* ssl, const nts::KeAgreement& agreement, nts::AssociationKeys& keys) {
    keys.aead = agreement.aead;
    const std::size_t length = crypto::parameters(agreement.aead).key_length;
    for (const bool server_to_client : {false, true}) {
      const auto context = nts::exporter_context(agreement.exporter_aead, server_to_client);
      const MutableBytes out = (server_to_client ? keys.s2c : keys.c2s).resize(length);
      if (SSL_export_keying_material(ssl, out.data(), out.size(), nts::kExporterLabel.data(),
                                     nts::kExporterLabel.size(), context.data(), context.size(),
                                     1) != 1) {
        return false;
      }
    }
    return true;
  }

  const nts::KePolicy policy_{};
  const nts::KeyRing ring_ = ring();
  crypto::Engine engine_;
  crypto::RandomGenerator random_{std::array<std::uint8_t, crypto::kSeedLength>{1}};
};

}  // namespace timeball::bench
