#include "server/admin_http.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "common/base/log.h"

namespace timeball::server {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

HttpRoutes two_routes() {
  HttpRoutes routes;
  routes["/healthz"] = {"text/plain; charset=utf-8", [] { return HttpReply{200, "ok\n"}; }, true};
  routes["/readyz"] = {"text/plain; charset=utf-8",
                       [] {
                         return HttpReply{503, "not yet\n"};
                       },
                       false};
  return routes;
}

// A client's end of one connection.
class Client {
 public:
  explicit Client(
      const net::Endpoint& server, const std::function<void()>& before_connect = [] {})
      : socket_(::socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval patience{10, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    sockaddr_storage address{};
    const socklen_t length = server.to_sockaddr(address);
    before_connect();
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), length) != 0) {
      ADD_FAILURE() << "connect: " << std::strerror(errno);
    }
  }
  ~Client() { ::close(socket_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Whether the server took it all.
  bool send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  // Everything up to the server's close; nothing when it reset the connection or stays silent.
  std::optional<std::string> receive_all() {
    std::string out;
    char part[4096];
    for (;;) {
      const ssize_t got = ::recv(socket_, part, sizeof part, 0);
      if (got < 0) return std::nullopt;
      if (got == 0) return out;
      out.append(part, static_cast<std::size_t>(got));
    }
  }
  // As much as is asked for, or what came before the server's close.
  std::string receive(std::size_t length) {
    std::string out(length, '\0');
    std::size_t have = 0;
    while (have < length) {
      const ssize_t got = ::recv(socket_, out.data() + have, length - have, 0);
      if (got <= 0) break;
      have += static_cast<std::size_t>(got);
    }
    out.resize(have);
    return out;
  }
  // Up to the end of the header.
  std::string receive_head() {
    std::string out;
    while (!out.ends_with("\r\n\r\n")) {
      const std::string octet = receive(1);
      if (octet.empty()) break;
      out += octet;
    }
    return out;
  }
  bool has_input() const {
    char octet = 0;
    return ::recv(socket_, &octet, 1, MSG_DONTWAIT | MSG_PEEK) > 0;
  }
  std::string ask(std::string_view request) {
    send(request);
    return receive_all().value_or("(reset)");
  }

 private:
  int socket_;
};

// An AdminHttp on a loopback port, its context run by a thread.
class Running {
 public:
  explicit Running(const AdminHttp::Limits& limits = {}, const char* local = "127.0.0.1")
      : Running({limits, std::nullopt, std::nullopt, nullptr}, local) {}
  explicit Running(AdminHttp::Options options, const char* local = "127.0.0.1") {
    net::Endpoint any;
    any.address = *net::IpAddress::parse(local);
    auto opened = AdminHttp::open(context_, any, two_routes(), std::move(options));
    if (!opened) throw std::runtime_error(opened.error().message);
    server_.emplace(std::move(*opened));
    thread_ = std::thread([this] { context_.run(); });
  }
  ~Running() {
    context_.stop();
    thread_.join();
  }

  net::Endpoint endpoint() const { return server_->local(); }
  void publish(const std::string& data) {
    boost::asio::post(context_, [this, data] { server_->publish("status", data); });
  }
  std::string ask(std::string_view request) const { return Client(endpoint()).ask(request); }

 private:
  boost::asio::io_context context_{1};
  std::optional<AdminHttp> server_;
  std::thread thread_;
};

std::string status_line(const std::string& response) {
  return response.substr(0, response.find("\r\n"));
}

std::string body(const std::string& response) {
  const auto at = response.find("\r\n\r\n");
  return at == response.npos ? "(none)" : response.substr(at + 4);
}

bool has_line(const std::string& response, const std::string& line) {
  return response.find("\r\n" + line + "\r\n") != response.npos;
}

constexpr std::string_view kGetHealth = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

TEST(AdminHttp, HealthzSaysOk) {
  const Running server;
  const std::string response = server.ask(kGetHealth);
  EXPECT_EQ(status_line(response), "HTTP/1.1 200 OK");
  EXPECT_TRUE(has_line(response, "Content-Length: 3"));
  EXPECT_TRUE(has_line(response, "Connection: close"));
  EXPECT_EQ(body(response), "ok\n");
}

TEST(AdminHttp, ARouteSaysItsStatus) {
  const Running server;
  const std::string response = server.ask("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(status_line(response), "HTTP/1.1 503 Service Unavailable");
  EXPECT_EQ(body(response), "not yet\n");
}

TEST(AdminHttp, EveryResponseIsHardened) {
  const Running server;
  for (const std::string request : {"GET /healthz HTTP/1.1\r\n\r\n", "GET /no HTTP/1.1\r\n\r\n",
                                    "PUT / HTTP/1.1\r\n\r\n", "rubbish\r\n\r\n"}) {
    const std::string response = server.ask(request);
    EXPECT_TRUE(has_line(response,
                         "Content-Security-Policy: default-src 'none'; script-src 'self'; "
                         "style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri "
                         "'none'; form-action 'none'; frame-ancestors 'none'"))
        << response;
    EXPECT_TRUE(has_line(response, "X-Content-Type-Options: nosniff"));
    EXPECT_TRUE(has_line(response, "Referrer-Policy: no-referrer"));
    EXPECT_TRUE(has_line(response, "Cache-Control: no-store"));
  }
}

TEST(AdminHttp, QueryIsIgnored) {
  const Running server;
  EXPECT_EQ(status_line(server.ask("GET /healthz?collect=all HTTP/1.1\r\nHost: x\r\n\r\n")),
            "HTTP/1.1 200 OK");
}

TEST(AdminHttp, ServesIpv6) {
  const Running server(AdminHttp::Limits{}, "::1");
  EXPECT_EQ(server.endpoint().to_string().substr(0, 6), "[::1]:");
  EXPECT_EQ(status_line(server.ask(kGetHealth)), "HTTP/1.1 200 OK");
}

TEST(AdminHttp, UnknownPathIsNotFound) {
  const Running server;
  for (const std::string path : {"/", "/healthzx", "/healthz/", "/../etc/passwd", "*"}) {
    EXPECT_EQ(status_line(server.ask("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")),
              "HTTP/1.1 404 Not Found")
        << path;
  }
}

TEST(AdminHttp, OtherMethodsAreNotAllowed) {
  const Running server;
  for (const std::string method : {"POST", "PUT", "DELETE", "HEAD", "OPTIONS"}) {
    const std::string response =
        server.ask(method + " /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    EXPECT_EQ(status_line(response), "HTTP/1.1 405 Method Not Allowed") << method;
    EXPECT_TRUE(has_line(response, "Allow: GET")) << method;
  }
}

TEST(AdminHttp, BodyThatComesLateDoesNotMeetAReset) {
  const Running server;
  Client client(server.endpoint());
  EXPECT_TRUE(client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n"));
  for (int i = 0; i < 2; ++i) {
    std::this_thread::sleep_for(50ms);
    EXPECT_TRUE(client.send(std::string(1000, 'x')));
  }
  EXPECT_EQ(status_line(client.receive_all().value_or("(reset)")),
            "HTTP/1.1 405 Method Not Allowed");
}

TEST(AdminHttp, GarbageIsABadRequest) {
  const Running server;
  EXPECT_EQ(status_line(server.ask("\x16\x03\x01\x02 TLS here?\r\n\r\n")),
            "HTTP/1.1 400 Bad Request");
}

TEST(AdminHttp, LongHeaderIsRefused) {
  const Running server;
  const std::string long_header = "X-Long: " + std::string(20'000, 'x');
  EXPECT_EQ(status_line(server.ask("GET /healthz HTTP/1.1\r\n" + long_header + "\r\n\r\n")),
            "HTTP/1.1 431 Request Header Fields Too Large");
}

TEST(AdminHttp, RequestInSmallPiecesIsServed) {
  const Running server;
  Client client(server.endpoint());
  for (const char octet : kGetHealth) {
    client.send({&octet, 1});
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(body(client.receive_all().value_or("")), "ok\n");
}

TEST(AdminHttp, SilentClientIsClosedAtTheDeadline) {
  const Running server({.deadline = 200ms});
  const auto start = steady_clock::now();
  Client client(server.endpoint());
  client.send("GET /healthz HT");
  EXPECT_EQ(client.receive_all().value_or("(kept open)"), "");
  const auto waited = steady_clock::now() - start;
  EXPECT_GE(waited, 190ms);
  EXPECT_LT(waited, 5s);
}

TEST(AdminHttp, SlowDripDoesNotMoveTheDeadline) {
  const Running server({.deadline = 300ms});
  Client client(server.endpoint());
  const auto start = steady_clock::now();
  client.send("GET /healthz HTTP/1.1\r\n");
  for (int i = 0; i < 10; ++i) {
    std::this_thread::sleep_for(50ms);
    client.send("A: b\r\n");
  }
  const std::string response = client.receive_all().value_or("");
  EXPECT_EQ(response, "");
  EXPECT_LT(steady_clock::now() - start, 5s);
}

TEST(AdminHttp, ConnectionsOverTheLimitAreClosedAndOthersServed) {
  const Running server({.connections = 2});
  Client first(server.endpoint());
  Client second(server.endpoint());
  first.send("GET ");  // both hold their places
  second.send("GET ");
  std::this_thread::sleep_for(100ms);
  EXPECT_EQ(Client(server.endpoint()).receive_all().value_or("(kept open)"), "");

  first.send("/healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(body(first.receive_all().value_or("")), "ok\n");
}

TEST(AdminHttp, PlaceIsFreedWhenAClientLeaves) {
  const Running server({.connections = 1});
  for (int i = 0; i < 20; ++i) {
    { Client gone(server.endpoint()); }
    std::string response;
    for (int attempt = 0; attempt < 50 && response.empty(); ++attempt) {
      Client client(server.endpoint());
      client.send(kGetHealth);
      response = client.receive_all().value_or("");
      if (response.empty()) std::this_thread::sleep_for(10ms);
    }
    ASSERT_EQ(body(response), "ok\n");
  }
}

TEST(AdminHttp, ServesAgainAfterDescriptorsRanOut) {
  set_up_log("off", LogFormat::kText);
  const Running server;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit taken = before;
  taken.rlim_cur = 3;  // accept() finds no number free: EMFILE
  Client waiting(server.endpoint(), [&] { ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &taken), 0); });
  EXPECT_TRUE(waiting.send(kGetHealth));
  std::this_thread::sleep_for(250ms);
  EXPECT_FALSE(waiting.has_input());

  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(body(waiting.receive_all().value_or("(kept waiting)")), "ok\n");
  EXPECT_EQ(body(server.ask(kGetHealth)), "ok\n");
}

// ---- The token.

std::string with_header(std::string_view path, std::string_view header) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: x\r\n" + std::string(header) + "\r\n";
}

TEST(AdminHttp, WithATokenOnlyOpenRoutesAreOpen) {
  const Running server(
      AdminHttp::Options{{}, *AdminToken::parse("0123456789abcdef"), std::nullopt, nullptr});
  EXPECT_EQ(body(server.ask(kGetHealth)), "ok\n");
  for (const char* path : {"/readyz", "/api/v1/events", "/no"}) {
    for (const char* header :
         {"", "Authorization: Bearer 0123456789abcdeX\r\n", "Authorization: 0123456789abcdef\r\n",
          "Cookie: token=0123456789abcdef\r\n"}) {
      const std::string response = server.ask(with_header(path, header));
      EXPECT_EQ(status_line(response), "HTTP/1.1 401 Unauthorized") << path << header;
      EXPECT_TRUE(has_line(response, "WWW-Authenticate: Basic realm=\"timeball\""));
    }
  }
  const char* right = "Authorization: Bearer 0123456789abcdef\r\n";
  EXPECT_EQ(body(server.ask(with_header("/readyz", right))), "not yet\n");
  EXPECT_EQ(status_line(server.ask(with_header("/no", right))), "HTTP/1.1 404 Not Found");
  EXPECT_EQ(status_line(server.ask(with_header("/readyz?token=0123456789abcdef", ""))),
            "HTTP/1.1 401 Unauthorized");
}

// ---- Streams of events.

constexpr std::string_view kGetEvents = "GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n";

// Its header has come: it gets what is published from now on.
struct StreamOf {
  explicit StreamOf(const Running& server) : client(server.endpoint()) {
    client.send(kGetEvents);
    head = client.receive_head();
  }
  Client client;
  std::string head;
};

TEST(AdminHttp, EventsComeToEveryStream) {
  Running server;
  server.publish("before");  // nobody is there
  StreamOf a(server), b(server);
  EXPECT_EQ(status_line(a.head), "HTTP/1.1 200 OK");
  EXPECT_TRUE(has_line(a.head, "Content-Type: text/event-stream"));
  EXPECT_TRUE(has_line(a.head, "Cache-Control: no-store"));
  for (const std::string data : {"{\"a\":1}", "{\"a\":2}"}) {
    const std::string event = "event: status\ndata: " + data + "\n\n";
    server.publish(data);
    EXPECT_EQ(a.client.receive(event.size()), event);
    EXPECT_EQ(b.client.receive(event.size()), event);
  }
}

TEST(AdminHttp, StreamsOutliveTheDeadlineOfRequests) {
  Running server({.deadline = 1s});
  StreamOf stream(server);
  std::this_thread::sleep_for(1200ms);
  server.publish("later");
  const std::string event = "event: status\ndata: later\n\n";
  EXPECT_EQ(stream.client.receive(event.size()), event);
}

TEST(AdminHttp, StreamsOverTheLimitAreRefusedAndPlacesComeBack) {
  Running server({.streams = 1});
  {
    StreamOf first(server);
    StreamOf second(server);
    EXPECT_EQ(status_line(second.head), "HTTP/1.1 503 Service Unavailable");
    EXPECT_EQ(body(server.ask(kGetHealth)), "ok\n");  // a stream takes no place of a request
  }
  std::string status;
  for (int i = 0; i < 100 && status != "HTTP/1.1 200 OK"; ++i) {
    server.publish("who is there?");
    std::this_thread::sleep_for(10ms);
    status = status_line(StreamOf(server).head);
  }
  EXPECT_EQ(status, "HTTP/1.1 200 OK");
}

TEST(AdminHttp, WhoDoesNotReadIsDroppedAndOthersGoOn) {
  Running server({.streams = 2, .deadline = 1s});
  StreamOf silent(server), reader(server);
  const std::string large(300'000, 'x');  // much more than the kernels keep
  const std::string event = "event: status\ndata: " + large + "\n\n";
  std::string head;
  const auto give_up = steady_clock::now() + 20s;
  while (steady_clock::now() < give_up && !head.starts_with("HTTP/1.1 200")) {
    server.publish(large);
    EXPECT_EQ(reader.client.receive(event.size()), event);
    std::this_thread::sleep_for(20ms);
    StreamOf third(server);  // as soon as the silent one's place is free
    head = third.head;
  }
  EXPECT_TRUE(head.starts_with("HTTP/1.1 200")) << head;
}

TEST(AdminHttp, AddressInUseIsNamed) {
  const Running server;
  boost::asio::io_context context;
  const auto second = AdminHttp::open(context, server.endpoint(), {});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().message, "admin.listen: cannot listen on " +
                                        server.endpoint().to_string() +
                                        ": Address already in use; stop what uses the address, or "
                                        "choose another");
}

TEST(AdminHttp, DestroyedServerLetsTheContextEnd) {
  boost::asio::io_context context;
  net::Endpoint any;
  any.address = *net::IpAddress::parse("127.0.0.1");
  {
    const auto server = AdminHttp::open(context, any, {});
    ASSERT_TRUE(server);
    context.poll();
  }
  context.restart();
  context.run_for(5s);
  EXPECT_TRUE(context.stopped());
}

}  // namespace
}  // namespace timeball::server
