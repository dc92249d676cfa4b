// The addresses of this machine, in all of its network namespaces that a process lives in: what a
// load may be aimed at without asking. Read from /proc/PID/net once; main thread.
#pragma once

#include <string_view>
#include <vector>

#include "common/net/address.h"

namespace timeball::bench {

class LocalAddresses {
 public:
  // Of this process's namespace, and of the others that /proc lets it see (root: all).
  static LocalAddresses read();

  // The addresses in /proc/net/fib_trie ("host LOCAL" routes, whole prefixes of them too) and in
  // /proc/net/if_inet6. What is not understood is skipped: an address missed is refused, no worse.
  void add_fib_trie(std::string_view text);
  void add_if_inet6(std::string_view text);
  bool contains(const net::IpAddress& address) const;

 private:
  std::vector<net::IpPrefix> prefixes_;
};

}  // namespace timeball::bench
