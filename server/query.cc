#include "server/query.h"

#include <array>
#include <string_view>
#include <thread>

#include "common/base/printable.h"
#include "common/crypto/entropy.h"
#include "common/crypto/random.h"
#include "common/time/ntp_timestamp.h"
#include "server/query_ke.h"
#include "server/query_ntp.h"
#include "server/query_socket.h"

namespace timeball::server {
namespace {

constexpr std::chrono::milliseconds kPlainProbe{2000};

struct StatusText {
  const char* name;
  const char* help;
};
constexpr std::array<StatusText, kQueryStatuses> kStatusTexts = {{
    {"authentic", "the last reply was authentic and from a synchronised server"},
    {"local", "this machine failed: no socket, no memory, unreadable CA file"},
    {"usage", "the command line is wrong"},
    {"unreachable", "the name does not resolve, or TCP: refused, no route, no answer"},
    {"tls", "TLS: handshake, version, certificate, ALPN"},
    {"nts-ke", "NTS-KE: Error record, no common AEAD, malformed, no answer"},
    {"no-reply", "NTP: nothing came back"},
    {"refused", "NTP: NTS NAK, or kiss code"},
    {"not-authentic", "NTP: the reply does not verify, or breaks a rule"},
    {"unsynchronised", "NTP: a good reply, from a server that does not know the time"},
}};

// Where NTP is: the address of NTS-KE unless record 6 names another; RFC 8915,
// sections 4.1.7, 4.1.8.
QueryResult<net::Endpoint> find_ntp_server(const QueryOptions& options, const KeSession* ke) {
  std::uint16_t port = ntp::kPort;
  if (ke != nullptr && ke->ntp_port) port = *ke->ntp_port;
  if (options.ntp_port) port = *options.ntp_port;
  if (ke != nullptr && !ke->ntp_server) {
    net::Endpoint server = ke->server;
    server.port = port;
    return server;
  }
  const std::string& host = ke != nullptr ? *ke->ntp_server : options.host;
  const auto endpoints = resolve(host, port, options.family, SOCK_DGRAM);
  if (!endpoints) return tl::unexpected(endpoints.error());
  return endpoints->front();
}

QueryFailure explain_silence(const Socket& socket, const QueryOptions& options,
                             const net::Endpoint& server, std::size_t request_length,
                             crypto::Engine& engine, crypto::RandomGenerator& random) {
  if (options.plain) return explain_no_reply(server, request_length, true, false);
  QueryOptions probe = options;
  probe.timeout = std::min(options.timeout, kPlainProbe);
  const NtpExchange plain = exchange_ntp(socket, probe, nullptr, engine, random);
  return explain_no_reply(server, request_length, false, plain.header.has_value());
}

QueryResult<void> exchange_all(const QueryOptions& options, KeSession* ke, QueryReport& report,
                               const QueryProgress& progress) {
  const auto server = find_ntp_server(options, ke);
  if (!server) return tl::unexpected(server.error());
  report.ntp_server = *server;
  progress(report, QueryStep::kNtpServer);
  const auto socket = open_ntp_socket(*server);
  if (!socket) return tl::unexpected(socket.error());
  std::array<std::uint8_t, crypto::kSeedLength> seed{};
  if (const auto read = crypto::read_entropy(seed); !read) {
    return tl::unexpected(
        QueryFailure{QueryStatus::kLocal, read.error().message, "check this machine's kernel"});
  }
  crypto::RandomGenerator random(seed);
  crypto::Engine engine;
  for (unsigned i = 0; i < options.count; ++i) {
    if (i > 0) std::this_thread::sleep_for(options.interval);
    NtpExchange exchange =
        exchange_ntp(*socket, options, ke != nullptr ? &ke->association : nullptr, engine, random);
    if (!exchange.authentic && !exchange.failure) {
      exchange.failure =
          explain_silence(*socket, options, *server, exchange.request_length, engine, random);
    }
    report.exchanges.push_back(exchange);
    progress(report, QueryStep::kExchange);
  }
  if (report.exchanges.back().failure) return tl::unexpected(*report.exchanges.back().failure);
  return {};
}

}  // namespace

const char* name_of(QueryStatus status) {
  return kStatusTexts[static_cast<std::size_t>(status)].name;
}
const char* help_of(QueryStatus status) {
  return kStatusTexts[static_cast<std::size_t>(status)].help;
}

Duration NtpExchange::max_error() const {
  return delay / 2 + header->root_delay.duration() / 2 + header->root_dispersion.duration();
}

QueryReport run_query(const QueryOptions& options, const QueryProgress& progress) {
  QueryReport report;
  report.host = printable(options.host);
  report.plain = options.plain;
  std::optional<KeSession> session;
  if (!options.plain) {
    auto established = establish_keys(options, report, progress);
    if (!established) {
      report.failure = established.error();
      return report;
    }
    session = std::move(*established);
  }
  const auto exchanged = exchange_all(options, session ? &*session : nullptr, report, progress);
  if (!exchanged) report.failure = exchanged.error();
  return report;
}

}  // namespace timeball::server
