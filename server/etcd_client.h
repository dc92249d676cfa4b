// Requests to etcd: its v3 API by the JSON gateway, over HTTP/1.1 or HTTPS.
//
// One request at a time, on one connection that stays open. An endpoint that does not answer in
// time, or cannot, is left for the next one. With a name and a password it asks for a token, and
// again when that has run out.
//
// Thread rules: all of it on the thread that runs the io_context. A client must not be destroyed
// while one of its coroutines is under way and the context still runs.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/error.h"
#include "server/config.h"

namespace timeball::server {

// The gateway writes octets in Base64 and 64-bit numbers as text.
std::string base64(std::string_view octets);
// Nothing: it is no Base64.
std::optional<std::string> from_base64(std::string_view text);
// 0 where there is none.
std::int64_t etcd_number(const boost::json::object& object, std::string_view key);

class EtcdClient {
 public:
  // Errors: files of the TLS configuration that cannot be read, or do not belong together.
  static Result<std::unique_ptr<EtcdClient>> make(boost::asio::io_context& context,
                                                  const EtcdConfig& config, std::string password);
  ~EtcdClient();

  // POST to path, such as "/v3/kv/txn". The error names the endpoint.
  boost::asio::awaitable<Result<boost::json::object>> call(std::string_view path,
                                                           boost::json::object request);
  // Until something goes wrong, which it returns: calls `told` whenever something is told of
  // `key`. On a connection of its own, to the endpoint that answers calls.
  boost::asio::awaitable<Error> watch(std::string_view key, std::function<void()> told);

  // Over all that a call takes on one endpoint.
  static constexpr std::chrono::milliseconds kDeadline{1500};

 private:
  struct Impl;
  explicit EtcdClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace timeball::server
