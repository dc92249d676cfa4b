#include "server/query_socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "common/base/printable.h"

namespace timeball::server {
namespace {

using std::chrono::steady_clock;

// 0, or why it did not connect.
int connect_one(const net::Endpoint& server, Deadline deadline, Socket& out) {
  Socket socket(::socket(server.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (socket.fd() < 0) return errno;
  sockaddr_storage address{};
  const socklen_t length = server.to_sockaddr(address);
  if (::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), length) != 0 &&
      errno != EINPROGRESS)
    return errno;
  if (!wait_for(socket.fd(), POLLOUT, deadline)) return ETIMEDOUT;
  int error = 0;
  socklen_t error_length = sizeof(error);
  ::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &error_length);
  const int on = 1;
  ::setsockopt(socket.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  out = std::move(socket);
  return error;
}

}  // namespace

bool wait_for(int fd, short events, Deadline deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now());
    pollfd handle{fd, events, 0};
    const int ready = ::poll(&handle, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
    if (ready > 0) return true;
    if (ready == 0 && left.count() <= 0) return false;
  }
}

QueryResult<std::vector<net::Endpoint>> resolve(const std::string& host, std::uint16_t port,
                                                int family, int socket_type) {
  addrinfo hints{};
  hints.ai_family = family;
  hints.ai_socktype = socket_type;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (error != 0) {
    return tl::unexpected(QueryFailure{
        QueryStatus::kUnreachable,
        "the name \"" + printable(host) + "\" does not resolve: " + ::gai_strerror(error),
        "check the spelling and this machine's DNS, or give an IP address"});
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(list, &::freeaddrinfo);
  std::vector<net::Endpoint> endpoints;
  for (const addrinfo* a = list; a != nullptr; a = a->ai_next)
    endpoints.push_back(net::Endpoint::from_sockaddr(a->ai_addr));
  return endpoints;
}

QueryResult<TcpConnection> connect_tcp(const std::vector<net::Endpoint>& endpoints,
                                       Deadline deadline) {
  int error = 0;
  auto left = static_cast<std::int64_t>(endpoints.size());
  for (const net::Endpoint& server : endpoints) {
    const auto now = steady_clock::now();
    Socket socket;
    error = connect_one(server, now + (deadline - now) / left--, socket);
    if (error == 0) return TcpConnection{std::move(socket), server};
  }
  return tl::unexpected(explain_connect_error(error, endpoints.back()));
}

QueryFailure explain_connect_error(int error, const net::Endpoint& server) {
  const std::string where = server.to_string();
  const std::string port = "TCP port " + std::to_string(server.port);
  switch (error) {
    case ECONNREFUSED:
      return {QueryStatus::kUnreachable, "connection refused by " + where,
              "nothing listens on " + port +
                  " there: is the NTS-KE server running, and on this port (--ke-port)?"};
    case ETIMEDOUT:
      return {QueryStatus::kUnreachable, "no answer from " + where + " in time",
              "a firewall may drop " + port + ", or no machine has this address; NTS-KE needs " +
                  port + " open"};
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EADDRNOTAVAIL:
      return {QueryStatus::kUnreachable, "no route to " + where + ": " + std::strerror(error),
              "check this machine's network, or the other address family (-4, -6)"};
    default:
      return {QueryStatus::kUnreachable, "cannot connect to " + where + ": " + std::strerror(error),
              "check the network and any firewall between"};
  }
}

}  // namespace timeball::server
