// One NTP request and its reply over UDP, for `timeball query`.
#pragma once

#include "common/crypto/aead.h"
#include "common/crypto/random.h"
#include "common/nts/client.h"
#include "server/query.h"
#include "server/query_socket.h"

namespace timeball::server {

// A connected UDP socket with the kernel's receive timestamps.
QueryResult<Socket> open_ntp_socket(const net::Endpoint& server);

// association: null for plain NTP. Waits for a reply that is in order; one that is not (a NAK, a
// forgery) decides only when no better one follows shortly (RFC 8915, section 5.7). When nothing
// came at all the exchange is neither authentic nor a failure: explain_no_reply() is the caller's,
// who can ask further.
NtpExchange exchange_ntp(const Socket& socket, const QueryOptions& options,
                         nts::ClientAssociation* association, crypto::Engine& engine,
                         crypto::RandomGenerator& random);

// What to say when nothing came back. plain_answered: whether a short packet without NTS is
// answered.
QueryFailure explain_no_reply(const net::Endpoint& server, std::size_t request_length, bool plain,
                              bool plain_answered);

}  // namespace timeball::server
