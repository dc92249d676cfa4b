#include "server/http_stream.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/system/system_error.hpp>
#include <string>

namespace timeball::server {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using Parser = http::response_parser<http::string_body>;

// Both ends of a connection; what the peer sent lies in the kernel when the stream reads.
class Connection {
 public:
  Connection() : stream_(accepted(), nullptr) {}
  explicit Connection(std::size_t buffer) : stream_(accepted(), nullptr, buffer) {}

  void peer_sends(std::string_view octets) {
    boost::system::error_code error;
    EXPECT_EQ(peer_.send(asio::buffer(octets), 0, error), octets.size()) << error.message();
  }
  void peer_ends() { peer_.shutdown(tcp::socket::shutdown_send); }
  std::string peer_receives() {
    std::string out;
    boost::system::error_code error;
    for (char part[512]; !error;) out.append(part, peer_.receive(asio::buffer(part), 0, error));
    return out;
  }

  HttpStream::ErrorCode read(Parser& parser) {
    return run([](HttpStream& stream, Parser& into) -> asio::awaitable<HttpStream::ErrorCode> {
      HttpStream::ErrorCode error;
      while (!error && !into.is_done()) error = co_await stream.read_some(into);
      co_return error;
    }(stream_, parser));
  }
  HttpStream::ErrorCode write_and_close(std::string_view octets) {
    return run(
        [](HttpStream& stream, std::string_view text) -> asio::awaitable<HttpStream::ErrorCode> {
          const auto error = co_await stream.write(text);
          co_await stream.close();
          co_return error;
        }(stream_, octets));
  }

 private:
  boost::beast::tcp_stream accepted() {
    tcp::acceptor acceptor(context_, {asio::ip::address_v4::loopback(), 0});
    peer_.connect(acceptor.local_endpoint());
    return boost::beast::tcp_stream(acceptor.accept());
  }
  HttpStream::ErrorCode run(asio::awaitable<HttpStream::ErrorCode> task) {
    HttpStream::ErrorCode result;
    stream_.tcp().expires_after(std::chrono::seconds(20));
    asio::co_spawn(
        context_, std::move(task),
        [&result](const std::exception_ptr&, HttpStream::ErrorCode error) { result = error; });
    context_.restart();
    context_.run();
    return result;
  }

  asio::io_context context_;
  tcp::socket peer_{context_};
  HttpStream stream_;
};

TEST(HttpStream, WhatFollowsAMessageWaitsForTheNextParser) {
  Connection connection;
  connection.peer_sends(
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\noneHTTP/1.1 404 Not Found\r\n");
  connection.peer_sends("Transfer-Encoding: chunked\r\n\r\n2\r\ntw\r\n1\r\no\r\n0\r\n\r\n");
  Parser first;
  EXPECT_FALSE(connection.read(first));
  EXPECT_EQ(first.get().body(), "one");
  Parser second;
  EXPECT_FALSE(connection.read(second));
  EXPECT_EQ(second.get().result_int(), 404U);
  EXPECT_EQ(second.get().body(), "two");
}

TEST(HttpStream, ABodyWithoutLengthEndsWithTheConnection) {
  Connection connection;
  connection.peer_sends("HTTP/1.1 200 OK\r\n\r\nall of it");
  connection.peer_ends();
  Parser parser;
  EXPECT_FALSE(connection.read(parser));
  EXPECT_EQ(parser.get().body(), "all of it");
}

TEST(HttpStream, EndsThatCutAMessageAreTold) {
  Connection silent;
  silent.peer_ends();
  Parser nothing;
  EXPECT_EQ(silent.read(nothing), http::error::end_of_stream);
  for (const char* start : {"HTTP/1.1 2", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfou"}) {
    Connection connection;
    connection.peer_sends(start);
    connection.peer_ends();
    Parser parser;
    EXPECT_EQ(connection.read(parser), http::error::partial_message) << start;
  }
}

TEST(HttpStream, WhatDoesNotFitTheBufferIsRefused) {
  Connection connection(16);
  connection.peer_sends("HTTP/1.1 200 A reason longer than that\r\n\r\n");
  Parser parser;
  EXPECT_EQ(connection.read(parser), http::error::buffer_overflow);
}

TEST(HttpStream, ClosingWithOctetsUnreadLosesNothingWritten) {
  Connection connection;
  connection.peer_sends("nobody reads this before the answer");
  connection.peer_ends();
  EXPECT_FALSE(connection.write_and_close("answer"));
  EXPECT_EQ(connection.peer_receives(), "answer");
}

}  // namespace
}  // namespace timeball::server
