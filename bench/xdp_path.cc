#include "bench/xdp_path.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>

namespace timeball::bench {
namespace {

constexpr int kTries = 20;
constexpr auto kBetweenTries = std::chrono::milliseconds(50);  // for the neighbour to answer

// Connected, so that the kernel has chosen the address and the port that lead there.
Result<int> socket_to(const net::Endpoint& server) {
  const int fd = ::socket(server.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_storage address;
  const socklen_t length = server.to_sockaddr(address);
  if (fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr*>(&address), length) == 0) return fd;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  return fail("there is no way to " + server.to_string() + ": " + std::strerror(error));
}

net::Endpoint local_of(int socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length);
  return net::Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&address));
}

// Whom to hand frames to, and where.
struct Neighbour {
  net::MacAddress mac{};
  std::string interface;
};

// From the kernel's table of neighbours.
std::optional<Neighbour> neighbour(const net::IpAddress& address) {
  std::ifstream table("/proc/net/arp");
  for (std::string line; std::getline(table, line);) {
    std::string ip, type, flags, mac, mask;
    Neighbour found;
    std::istringstream row(line);
    if (!(row >> ip >> type >> flags >> mac >> mask >> found.interface)) continue;
    if (ip != address.to_string()) continue;
    net::MacAddress& octets = found.mac;
    if (std::sscanf(mac.c_str(), "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &octets[0], &octets[1],
                    &octets[2], &octets[3], &octets[4], &octets[5]) == 6 &&
        octets != net::MacAddress{}) {
      return found;
    }
  }
  return std::nullopt;
}

}  // namespace

Result<std::unique_ptr<XdpPath>> XdpPath::open(const net::Endpoint& server, net::XdpMode mode) {
  if (!server.address.is_v4()) return fail("--io xdp needs the server's IPv4 address");
  std::unique_ptr<XdpPath> path(new XdpPath);
  const auto socket = socket_to(server);
  if (!socket) return tl::unexpected(socket.error());
  path->port_ = *socket;
  const net::Endpoint local = local_of(*socket);
  std::optional<Neighbour> gateway = neighbour(server.address);
  for (int i = 0; i < kTries && !gateway; ++i) {
    (void)::send(*socket, "", 1, 0);  // has the kernel ask for it
    std::this_thread::sleep_for(kBetweenTries);
    gateway = neighbour(server.address);
  }
  if (!gateway) {
    return fail(
        "--io xdp: " + server.address.to_string() +
        " is no neighbour (ip neigh lists them); go without, or load from the same network");
  }
  path->client_ = {gateway->mac, local.address, local.port};
  auto opened = net::XdpInterface::open({gateway->interface, mode, {local}});
  if (!opened) return tl::unexpected(opened.error());
  path->interface_ = std::move(*opened);
  return path;
}

XdpPath::~XdpPath() {
  if (port_ >= 0) ::close(port_);
}

}  // namespace timeball::bench
