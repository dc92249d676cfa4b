// Where the two ends of a measurement sit: both on this host's loopback, or each in a network
// namespace of its own, joined by a veth pair, which goes away with the process. Needs root for the
// latter. The calling thread moves; threads it starts begin where it is.
#pragma once

#include "common/net/address.h"

namespace timeball::bench {

class NetworkNamespaces {
 public:
  // Throws std::runtime_error with one sentence.
  explicit NetworkNamespaces(bool veth);
  ~NetworkNamespaces();
  NetworkNamespaces(const NetworkNamespaces&) = delete;
  NetworkNamespaces& operator=(const NetworkNamespaces&) = delete;

  void enter_server() const;
  void enter_client() const;
  net::IpAddress server_address() const;

 private:
  int server_ = -1;  // none: loopback
  int client_ = -1;
};

}  // namespace timeball::bench
