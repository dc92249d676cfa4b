#include "server/etcd_client.h"

#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <spdlog/fmt/fmt.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <charconv>
#include <new>
#include <optional>
#include <utility>

#include "common/base/printable.h"
#include "server/http_stream.h"

namespace timeball::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace json = boost::json;
using asio::awaitable;
using asio::ip::tcp;
using beast::error_code;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kMaxAnswer = 4 << 20;
// A watch is made anew after this: its connection may have died in silence.
constexpr auto kWatchLife = std::chrono::minutes(5);
// gRPC's UNAUTHENTICATED: the token has run out.
constexpr std::int64_t kUnauthenticated = 16;

using Request = http::request<http::string_body>;
using Parser = http::response_parser<http::string_body>;

// "HOST:PORT", "[ADDRESS]:PORT".
struct Place {
  explicit Place(const std::string& text) {
    const std::size_t colon = text.rfind(':');
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
  }
  std::string host;
  std::string port;
};

// Throws std::bad_alloc.
OpenSsl<SSL, SSL_free> new_session(asio::ssl::context& tls) {
  OpenSsl<SSL, SSL_free> session(SSL_new(tls.native_handle()));
  if (!session) throw std::bad_alloc();
  return session;
}

// Whose certificate it must be.
void expect(SSL* session, const std::string& host) {
  error_code number;
  asio::ip::make_address(host, number);
  if (!number) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session), host.c_str());
  } else {
    SSL_set_tlsext_host_name(session, host.c_str());
    SSL_set1_host(session, host.c_str());
  }
}

awaitable<error_code> connect(HttpStream& stream, const Place& place) {
  tcp::resolver resolver(stream.tcp().get_executor());
  const auto [unknown, found] = co_await resolver.async_resolve(place.host, place.port, kAwait);
  if (unknown) co_return unknown;
  const auto [unreachable, where] = co_await stream.tcp().async_connect(found, kAwait);
  if (unreachable) co_return unreachable;
  error_code ignored;
  stream.tcp().socket().set_option(tcp::no_delay(true), ignored);
  if (SSL* const session = stream.session()) expect(session, place.host);
  co_return co_await stream.handshake(asio::ssl::stream_base::client);
}

Result<json::object> parse_answer(const http::response<http::string_body>& response) {
  error_code error;
  const json::value value = json::parse(response.body(), error);
  if (error || !value.is_object()) {
    constexpr std::size_t kLongest = 200;
    return fail(fmt::format("answered {}: {}", response.result_int(),
                            printable(std::string_view(response.body()).substr(0, kLongest))));
  }
  return value.get_object();
}

std::string message_of(const json::object& refusal) {
  for (const char* key : {"message", "error"}) {
    const auto* text = refusal.if_contains(key);
    if (text != nullptr && text->is_string()) return std::string(text->get_string());
  }
  return json::serialize(refusal);
}

Result<void> set_up_tls(asio::ssl::context& tls, const EtcdConfig& config) {
  error_code error;
  tls.set_verify_mode(asio::ssl::verify_peer, error);
  SSL_CTX_set_min_proto_version(tls.native_handle(), TLS1_2_VERSION);
  tls.load_verify_file(config.ca, error);
  if (error) return fail("etcd.ca " + config.ca + ": " + error.message());
  if (config.certificate.empty()) return {};
  tls.use_certificate_chain_file(config.certificate, error);
  if (error) return fail("etcd.certificate " + config.certificate + ": " + error.message());
  tls.use_private_key_file(config.private_key, asio::ssl::context::pem, error);
  if (error) return fail("etcd.private_key " + config.private_key + ": " + error.message());
  return {};
}

}  // namespace

std::string base64(std::string_view octets) {
  std::string text(4 * ((octets.size() + 2) / 3) + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(octets.data()),
                                     static_cast<int>(octets.size()));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0 || text.size() > kMaxAnswer) return std::nullopt;
  std::string octets(text.size() / 4 * 3, '\0');
  const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(octets.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
  if (length < 0) return std::nullopt;
  // OpenSSL counts the padding's octets too.
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  octets.resize(static_cast<std::size_t>(length) - padding);
  return octets;
}

std::int64_t etcd_number(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) return 0;
  const auto& text = value->get_string();
  std::int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

struct EtcdClient::Impl {
  Impl(asio::io_context& c, const EtcdConfig& g, std::string p)
      : context(c), config(g), password(std::move(p)) {
    for (const std::string& endpoint : config.endpoints) places.emplace_back(endpoint);
  }

  // With TLS, or without.
  void renew(std::optional<HttpStream>& stream) {
    stream.emplace(beast::tcp_stream(context), config.ca.empty() ? nullptr : new_session(tls));
  }
  const std::string& endpoint() const { return config.endpoints[at]; }

  Request request_of(std::string_view path, const json::object& body) const {
    Request request(http::verb::post, {path.data(), path.size()}, 11);
    request.set(http::field::host, endpoint());
    request.set(http::field::content_type, "application/json");
    if (!token.empty()) request.set(http::field::authorization, token);
    request.body() = json::serialize(body);
    request.prepare_payload();
    return request;
  }

