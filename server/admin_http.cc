#include "server/admin_http.h"

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <cstring>
#include <string>
#include <string_view>

#include "common/base/log.h"
#include "common/net/asio_endpoint.h"

namespace timeball::server {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

namespace {

using Response = http::response<http::string_body>;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds kAcceptPause(100);

Response text_response(http::status status, std::string body) {
  Response response(status, 11);
  response.set(http::field::content_type, "text/plain; charset=utf-8");
  response.body() = std::move(body);
  return response;
}

Response metrics_response(const AdminHttp::Collectables& collectables) {
  std::vector<prometheus::MetricFamily> families;
  for (const auto& collectable : collectables) {
    auto more = collectable->Collect();
    families.insert(families.end(), std::make_move_iterator(more.begin()),
                    std::make_move_iterator(more.end()));
  }
  Response response =
      text_response(http::status::ok, prometheus::TextSerializer().Serialize(families));
  response.set(http::field::content_type, "text/plain; version=0.0.4; charset=utf-8");
  return response;
}

Response answer(const http::request_header<>& request, const AdminHttp::Collectables& metrics) {
  if (request.method() != http::verb::get) {
    Response response =
        text_response(http::status::method_not_allowed, "only GET is served here\n");
    response.set(http::field::allow, "GET");
    return response;
  }
  const std::string_view target(request.target().data(), request.target().size());
  const std::string_view path = target.substr(0, target.find('?'));
  if (path == "/metrics") return metrics_response(metrics);
  if (path == "/healthz") return text_response(http::status::ok, "ok\n");
  return text_response(http::status::not_found, "not found; here are /metrics and /healthz\n");
}

Response refusal(beast::error_code error) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return text_response(http::status::request_header_fields_too_large, "header too long\n");
  }
  return text_response(http::status::bad_request, "not an HTTP request\n");
}

// Whether the client sent something that is not HTTP, as opposed to nothing more.
bool is_malformed(beast::error_code error) {
  return error.category() == http::make_error_code(http::error::bad_method).category() &&
         error != http::error::end_of_stream && error != http::error::partial_message;
}

}  // namespace

struct AdminHttp::Impl {
  Impl(asio::io_context& context, Collectables collectables, const Limits& chosen)
      : acceptor(context), pause(context), metrics(std::move(collectables)), limits(chosen) {}

  tcp::acceptor acceptor;
  asio::steady_timer pause;
  Collectables metrics;
  Limits limits;
  unsigned connections = 0;
  LogLimiter accept_log;

  void log_accept_error(const beast::error_code& error) {
    if (!accept_log.admit(std::chrono::steady_clock::now().time_since_epoch())) return;
    spdlog::warn("admin.listen: cannot accept a connection: {}; trying again",
                 std::strerror(error.value()));
  }
};

namespace {

template <class Impl>
asio::awaitable<void> serve(std::shared_ptr<Impl> server, tcp::socket socket) {
  beast::tcp_stream stream(std::move(socket));
  stream.expires_after(server->limits.deadline);  // over everything below
  beast::flat_buffer buffer(server->limits.header_octets);
  http::request_parser<http::empty_body> parser;
  parser.header_limit(server->limits.header_octets);

  const auto [error, unused] = co_await http::async_read_header(stream, buffer, parser, kAwait);
  if (error && !is_malformed(error)) co_return;
  Response response = error ? refusal(error) : answer(parser.get(), server->metrics);
  response.keep_alive(false);
  response.prepare_payload();
  const auto [failed, sent] = co_await http::async_write(stream, response, kAwait);
  if (failed) co_return;

  // Closing with octets unread would reset the connection and lose the response.
  beast::error_code ignored;
  stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
  for (char waste[1024];;) {
    const auto [end, count] = co_await stream.async_read_some(asio::buffer(waste), kAwait);
    if (end) co_return;
  }
}

template <class Impl>
asio::awaitable<void> accept_all(std::shared_ptr<Impl> server) {
  for (;;) {
    auto [error, socket] = co_await server->acceptor.async_accept(kAwait);
    if (!server->acceptor.is_open()) co_return;
    if (error) {
      server->log_accept_error(error);
      server->pause.expires_after(kAcceptPause);
      co_await server->pause.async_wait(kAwait);
      continue;
    }
    if (server->connections >= server->limits.connections) continue;
    ++server->connections;
    asio::co_spawn(server->acceptor.get_executor(), serve(server, std::move(socket)),
                   [server](const std::exception_ptr&) { --server->connections; });
  }
}

}  // namespace

Result<AdminHttp> AdminHttp::open(asio::io_context& context, const net::Endpoint& local,
                                  Collectables metrics, const Limits& limits) {
  auto impl = std::make_shared<Impl>(context, std::move(metrics), limits);
  const tcp::endpoint endpoint = to_asio(local);
  beast::error_code error;
  tcp::acceptor& acceptor = impl->acceptor;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error && local.family() == AF_INET6) acceptor.set_option(asio::ip::v6_only(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    return fail("admin.listen: cannot listen on " + local.to_string() + ": " + error.message() +
                "; stop what uses the address, or choose another");
  }
  asio::co_spawn(context, accept_all(impl), [](const std::exception_ptr&) {});
  return AdminHttp(std::move(impl));
}

AdminHttp::AdminHttp(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
AdminHttp::AdminHttp(AdminHttp&&) noexcept = default;

AdminHttp::~AdminHttp() {
  if (!impl_) return;
  beast::error_code ignored;
  impl_->acceptor.close(ignored);
  impl_->pause.cancel();
}

net::Endpoint AdminHttp::local() const {
  beast::error_code ignored;
  const tcp::endpoint endpoint = impl_->acceptor.local_endpoint(ignored);
  return net::Endpoint::from_sockaddr(endpoint.data());
}

}  // namespace timeball::server
