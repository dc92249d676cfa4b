// NTS-KE as a client that is cheap and can be many: what it offers, and associations for the NTP
// gun. RFC 8915, section 4.
//
// establish() blocks the thread that calls it. The coroutine inside is bench/ke_exchange.h.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "bench/load_target.h"
#include "common/base/error.h"
#include "common/net/address.h"
#include "common/nts/client.h"
#include "common/time/time_scales.h"

namespace timeball::bench {

struct KeClientOptions {
  nts::KeRequestOptions request;  // which AEADs to offer
  std::string groups = "X25519:P-256";
  std::string cipher_suites =
      "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
  // Off unless asked for: to a load generator a chain of certificates is CPU time that the server
  // does not spend.
  bool verify = false;
  std::string ca_file;                         // PEM; empty: the system's CAs
  Duration timeout = std::chrono::seconds(5);  // of one exchange, TCP and TLS included
};

struct KeAssociation {
  nts::ClientAssociation association;
  net::Endpoint ntp_server;  // records 6 and 7, or the NTS-KE server's address and port 123
};

// count NTS-KE exchanges, a few at a time. Fails as soon as one does, with its cause, and when the
// server sends us to an NTP server that is not this machine's while own_server is false.
Result<std::vector<KeAssociation>> establish(const LoadTarget& target,
                                             const KeClientOptions& options, std::size_t count,
                                             bool own_server);

}  // namespace timeball::bench
