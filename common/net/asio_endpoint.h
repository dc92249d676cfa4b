// net::Endpoint as Asio's TCP endpoint. For .cc files that use Asio anyway.
#pragma once

#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <cstring>

#include "common/net/address.h"

namespace timeball::net {

inline boost::asio::ip::tcp::endpoint to_asio(const Endpoint& endpoint) {
  sockaddr_storage address{};
  const socklen_t length = endpoint.to_sockaddr(address);
  boost::asio::ip::tcp::endpoint out;
  std::memcpy(out.data(), &address, length);
  out.resize(length);
  return out;
}

}  // namespace timeball::net
