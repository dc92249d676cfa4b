// `timeball query`: asks a server for the time as a client would, step by step, and says what each
// step found; when one fails, why and what to do about it. RFC 8915 from the client's side.
//
// Blocking, with deadlines; the operator's command only, on its main thread.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "common/crypto/aead.h"
#include "common/net/address.h"
#include "common/ntp/packet.h"
#include "common/nts/client.h"
#include "common/time/time_scales.h"

namespace timeball::server {

// The classes of outcome, which are the command's exit statuses.
enum class QueryStatus : int {
  kAuthentic = 0,       // or, with --plain, answered
  kLocal = 1,           // this machine failed: no socket, no memory, unreadable CA file
  kUsage = 2,           // the command line
  kUnreachable = 3,     // name resolution, or TCP: refused, no route, no answer
  kTls = 4,             // handshake, certificate, ALPN
  kKe = 5,              // NTS-KE: Error record, no common AEAD, malformed, no answer
  kNoReply = 6,         // NTP: nothing came back
  kRefused = 7,         // NTP: NTS NAK, or a kiss code
  kNotAuthentic = 8,    // NTP: a reply that does not verify, or breaks a rule
  kUnsynchronised = 9,  // NTP: a good reply from a server that does not know the time
};
// One word, for scripts: "authentic", "unreachable", ...
const char* name_of(QueryStatus status);
// What --help says of it.
const char* help_of(QueryStatus status);
inline constexpr int kQueryStatuses = 10;

// One line each.
struct QueryFailure {
  QueryStatus status;
  std::string cause;
  std::string cure;
};
template <class T>
using QueryResult = tl::expected<T, QueryFailure>;

struct QueryOptions {
  std::string host;
  std::uint16_t ke_port = nts::kKePort;
  std::optional<std::uint16_t> ntp_port;  // instead of the negotiated one, or 123
  int family = AF_UNSPEC;                 // or AF_INET, AF_INET6
  std::string ca_file;                    // PEM; empty: the system's CAs
  bool insecure = false;                  // go on whatever the certificate is
  nts::KeRequestOptions ke;               // which AEADs to offer
  unsigned count = 1;                     // NTP exchanges
  std::chrono::milliseconds interval{1000};
  std::chrono::milliseconds timeout{5000};  // of NTS-KE as a whole, and of each NTP exchange
  bool plain = false;                       // NTP without NTS
};

// The facts, in the order in which they are found. Text from the network is made printable.
struct TcpFacts {
  net::Endpoint server;
  Duration connect_time{};
};
struct CertificateFacts {
  std::string subject;
  std::string issuer;
  std::vector<std::string> names;  // DNS names and IP addresses
  std::string not_before;          // "2024-01-31T12:00:00Z"
  std::string not_after;
  int days_left = 0;    // negative: expired so many days ago
  std::string problem;  // why it is not to be trusted for this host; empty: verified
};
struct TlsFacts {
  std::string version;  // "TLSv1.3"
  std::string cipher;
  std::string alpn;  // empty: none was selected
  CertificateFacts certificate;
};
struct RecordFacts {
  bool critical = false;
  std::uint16_t type = 0;
  std::size_t length = 0;  // of the body
};
struct KeFacts {
  std::vector<RecordFacts> records;
  std::optional<nts::KeResponse> response;  // once it has passed the checks
};
struct NtpExchange {
  std::size_t request_length = 0;
  std::size_t reply_length = 0;
  std::optional<ntp::Header>
      header;              // of the reply that decided, even of one that is not authentic
  bool authentic = false;  // with --plain: it matches the request
  Duration offset{};       // server's clock - this machine's
  Duration delay{};
  std::size_t cookies_back = 0;
  bool kernel_timestamp = false;  // whether T4 is the kernel's
  unsigned ignored = 0;           // datagrams that do not belong to the request
  std::optional<QueryFailure> failure;

  // This machine's true error is within offset +- this, if the server keeps its promise.
  Duration max_error() const;
};
struct QueryReport {
  std::string host;
  bool plain = false;
  std::optional<TcpFacts> tcp;
  std::optional<TlsFacts> tls;
  std::optional<KeFacts> ke;
  std::optional<net::Endpoint> ntp_server;
  std::vector<NtpExchange> exchanges;
  std::optional<QueryFailure> failure;  // of NTS-KE, else of the last exchange

  QueryStatus status() const { return failure ? failure->status : QueryStatus::kAuthentic; }
};

enum class QueryStep { kTcp, kTls, kKe, kNtpServer, kExchange };
// Called as soon as the facts of a step are in the report, also when they are why it failed.
using QueryProgress = std::function<void(const QueryReport&, QueryStep)>;

QueryReport run_query(const QueryOptions& options, const QueryProgress& progress);

}  // namespace timeball::server
