// Requests for a Responder, and what it answers them from: for what measures it without a socket.
#pragma once

#include <vector>

#include "common/nts/client.h"
#include "common/nts/key_ring.h"
#include "server/responder.h"

namespace timeball::bench {

// As many associations as the batch is long, with one request each and room for its reply; aead
// nothing: requests without NTS, from one client. One thread.
class ResponderLoad {
 public:
  ResponderLoad(std::optional<crypto::AeadId> aead, std::size_t batch,
                crypto::Implementation implementation);

  // Answers the batch once; false when a request was not answered as it should be.
  bool answer();

  std::size_t size() const { return batch_.size(); }
  Bytes request(std::size_t i) const { return requests_[i]; }
  const nts::KeyRing& keys() const { return keys_; }
  const nts::ClientAssociation& association(std::size_t i) const { return associations_[i]; }
  crypto::RandomGenerator& random() { return random_; }

 private:
  nts::ClientAssociation make_association(crypto::AeadId aead);

  crypto::RandomGenerator random_;
  crypto::Engine engine_;
  server::Responder responder_;
  const nts::KeyRing keys_;
  const ClockState clock_;
  const server::AccessPolicy access_;
  const server::Verdict expected_;
  std::vector<nts::ClientAssociation> associations_;
  std::vector<std::vector<std::uint8_t>> requests_;
  std::vector<std::vector<std::uint8_t>> rooms_;
  std::vector<net::Datagram> batch_;
};

}  // namespace timeball::bench
