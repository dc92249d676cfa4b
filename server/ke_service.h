// NTS-KE (RFC 8915, section 4) on the wire: listeners, TLS sessions, limits, deadlines. What is
// said in a session is decided by common/nts/ke_negotiation.h.
//
// Every thread has its own io_context, listeners (SO_REUSEPORT), AEAD engine and random generator;
// the kernel spreads connections over them. One session: handshake, one request, one response in
// one TLS record, close_notify, and a second at most for the client to close.
//
//   deadline      over handshake and request together. Passed after the handshake: Error 1 (Bad
//                 Request), close_notify. Passed before: plain close.
//   cut short     a request that ends early, or is longer than kMaxKeRequestLength: Error 1
//   no keys       an empty key ring: Error 2 (Internal Server Error)
//   admission     refusals before TLS, and who gives way when all places are taken:
//                 server/ke_admission.h. max_connections is lowered to what descriptors there are.
//   overload      One connection is accepted for each turn that the sessions get, so that what is
//                 begun is finished. The others wait in the kernel, in a queue of limited length,
//                 and those that have waited for too long, or whose clients have gone, cost a few
//                 system calls each.
//   memory        of one connection, the kernel's aside: 14 KB before it has said anything, 66 KB
//                 at most before the end of the handshake, 40 KB at most after it
//   accept fails  whatever the reason (no memory): counted, and tried again 50 ms later; without
//                 descriptors, who is slow gives way here, too
//
// Thread rules: start(), stop() and the destructor from one thread (control); the rest from any.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "common/base/published.h"
#include "common/crypto/aead.h"
#include "common/net/address.h"
#include "common/nts/ke_negotiation.h"
#include "common/nts/key_ring.h"
#include "server/config.h"
#include "server/tls_context.h"

namespace timeball::server {

// How a connection ended; kAcceptError: how it did not begin.
enum class KeOutcome : std::uint8_t {
  kCompleted,             // cookies sent
  kNoCommonProtocol,      // empty record 1 sent
  kNoCommonAead,          // empty record 4 sent
  kBadRequest,            // Error 1 sent: malformed, cut short or too long
  kUnrecognizedCritical,  // Error 0 sent
  kInternalError,         // Error 2 sent, or memory ran out
  kNoAlpn,                // no "ntske/1" offered
  kTlsVersion,            // no TLS 1.3
  kRefusedByClient,       // TLS alert from the client: most often it does not trust the certificate
  kTlsFailure,            // any other fault of TLS
  kDeadline,              // took too long
  kClosedEarly,           // the client went away before it asked
  kEvicted,               // slow, and its place was needed
  kRefusedTotal,          // over max_connections
  kRefusedAddress,        // over max_connections_per_address
  kRefusedRate,           // over rate
  kRefusedAddressRate,    // over rate_per_address
  kRefusedWait,           // had waited for too long to be accepted
  kAcceptError,
};
inline constexpr std::size_t kKeOutcomes = 19;
// As a metric's label: "completed", "no_common_protocol", ...
std::string_view name(KeOutcome outcome);

// From accept() to the end of the TLS handshake, the client's round trips included.
struct KeHandshakeTimes {
  // Upper bounds; one more bucket, without a bound, follows them.
  static constexpr std::array<std::chrono::microseconds, 12> kBounds = {
      std::chrono::microseconds(1'000),     std::chrono::microseconds(2'500),
      std::chrono::microseconds(5'000),     std::chrono::microseconds(10'000),
      std::chrono::microseconds(25'000),    std::chrono::microseconds(50'000),
      std::chrono::microseconds(100'000),   std::chrono::microseconds(250'000),
      std::chrono::microseconds(500'000),   std::chrono::microseconds(1'000'000),
      std::chrono::microseconds(2'500'000), std::chrono::microseconds(5'000'000)};

  std::array<std::uint64_t, kBounds.size() + 1> counts{};  // per bucket, not cumulative
  std::chrono::nanoseconds sum{};
};

class KeService {
 public:
  // tls and keys must outlive the service and never hold null; what they hold may change at any
  // time.
  KeService(const NtsKeConfig& config, const nts::KePolicy& policy,
            const Published<TlsContext>& tls, const Published<nts::KeyRing>& keys,
            crypto::Implementation implementation = crypto::Implementation::kAuto);
  // Stops.
  ~KeService();

  // Binds every listener. Throws std::runtime_error with one sentence when an address cannot be
  // had: also when another process listens there with SO_REUSEPORT, which the kernel alone would
  // let pass.
  void listen();
  // After that: starts the threads.
  void start();
  // Stops accepting, ends every session, joins the threads. Prompt. Counters stay readable.
  void stop();

  // Where it listens, in the configuration's order; port 0 there is the kernel's choice here.
  const std::vector<net::Endpoint>& endpoints() const;
  std::uint64_t count(KeOutcome outcome) const;
  KeHandshakeTimes handshake_times() const;
  unsigned open_connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace timeball::server
