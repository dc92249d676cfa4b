#include "server/admin_http.h"

#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstring>
#include <utility>

#include "common/base/log.h"
#include "common/net/asio_endpoint.h"
#include "server/http_stream.h"

namespace timeball::server {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

namespace {

using Response = http::response<http::string_body>;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds kAcceptPause(100);
// The kernel keeps no more than this of what a client does not read.
constexpr int kStreamBuffer = 32'768;
constexpr const char* kText = "text/plain; charset=utf-8";

constexpr const char* kContentSecurityPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

void harden(http::fields& header) {
  header.set("Content-Security-Policy", kContentSecurityPolicy);
  header.set("X-Content-Type-Options", "nosniff");
  header.set("Referrer-Policy", "no-referrer");
  header.set(http::field::cache_control, "no-store");
}

Response make_response(HttpReply reply, const std::string& content_type) {
  Response response(static_cast<http::status>(reply.status), 11);
  response.set(http::field::content_type, content_type);
  response.body() = std::move(reply.body);
  return response;
}

Response text_response(http::status status, std::string body) {
  return make_response({static_cast<unsigned>(status), std::move(body)}, kText);
}

std::string_view path_of(const http::request_header<>& request) {
  const std::string_view target(request.target().data(), request.target().size());
  return target.substr(0, target.find('?'));
}

Response method_refusal() {
  Response response = text_response(http::status::method_not_allowed, "only GET is served here\n");
  response.set(http::field::allow, "GET");
  return response;
}

Response name_refusal() {
  return text_response(http::status::misdirected_request,
                       "not known here by that name: ask for it by its address, by localhost or by "
                       "this machine's name, or add the name to admin.names\n");
}

Response token_refusal() {
  Response response =
      text_response(http::status::unauthorized,
                    "this takes the token of admin.token_file: as the password, with any name, or "
                    "as Authorization: Bearer TOKEN\n");
  response.set(http::field::www_authenticate, "Basic realm=\"timeball\"");
  return response;
}

Response answer(const http::request_header<>& request, const HttpRoutes& routes) {
  const auto route = routes.find(path_of(request));
  if (route != routes.end()) return make_response(route->second.make(), route->second.content_type);
  std::string known;
  for (const auto& [path, unused] : routes) known += (known.empty() ? "" : ", ") + path;
  return text_response(http::status::not_found, "not found; here are " + known + '\n');
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

// One of a limited number, given back at the end.
class Place {
 public:
  explicit Place(unsigned& taken) : taken_(&taken) { ++taken; }
  Place(Place&& other) noexcept : taken_(std::exchange(other.taken_, nullptr)) {}
  Place& operator=(Place&& other) noexcept {
    std::swap(taken_, other.taken_);
    return *this;
  }
  ~Place() {
    if (taken_ != nullptr) --*taken_;
  }

 private:
  unsigned* taken_;
};

}  // namespace

struct AdminHttp::Impl {
  Impl(asio::io_context& context, HttpRoutes chosen_routes, Options chosen)
      : acceptor(context),
        pause(context),
        event_came(context, asio::steady_timer::time_point::max()),
        routes(std::move(chosen_routes)),
        limits(chosen.limits),
        token(std::move(chosen.token)),
        names(std::move(chosen.names)),
        tls(chosen.tls) {}

  bool is_open(const http::request_header<>& request) const {
    const auto route = routes.find(path_of(request));
    return route != routes.end() && route->second.open;
  }
  // Why whoever asks may not have the answer.
  std::optional<Response> objection(const http::request_header<>& request) const {
    if (request.method() != http::verb::get) return method_refusal();
    if (is_open(request)) return std::nullopt;
    const auto host = request[http::field::host];
    if (names && !names->has({host.data(), host.size()})) return name_refusal();
    const auto shown = request[http::field::authorization];
    if (token && !token->admits({shown.data(), shown.size()})) return token_refusal();
    return std::nullopt;
  }

  tcp::acceptor acceptor;
  asio::steady_timer pause;
  asio::steady_timer event_came;  // never expires: cancelled
  HttpRoutes routes;
  const Limits limits;
  const std::optional<AdminToken> token;
  const std::optional<AdminNames> names;
  const Published<TlsContext>* const tls;
  unsigned connections = 0;
  unsigned streams = 0;
  std::shared_ptr<const std::string> event;  // the newest
  std::uint64_t events = 0;                  // so far
  LogLimiter accept_log;

