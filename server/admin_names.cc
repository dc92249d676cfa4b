#include "server/admin_names.h"

#include <algorithm>
#include <utility>

#include "common/net/address.h"

namespace timeball::server {
namespace {

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// Without port, brackets and the dot of a name that is complete.
std::string_view name_in(std::string_view host) {
  if (host.starts_with('[')) return host.substr(1, host.find(']') - 1);
  host = host.substr(0, host.find(':'));
  if (host.ends_with('.')) host.remove_suffix(1);
  return host;
}

}  // namespace

AdminNames::AdminNames(std::vector<std::string> names) : names_(std::move(names)) {
  names_.emplace_back("localhost");
  for (std::string& name : names_) name = lower_case(name);
}

bool AdminNames::has(std::string_view host) const {
  if (host.empty()) return true;
  const std::string_view name = name_in(host);
  return net::IpAddress::parse(name).has_value() ||
         std::ranges::count(names_, lower_case(name)) != 0;
}

}  // namespace timeball::server
