// One NTS-KE connection: TLS handshake, request, response, farewell (RFC 8915, section 4).
//
// Inside of the NTS-KE service; others use server/ke_service.h. Runs on its worker's thread.
#pragma once

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "common/base/openssl_handle.h"
#include "common/net/address.h"
#include "common/nts/ke_negotiation.h"
#include "server/ke_admission.h"
#include "server/ke_service.h"

namespace timeball::server {

class KeWorker;

// One connection. Lives as long as its coroutine.
class KeSession : public std::enable_shared_from_this<KeSession> {
 public:
  KeSession(KeWorker& worker, boost::asio::ip::tcp::socket socket, KeLease lease,
            OpenSsl<SSL, SSL_free> ssl, const net::IpAddress& peer);
  ~KeSession();
  KeSession(const KeSession&) = delete;
  KeSession& operator=(const KeSession&) = delete;

  boost::asio::awaitable<void> run();
  void abort();
  // Ends it with a reset, at once, and gives its place back: somebody else needs it.
  void evict();
  const KeSeniority& seniority() const { return seniority_; }
  const net::IpAddress& prefix() const { return lease_.prefix(); }
  std::chrono::steady_clock::time_point begun() const { return begun_; }

 private:
  enum class Arrival { kOctets, kEnd, kGone };
  enum class Words { kMoreToCome, kLast };
  enum class RequestEnd { kWhole, kTooLong, kCutShort, kTimeUp, kGone, kTlsFailure };

  void arm(std::chrono::nanoseconds time);
  boost::asio::awaitable<Arrival> fill();
  boost::asio::awaitable<bool> flush(Words words = Words::kMoreToCome);
  boost::asio::awaitable<void> drain();
  boost::asio::awaitable<KeOutcome> exchange();
  boost::asio::awaitable<std::optional<KeOutcome>> handshake();
  void has_spoken();
  boost::asio::awaitable<KeOutcome> end_failed_tls();
  void acknowledge();
  boost::asio::awaitable<RequestEnd> read_request();
  int decrypt();
  boost::asio::awaitable<KeOutcome> answer(nts::KeDecision decision);
  bool export_keys(const nts::KeAgreement& agreement, nts::AssociationKeys& keys);
  KeOutcome gone() const { return time_up_ ? KeOutcome::kDeadline : KeOutcome::kClosedEarly; }

  KeWorker& worker_;
  KeLease lease_;  // outlives the socket: a free place has a free descriptor
  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer timer_;
  const OpenSsl<SSL, SSL_free> ssl_;
  BIO* received_;  // ciphertext, owned by ssl_
  BIO* to_send_;
  std::size_t received_octets_ = 0;  // ciphertext
  const net::IpAddress peer_;
  const std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  KeSeniority seniority_;
  bool time_up_ = false;
  bool evicted_ = false;
  bool parting_ = false;  // our last words are sent, and the client should get to read them
  std::vector<std::uint8_t> request_;
  std::array<std::uint8_t, 2048> arrived_;
};

}  // namespace timeball::server
