#include "bench/local_addresses.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>
#include <string>

#include "bench/proc_files.h"

namespace timeball::bench {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kAddressBits = 128;  // IPv4 addresses are held IPv4-mapped
constexpr unsigned kV4Offset = 96;

template <class Visit>
void for_each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    visit(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

}  // namespace

LocalAddresses LocalAddresses::read() {
  LocalAddresses local;
  std::set<ino_t> seen;
  const auto add = [&](const fs::path& process) {
    struct stat space {};
    if (::stat((process / "ns/net").c_str(), &space) != 0) return;  // not ours to look at, or gone
    if (seen.contains(space.st_ino)) return;
    const std::string routes = read_text(process / "net/fib_trie");
    if (routes.empty()) return;  // it has ended meanwhile: another may tell of that namespace
    local.add_fib_trie(routes);
    local.add_if_inet6(read_text(process / "net/if_inet6"));
    seen.insert(space.st_ino);
  };
  add("/proc/self");
  for (const pid_t process : numbered_entries("/proc"))
    add(fs::path("/proc") / std::to_string(process));
  return local;
}

// A leaf, then its routes, each on a line of its own:
//   |-- 127.0.0.0
//      /8 host LOCAL
void LocalAddresses::add_fib_trie(std::string_view text) {
  std::string_view leaf;
  for_each_line(text, [&](std::string_view line) {
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    if (line.starts_with("|-- ")) {
      leaf = line.substr(4);
    } else if (line.starts_with("/") && line.ends_with(" host LOCAL")) {
      const auto prefix =
          net::IpPrefix::parse(std::string(leaf) + std::string(line.substr(0, line.find(' '))));
      if (prefix) prefixes_.push_back(*prefix);
    }
  });
}

// "fe80000000000000025056fffe000001 02 40 20 80 eth0"
void LocalAddresses::add_if_inet6(std::string_view text) {
  for_each_line(text, [&](std::string_view line) {
    net::IpPrefix prefix{{}, kAddressBits};
    for (std::size_t i = 0; i < prefix.address.octets.size(); ++i) {
      if (line.size() < 2 * i + 2) return;
      const char* at = line.data() + 2 * i;
      if (std::from_chars(at, at + 2, prefix.address.octets[i], 16).ptr != at + 2) return;
    }
    prefixes_.push_back(prefix);
  });
}

bool LocalAddresses::contains(const net::IpAddress& address) const {
  static const net::IpPrefix kLoopback4 = {net::IpAddress::from_v4(0x7f000000), kV4Offset + 8};
  static const net::IpPrefix kLoopback6 = *net::IpPrefix::parse("::1");
  if (kLoopback4.contains(address) || kLoopback6.contains(address)) return true;
  return std::any_of(prefixes_.begin(), prefixes_.end(),
                     [&](const net::IpPrefix& p) { return p.contains(address); });
}

}  // namespace timeball::bench
