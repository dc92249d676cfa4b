#include "server/admin_http.h"

#include <gtest/gtest.h>
#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
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

class OneGauge final : public prometheus::Collectable {
 public:
  explicit OneGauge(std::string name) : name_(std::move(name)) {}
  std::vector<prometheus::MetricFamily> Collect() const override {
    prometheus::ClientMetric metric;
    metric.gauge.value = 42;
    return {{name_, "The answer", prometheus::MetricType::Gauge, {metric}}};
  }

 private:
  std::string name_;
};

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
  explicit Running(const AdminHttp::Limits& limits = {}, const char* local = "127.0.0.1") {
    net::Endpoint any;
    any.address = *net::IpAddress::parse(local);
    auto opened = AdminHttp::open(
        context_, any,
        {std::make_shared<OneGauge>("first_gauge"), std::make_shared<OneGauge>("second_gauge")},
        limits);
    if (!opened) throw std::runtime_error(opened.error().message);
    server_.emplace(std::move(*opened));
    thread_ = std::thread([this] { context_.run(); });
  }
  ~Running() {
    context_.stop();
    thread_.join();
  }

  net::Endpoint endpoint() const { return server_->local(); }
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

TEST(AdminHttp, MetricsComeFromEveryCollectable) {
  const Running server;
  const std::string response = server.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(status_line(response), "HTTP/1.1 200 OK");
  EXPECT_TRUE(has_line(response, "Content-Type: text/plain; version=0.0.4; charset=utf-8"));
  EXPECT_EQ(body(response),
            "# HELP first_gauge The answer\n# TYPE first_gauge gauge\nfirst_gauge 42\n"
            "# HELP second_gauge The answer\n# TYPE second_gauge gauge\nsecond_gauge 42\n");
}

TEST(AdminHttp, QueryIsIgnored) {
  const Running server;
  EXPECT_EQ(status_line(server.ask("GET /metrics?collect=all HTTP/1.1\r\nHost: x\r\n\r\n")),
            "HTTP/1.1 200 OK");
}

TEST(AdminHttp, ServesIpv6) {
  const Running server({}, "::1");
  EXPECT_EQ(server.endpoint().to_string().substr(0, 6), "[::1]:");
  EXPECT_EQ(status_line(server.ask(kGetHealth)), "HTTP/1.1 200 OK");
}

TEST(AdminHttp, UnknownPathIsNotFound) {
  const Running server;
  for (const std::string path : {"/", "/metricsx", "/metrics/", "/../etc/passwd", "*"}) {
    EXPECT_EQ(status_line(server.ask("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")),
              "HTTP/1.1 404 Not Found")
        << path;
  }
}

TEST(AdminHttp, OtherMethodsAreNotAllowed) {
  const Running server;
  for (const std::string method : {"POST", "PUT", "DELETE", "HEAD", "OPTIONS"}) {
    const std::string response =
        server.ask(method + " /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
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
  Client client(server.endpoint());
  client.send("GET /healthz HT");
  const auto start = steady_clock::now();
  EXPECT_EQ(client.receive_all().value_or("(kept open)"), "");
  const auto waited = steady_clock::now() - start;
  EXPECT_GE(waited, 150ms);
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
