// ke_floor: the least that an NTS-KE server over this libssl does. One thread, epoll, the daemon's
// TLS settings, a response with eight cookies, and nothing else: no limits, no deadlines, no
// counters. What the daemon costs beyond it is its own; what both cost beyond a peer is the
// library's. Keys are not secret: for measurements only.
//
// Exit status: 0 after SIGTERM or SIGINT; 1 cannot serve; 2 bad arguments.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>

#include "bench/ke_answer.h"
#include "common/base/openssl_handle.h"
#include "common/net/address.h"
#include "server/tls_context.h"

namespace {

using namespace timeball;

volatile std::sig_atomic_t stop = 0;

struct Options {
  std::string listen = "127.0.0.1:4460";
  std::string certificate, private_key;
};

void require(int result, const char* what) {
  if (result < 0) throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
}

int listen_on(const std::string& text) {
  const auto endpoint = net::Endpoint::parse(text);
  if (!endpoint) throw std::runtime_error("--listen " + text + ": " + endpoint.error().message);
  sockaddr_storage storage{};
  const socklen_t size = endpoint->to_sockaddr(storage);
  const auto* address = reinterpret_cast<const sockaddr*>(&storage);
  const int on = 1;
  const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  require(fd, "socket");
  require(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), "SO_REUSEADDR");
  // What is accepted inherits it.
  require(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), "TCP_NODELAY");
  require(bind(fd, address, size), "bind");
  require(listen(fd, SOMAXCONN), "listen");
  return fd;
}

struct Connection {
  Connection(int f, OpenSsl<SSL, SSL_free> s) : fd(f), ssl(std::move(s)) {}
  ~Connection() { close(fd); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  const int fd;
  const OpenSsl<SSL, SSL_free> ssl;
  bool answered = false;
};

// False: it is over.
bool advance(Connection& c, bench::KeAnswer& answer) {
  ERR_clear_error();
  if (!SSL_is_init_finished(c.ssl.get())) {
    const int result = SSL_do_handshake(c.ssl.get());
    if (result != 1) return SSL_get_error(c.ssl.get(), result) == SSL_ERROR_WANT_READ;
  }
  if (!c.answered) {
    c.answered = answer(c.ssl.get());
    if (c.answered) shutdown(c.fd, SHUT_WR);
    return c.answered || SSL_get_error(c.ssl.get(), 0) == SSL_ERROR_WANT_READ;
  }
  std::array<char, 512> rest;
  return read(c.fd, rest.data(), rest.size()) < 0 && errno == EAGAIN;
}

void serve(const Options& options) {
  const auto tls = server::TlsContext::read({options.certificate, options.private_key});
  if (!tls) throw std::runtime_error(tls.error().message);
  const int listener = listen_on(options.listen);
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  require(epoll, "epoll_create1");
  const auto watch = [epoll](int fd, void* what) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = what;
    require(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  };
  watch(listener, nullptr);
  bench::KeAnswer answer;
  std::array<epoll_event, 64> events;
  while (stop == 0) {
    const int count = epoll_wait(epoll, events.data(), events.size(), -1);
    for (int i = 0; i < count; ++i) {
      auto* connection = static_cast<Connection*>(events[i].data.ptr);
      if (connection != nullptr) {
        if (!advance(*connection, answer)) delete connection;
        continue;
      }
      const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) continue;
      auto fresh = std::make_unique<Connection>(fd, (*tls)->new_session());
      SSL_set_fd(fresh->ssl.get(), fd);
      watch(fd, fresh.release());
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"ke_floor: the least that an NTS-KE server over this libssl does."};
  app.add_option("--listen", options.listen, "IP:PORT")->capture_default_str();
  app.add_option("--certificate", options.certificate, "PEM chain")->required();
  app.add_option("--private-key", options.private_key, "PEM")->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  struct sigaction action {};
  action.sa_handler = [](int) { stop = 1; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    serve(options);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "ke_floor: %s\n", e.what());
    return 1;
  }
  return 0;
}
