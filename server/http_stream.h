// HTTP/1.1 over TCP, inside TLS or not: what the server of the administration and the client of
// etcd have in common. Compiled once: Asio and Beast are instantiated in its .cc file alone.
//
// Thread rules: all of it on the thread that runs the stream's io_context. A stream must outlive
// the coroutines that are under way on it.
#pragma once

#include <openssl/ssl.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ssl/stream_base.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/write.hpp>
#include <limits>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/openssl_handle.h"

namespace timeball::server {

// A message, or a header alone, as it goes over the wire.
template <class Message>
std::string octets_of(const Message& message) {
  std::ostringstream out;
  out << message;
  return std::move(out).str();
}

class HttpStream {
 public:
  using ErrorCode = boost::beast::error_code;

  // Without a session all passes in clear text. `buffer` octets of what the peer sent may wait to
  // be parsed.
  HttpStream(boost::beast::tcp_stream tcp, OpenSsl<SSL, SSL_free> session,
             std::size_t buffer = std::numeric_limits<std::size_t>::max());
  ~HttpStream();

  // For connecting, socket options and the deadline, which is over all that is done here.
  boost::beast::tcp_stream& tcp();
  // Null: clear text.
  SSL* session();
  // TLS's; done at once where there is none.
  boost::asio::awaitable<ErrorCode> handshake(boost::asio::ssl::stream_base::handshake_type side);
  // All of the octets.
  boost::asio::awaitable<ErrorCode> write(std::string_view octets);
  // The header, or some more of the body: the parser tells what it has. Errors: the parser's and
  // the transport's; buffer_overflow where a part does not fit; end_of_stream where the peer ended
  // before it sent anything.
  template <bool kIsRequest>
  boost::asio::awaitable<ErrorCode> read_some(boost::beast::http::basic_parser<kIsRequest>& parser);
  // Says that nothing more will come, and reads until the peer has ended too: closing with octets
  // unread would reset the connection and lose what was written.
  boost::asio::awaitable<void> close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace timeball::server
