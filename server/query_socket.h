// What `timeball query` needs of sockets: an owner, deadlines, name resolution, connecting.
#pragma once

#include <unistd.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "common/net/address.h"
#include "server/query.h"

namespace timeball::server {

using Deadline = std::chrono::steady_clock::time_point;

class Socket {
 public:
  explicit Socket(int fd = -1) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

// Waits for POLLIN or POLLOUT; false when the time is up.
bool wait_for(int fd, short events, Deadline deadline);

// host: a name or an address, with a zone if need be. At least one endpoint, in the order to try
// them.
QueryResult<std::vector<net::Endpoint>> resolve(const std::string& host, std::uint16_t port,
                                                int family, int socket_type);

struct TcpConnection {
  Socket socket;  // non-blocking
  net::Endpoint server;
};
// The first endpoint that accepts; each is given its share of the time that is left.
QueryResult<TcpConnection> connect_tcp(const std::vector<net::Endpoint>& endpoints,
                                       Deadline deadline);

// "no answer", "connection refused", ... with what to do, for a connection attempt's errno.
QueryFailure explain_connect_error(int error, const net::Endpoint& server);

}  // namespace timeball::server
