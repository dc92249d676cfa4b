// By which names the admin listener may be asked for, as the Host header of HTTP says them.
//
// A web page elsewhere can have its own name resolve to this machine's address (DNS rebinding): the
// visitor's browser then asks here, and lets the page read the answer. What such a browser cannot
// do is to say another name than the page's. So: an address, localhost, and the names given.
//
// Immutable; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace timeball::server {

class AdminNames {
 public:
  // Of DNS, in upper or lower case.
  explicit AdminNames(std::vector<std::string> names);

  // The value of the header: NAME or ADDRESS, with a port or without. Empty: no browser asks.
  bool has(std::string_view host) const;

 private:
  std::vector<std::string> names_;  // lower case
};

}  // namespace timeball::server