  void log_accept_error(const beast::error_code& error) {
    if (!accept_log.admit(std::chrono::steady_clock::now().time_since_epoch())) return;
    spdlog::warn("admin.listen: cannot accept a connection: {}; trying again",
                 std::strerror(error.value()));
  }
};

namespace {

template <class Impl>
asio::awaitable<void> send_events(std::shared_ptr<Impl> server, HttpStream& stream) {
  std::uint64_t seen = server->events;  // whoever has read the head gets all that comes then
  beast::error_code ignored;
  tcp::socket& socket = stream.tcp().socket();
  socket.set_option(asio::socket_base::send_buffer_size(kStreamBuffer), ignored);
  socket.set_option(asio::socket_base::linger(true, 0), ignored);  // nothing once it is dropped
  http::response<http::empty_body> head(http::status::ok, 11);
  head.set(http::field::content_type, "text/event-stream");
  head.keep_alive(false);  // the body ends with the connection
  harden(head);
  const std::string start = octets_of(head.base());
  if (co_await stream.write(start)) co_return;
  while (server->acceptor.is_open()) {
    if (seen == server->events) {
      stream.tcp().expires_never();
      co_await server->event_came.async_wait(kAwait);
      continue;
    }
    seen = server->events;
    const std::shared_ptr<const std::string> event = server->event;
    stream.tcp().expires_after(server->limits.deadline);
    if (co_await stream.write(*event)) co_return;
  }
}

template <class Impl>
asio::awaitable<void> serve(std::shared_ptr<Impl> server, HttpStream& stream, Place place) {
  http::request_parser<http::empty_body> parser;
  parser.header_limit(server->limits.header_octets);

  beast::error_code error;
  while (!error && !parser.is_header_done()) error = co_await stream.read_some(parser);
  if (error && !is_malformed(error)) co_return;
  Response response;
  if (error) {
    response = refusal(error);
  } else if (auto objection = server->objection(parser.get())) {
    response = std::move(*objection);
  } else if (path_of(parser.get()) != AdminHttp::kEventsPath) {
    response = answer(parser.get(), server->routes);
  } else if (server->streams < server->limits.streams) {
    place = Place(server->streams);
    co_return co_await send_events(server, stream);
  } else {
    response = text_response(http::status::service_unavailable, "too many streams of events\n");
  }
  harden(response);
  response.keep_alive(false);
  response.prepare_payload();
  const std::string octets = octets_of(response);
  if (!co_await stream.write(octets)) co_await stream.close();
}

template <class Impl>
asio::awaitable<void> serve_socket(std::shared_ptr<Impl> server, tcp::socket socket, Place place) {
  OpenSsl<SSL, SSL_free> session;
  if (server->tls != nullptr) {
    session = server->tls->current()->new_session();
    if (!session) co_return;  // no memory
  }
  HttpStream stream(beast::tcp_stream(std::move(socket)), std::move(session),
                    server->limits.header_octets);
  // Over everything, but for a stream of events.
  stream.tcp().expires_after(server->limits.deadline);
  if (co_await stream.handshake(asio::ssl::stream_base::server)) co_return;
  co_await serve(server, stream, std::move(place));
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
    asio::co_spawn(server->acceptor.get_executor(),
                   serve_socket(server, std::move(socket), Place(server->connections)),
                   [server](const std::exception_ptr&) {});
  }
}

}  // namespace

Result<AdminHttp> AdminHttp::open(asio::io_context& context, const net::Endpoint& local,
                                  HttpRoutes routes, Options options) {
  auto impl = std::make_shared<Impl>(context, std::move(routes), std::move(options));
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
  impl_->event_came.cancel();
}

unsigned AdminHttp::streams() const {
  return impl_->streams;
}

void AdminHttp::publish(std::string_view event, std::string_view data) {
  impl_->event = std::make_shared<const std::string>("event: " + std::string(event) +
                                                     "\ndata: " + std::string(data) + "\n\n");
  ++impl_->events;
  impl_->event_came.cancel();
}

net::Endpoint AdminHttp::local() const {
  beast::error_code ignored;
  const tcp::endpoint endpoint = impl_->acceptor.local_endpoint(ignored);
  return net::Endpoint::from_sockaddr(endpoint.data());
}

}  // namespace timeball::server
