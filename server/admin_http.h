// The administrator's window: a small HTTP/1.1 server.
//
//   GET /metrics   Prometheus text format, collected while the client waits
//   GET /healthz   "ok": the control thread is alive
//   anything else  404; other methods 405; a header over the limit 431; what is not HTTP 400
//
// One request per connection (Connection: close), one deadline over all of it, a limit on open
// connections (those over it are closed at once). Errors of accept() are logged and survived.
// Thread rules: everything runs on the caller's io_context, run by one thread; construct and
// destroy there, or while it does not run.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "common/base/error.h"
#include "common/net/address.h"

namespace boost::asio {
class io_context;
}
namespace prometheus {
class Collectable;
}

namespace timeball::server {

class AdminHttp {
 public:
  struct Limits {
    unsigned connections = 32;
    std::uint32_t header_octets = 8192;
    std::chrono::milliseconds deadline{5000};
  };
  using Collectables = std::vector<std::shared_ptr<prometheus::Collectable>>;

  // Binds and begins to accept when the context runs. The error says which address and why. The
  // context must outlive the server.
  static Result<AdminHttp> open(boost::asio::io_context& context, const net::Endpoint& local,
                                Collectables metrics, const Limits& limits);
  static Result<AdminHttp> open(boost::asio::io_context& context, const net::Endpoint& local,
                                Collectables metrics) {
    return open(context, local, std::move(metrics), Limits{});
  }
  // Stops accepting; what has begun ends by its deadline at the latest.
  ~AdminHttp();
  AdminHttp(AdminHttp&&) noexcept;

  // Where it listens; port 0 has become the kernel's choice.
  net::Endpoint local() const;

 private:
  struct Impl;
  explicit AdminHttp(std::shared_ptr<Impl> impl);

  std::shared_ptr<Impl> impl_;  // shared with the connections
};

}  // namespace timeball::server