  Request watch_request(std::string_view key) const {
    const json::object create{{"key", base64(key)}};
    return request_of("/v3/watch", {{"create_request", create}});
  }

  // On the endpoint at hand.
  awaitable<Result<json::object>> exchange(std::string_view path, const json::object& body) {
    const auto failed = [this](const error_code& error) {
      connection.reset();
      return fail(endpoint() + ": " + error.message());
    };
    const bool fresh = !connection;
    if (fresh) renew(connection);
    connection->tcp().expires_after(kDeadline);
    if (fresh) {
      if (const error_code error = co_await connect(*connection, places[at]))
        co_return failed(error);
    }
    const std::string request = octets_of(request_of(path, body));
    if (const error_code error = co_await connection->write(request)) co_return failed(error);
    Parser parser;
    parser.body_limit(kMaxAnswer);
    while (!parser.is_done()) {
      if (const error_code error = co_await connection->read_some(parser)) co_return failed(error);
    }
    connection->tcp().expires_never();
    const auto& response = parser.get();
    auto answer = parse_answer(response);
    const bool good = answer && response.result() == http::status::ok;
    if (!response.keep_alive() || !good) connection.reset();
    if (!answer) co_return fail(endpoint() + ": " + answer.error().message);
    if (good) co_return answer;
    const auto* code = answer->if_contains("code");
    if (code != nullptr && code->is_int64() && code->get_int64() == kUnauthenticated) token.clear();
    co_return fail(endpoint() + ": " + message_of(*answer));
  }

  awaitable<Result<void>> authenticate() {
    const json::object who{{"name", config.user}, {"password", password}};
    const auto answer = co_await exchange("/v3/auth/authenticate", who);
    if (!answer) co_return tl::unexpected(answer.error());
    const auto* given = answer->if_contains("token");
    if (given == nullptr || !given->is_string()) co_return fail(endpoint() + ": gave no token");
    token = given->get_string();
    co_return Result<void>();
  }

  awaitable<Result<json::object>> try_once(std::string_view path, const json::object& body) {
    if (!config.user.empty() && token.empty()) {
      const auto done = co_await authenticate();
      if (!done) co_return tl::unexpected(done.error());
    }
    co_return co_await exchange(path, body);
  }

  awaitable<Error> watch(std::string_view key, const std::function<void()>& told) {
    renew(watching);
    const auto failed = [this](const error_code& error) {
      return Error{endpoint() + ": " + error.message()};
    };
    watching->tcp().expires_after(kDeadline);
    if (const error_code error = co_await connect(*watching, places[at])) co_return failed(error);
    const std::string request = octets_of(watch_request(key));
    if (const error_code error = co_await watching->write(request)) co_return failed(error);
    watching->tcp().expires_after(kWatchLife);
    Parser parser;
    parser.body_limit(boost::none);
    while (!parser.is_done()) {
      if (const error_code error = co_await watching->read_some(parser)) co_return failed(error);
      if (parser.get().body().empty()) continue;
      // What it says is read where it lies.
      parser.get().body().clear();
      told();
    }
    co_return Error{endpoint() + ": ended the watch"};
  }

  asio::io_context& context;
  const EtcdConfig config;
  const std::string password;
  asio::ssl::context tls{asio::ssl::context::tls_client};
  std::vector<Place> places;
  std::size_t at = 0;  // the endpoint that answered last
  std::string token;
  std::optional<HttpStream> connection;
  std::optional<HttpStream> watching;
};

Result<std::unique_ptr<EtcdClient>> EtcdClient::make(asio::io_context& context,
                                                     const EtcdConfig& config,
                                                     std::string password) {
  auto impl = std::make_unique<Impl>(context, config, std::move(password));
  if (!config.ca.empty()) {
    if (auto done = set_up_tls(impl->tls, config); !done) return tl::unexpected(done.error());
  }
  return std::unique_ptr<EtcdClient>(new EtcdClient(std::move(impl)));
}

EtcdClient::EtcdClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EtcdClient::~EtcdClient() = default;

awaitable<Result<json::object>> EtcdClient::call(std::string_view path, json::object request) {
  Result<json::object> answer = fail("etcd.endpoints is empty");
  // Once more where the connection was an old one, which may have been closed, or a token ran out.
  bool again = impl_->connection || !impl_->token.empty();
  for (std::size_t tried = 0; tried < impl_->places.size();) {
    answer = co_await impl_->try_once(path, request);
    if (answer) co_return answer;
    if (std::exchange(again, false)) continue;
    impl_->at = (impl_->at + 1) % impl_->places.size();
    ++tried;
  }
  co_return answer;
}

awaitable<Error> EtcdClient::watch(std::string_view key, std::function<void()> told) {
  Error error = co_await impl_->watch(key, told);
  impl_->watching.reset();
  co_return error;
}

}  // namespace timeball::server
