// What this machine calls itself. Any thread.
#pragma once

#include <unistd.h>

#include <array>
#include <string>

namespace timeball::server {

inline std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

}  // namespace timeball::server
