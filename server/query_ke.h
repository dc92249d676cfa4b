// NTS-KE as a client, for `timeball query`: TCP, TLS, request, response, keys. RFC 8915, section 4.
#pragma once

#include <optional>
#include <string>

#include "common/nts/client.h"
#include "server/query.h"

namespace timeball::server {

// What the NTP exchanges need of it.
struct KeSession {
  nts::ClientAssociation association;
  net::Endpoint server;                   // where NTS-KE was
  std::optional<std::string> ntp_server;  // record 6
  std::optional<std::uint16_t> ntp_port;  // record 7
};

// Fills in the report's tcp, tls and ke, calling progress after each.
QueryResult<KeSession> establish_keys(const QueryOptions& options, QueryReport& report,
                                      const QueryProgress& progress);

}  // namespace timeball::server
