#include "server/http_stream.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/read_size.hpp>
#include <boost/beast/http/error.hpp>
#include <utility>
#include <variant>

namespace timeball::server {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::awaitable;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kMaxRead = 65'536;

using TlsStream = asio::ssl::stream<beast::tcp_stream>;
using AnyStream = std::variant<beast::tcp_stream, TlsStream>;

AnyStream stream_over(beast::tcp_stream tcp, OpenSsl<SSL, SSL_free> session) {
  if (!session) return tcp;
  return TlsStream(std::move(tcp), session.release());
}

}  // namespace

struct HttpStream::Impl {
  awaitable<std::pair<ErrorCode, std::size_t>> read(asio::mutable_buffer into) {
    if (auto* tls = std::get_if<TlsStream>(&stream)) {
      const auto [error, count] = co_await tls->async_read_some(into, kAwait);
      co_return std::pair(error, count);
    }
    const auto [error, count] =
        co_await std::get<beast::tcp_stream>(stream).async_read_some(into, kAwait);
    co_return std::pair(error, count);
  }

  AnyStream stream;
  beast::flat_buffer buffer;
};

HttpStream::HttpStream(beast::tcp_stream tcp, OpenSsl<SSL, SSL_free> session, std::size_t buffer)
    : impl_(new Impl{stream_over(std::move(tcp), std::move(session)), beast::flat_buffer(buffer)}) {
}
HttpStream::~HttpStream() = default;

beast::tcp_stream& HttpStream::tcp() {
  auto* tls = std::get_if<TlsStream>(&impl_->stream);
  return tls != nullptr ? tls->next_layer() : std::get<beast::tcp_stream>(impl_->stream);
}

SSL* HttpStream::session() {
  auto* tls = std::get_if<TlsStream>(&impl_->stream);
  return tls != nullptr ? tls->native_handle() : nullptr;
}

awaitable<HttpStream::ErrorCode> HttpStream::handshake(
    asio::ssl::stream_base::handshake_type side) {
  auto* tls = std::get_if<TlsStream>(&impl_->stream);
  if (tls == nullptr) co_return ErrorCode();
  const auto [error] = co_await tls->async_handshake(side, kAwait);
  co_return error;
}

awaitable<HttpStream::ErrorCode> HttpStream::write(std::string_view octets) {
  const asio::const_buffer buffer(octets.data(), octets.size());
  if (auto* tls = std::get_if<TlsStream>(&impl_->stream)) {
    co_return std::get<0>(co_await asio::async_write(*tls, buffer, kAwait));
  }
  co_return std::get<0>(
      co_await asio::async_write(std::get<beast::tcp_stream>(impl_->stream), buffer, kAwait));
}

template <bool kIsRequest>
awaitable<HttpStream::ErrorCode> HttpStream::read_some(http::basic_parser<kIsRequest>& parser) {
  beast::flat_buffer& buffer = impl_->buffer;
  for (;;) {
    ErrorCode error;
    if (buffer.size() != 0) {
      buffer.consume(parser.put(buffer.data(), error));
      if (error != http::error::need_more) co_return error;
    }
    const std::size_t room = beast::read_size(buffer, kMaxRead);
    if (room == 0) co_return http::error::buffer_overflow;
    const auto [failed, count] = co_await impl_->read(buffer.prepare(room));
    buffer.commit(count);
    if (failed == asio::error::eof) {
      if (!parser.got_some()) co_return http::error::end_of_stream;
      error = {};
      parser.put_eof(error);
      co_return error;
    }
    if (failed) co_return failed;
  }
}
template awaitable<HttpStream::ErrorCode> HttpStream::read_some(http::basic_parser<true>&);
template awaitable<HttpStream::ErrorCode> HttpStream::read_some(http::basic_parser<false>&);

awaitable<void> HttpStream::close() {
  if (auto* tls = std::get_if<TlsStream>(&impl_->stream)) {
    (void)co_await tls->async_shutdown(kAwait);  // reads until the peer's end
    co_return;
  }
  ErrorCode error;
  tcp().socket().shutdown(asio::socket_base::shutdown_send, error);
  for (char waste[1024]; !error;) {
    error = (co_await impl_->read(asio::buffer(waste))).first;
  }
}

}  // namespace timeball::server
