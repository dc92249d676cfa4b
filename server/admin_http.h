// The administrator's window: a small HTTP/1.1 server, read only.
//
//   GET of a route   what its function says, made while the client waits
//   GET kEventsPath  server-sent events: each text that publish() is given, from then on
//   anything else    404; other methods 405; a header over the limit 431; what is not HTTP 400;
//                    by a name that is not one of ours 421 (server/admin_names.h)
//
// One request per connection (Connection: close), one deadline over all of it, a limit on open
// connections (those over it are closed at once). A stream of events has no deadline, but each
// write to it has: who does not read is dropped, and what came while he did not is left out. Of
// streams, too, there is a limit: 503. Errors of accept() are logged and survived.
//
// With a token all but routes that are open to everybody take it (server/admin_token.h): 401; and
// with names all but those must be asked for by one. With TLS contexts it speaks HTTPS only, each
// connection by the newest context.
//
// Every response forbids the browser to load, run or frame anything that is not from here, to keep
// it, and to guess what it is.
//
// Thread rules: everything runs on the caller's io_context, run by one thread; construct and
// destroy there, or while it does not run.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/error.h"
#include "common/base/published.h"
#include "common/net/address.h"
#include "server/admin_names.h"
#include "server/admin_token.h"
#include "server/tls_context.h"

namespace boost::asio {
class io_context;
}

namespace timeball::server {

struct HttpReply {
  unsigned status = 200;
  std::string body;
};

struct HttpRoute {
  std::string content_type;
  std::function<HttpReply()> make;
  bool open = false;  // to everybody, without a token and by any name
};
using HttpRoutes = std::map<std::string, HttpRoute, std::less<>>;  // by path

class AdminHttp {
 public:
  static constexpr std::string_view kEventsPath = "/api/v1/events";

  struct Limits {
    unsigned connections = 64;
    unsigned streams = 128;
    std::uint32_t header_octets = 8192;
    std::chrono::milliseconds deadline{5000};
  };

  struct Options {
    Limits limits;
    std::optional<AdminToken> token;
    std::optional<AdminNames> names;             // nothing: whatever it is called
    const Published<TlsContext>* tls = nullptr;  // must outlive the server; null: plain HTTP
  };

  // Binds and begins to accept when the context runs. The error says which address and why. The
  // context must outlive the server.
  static Result<AdminHttp> open(boost::asio::io_context& context, const net::Endpoint& local,
                                HttpRoutes routes, Options options);
  static Result<AdminHttp> open(boost::asio::io_context& context, const net::Endpoint& local,
                                HttpRoutes routes) {
    return open(context, local, std::move(routes), Options{});
  }
  // Stops accepting and ends the streams; what else has begun ends by its deadline at the latest.
  ~AdminHttp();
  AdminHttp(AdminHttp&&) noexcept;

  // Open streams of events.
  unsigned streams() const;
  // One event for all of them. `data`: one line.
  void publish(std::string_view event, std::string_view data);

  // Where it listens; port 0 has become the kernel's choice.
  net::Endpoint local() const;

 private:
  struct Impl;
  explicit AdminHttp(std::shared_ptr<Impl> impl);

  std::shared_ptr<Impl> impl_;  // shared with the connections
};

}  // namespace timeball::server
