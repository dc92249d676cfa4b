// One NTS-KE exchange as a client: TCP, TLS 1.3, request, response, farewell.
//
// Inside of the load generator's NTS-KE parts. One thread: that of the io_context.
#pragma once

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench/ke_client.h"
#include "common/base/openssl_handle.h"

namespace timeball::bench {

// How an exchange ended: rows of outcome_row().
enum class KeOutcome : std::uint8_t {
  kDone,
  kConnectRefused,
  kConnectFailed,
  kConnectTimeout,
  kTlsAlert,
  kTlsFailed,
  kCertificate,
  kNoAlpn,
  kClosed,
  kTimeout,
  kErrorUnrecognizedCritical,
  kErrorBadRequest,
  kErrorInternal,
  kErrorOther,
  kNoCommonProtocol,
  kNoCommonAead,
  kBadRecord,
  kLocal,
};
inline constexpr std::size_t kKeOutcomes = 18;
struct KeOutcomeRow {
  const char* name;
  const char* meaning;
};
const KeOutcomeRow& outcome_row(KeOutcome outcome);

enum class KeFarewell : std::uint8_t {
  kNotify,  // close_notify, then close
  kAbrupt,  // reset, without close_notify
  kKeep,    // leave it open until the server closes
};

// What all exchanges of one thread share.
class KeTls {
 public:
  static Result<std::unique_ptr<KeTls>> make(const KeClientOptions& options,
                                             const LoadTarget& target);

  OpenSsl<SSL, SSL_free> new_session() const;  // null when memory is short
  const KeClientOptions& options() const { return options_; }
  const std::vector<std::uint8_t>& request() const { return request_; }
  const boost::asio::ip::tcp::endpoint& server() const { return server_; }

 private:
  KeTls(const KeClientOptions& options, const LoadTarget& target);
  Result<void> set_up();

  const KeClientOptions options_;
  const std::string host_;  // without a zone
  const bool host_is_address_;
  const boost::asio::ip::tcp::endpoint server_;
  const std::vector<std::uint8_t> request_;
  OpenSsl<SSL_CTX, SSL_CTX_free> context_;
};

// Make it with std::make_shared: its timer holds on to it weakly.
class KeExchange : public std::enable_shared_from_this<KeExchange> {
 public:
  using Clock = std::chrono::steady_clock;

  // tls outlives it.
  KeExchange(boost::asio::io_context& context, const KeTls& tls);

  // Up to the response, checked. detail() says more of a failure.
  boost::asio::awaitable<KeOutcome> run();
  // After kDone.
  boost::asio::awaitable<void> part(KeFarewell how);
  // Instead of run(): a ClientHello at one octet a second, until the server closes. False when it
  // could not even connect.
  boost::asio::awaitable<bool> dribble();

  const std::string& detail() const { return detail_; }
  // After kDone.
  const nts::KeResponse& response() const { return response_; }
  bool export_keys(nts::AssociationKeys& keys) const;
  Duration handshake_time() const { return shaken_hands_ - begun_; }  // TCP and TLS

 private:
  enum class Arrival { kOctets, kEnd };

  void arm(Duration time);
  bool prepare();
  boost::asio::awaitable<KeOutcome> connect();
  boost::asio::awaitable<KeOutcome> shake_hands();
  boost::asio::awaitable<KeOutcome> exchange();
  boost::asio::awaitable<bool> fill();
  boost::asio::awaitable<bool> flush();
  KeOutcome tls_failure();
  KeOutcome cut_off();
  KeOutcome accept(Bytes message);

  const KeTls& tls_;
  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer timer_;
  const OpenSsl<SSL, SSL_free> ssl_;
  BIO* received_ = nullptr;  // ciphertext, owned by ssl_
  BIO* to_send_ = nullptr;
  const Clock::time_point begun_ = Clock::now();
  Clock::time_point shaken_hands_ = begun_;
  bool time_up_ = false;
  std::string detail_;
  nts::KeResponse response_;
  std::vector<std::uint8_t> message_;
  std::array<std::uint8_t, 4096> arrived_;
};

}  // namespace timeball::bench
