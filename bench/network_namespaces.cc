#include "bench/network_namespaces.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

namespace timeball::bench {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw std::runtime_error("cannot make network namespaces: " + what);
}

// The calling thread's, from now on.
int new_namespace() {
  if (unshare(CLONE_NEWNET) != 0) refuse(std::string(std::strerror(errno)) + "; run it as root");
  const int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (fd < 0) refuse(std::strerror(errno));
  return fd;
}

void enter(int fd) {
  if (fd >= 0 && setns(fd, CLONE_NEWNET) != 0) refuse(std::strerror(errno));
}

void shell(const std::string& command) {
  if (std::system(command.c_str()) != 0) refuse("this failed: " + command);
}

}  // namespace

NetworkNamespaces::NetworkNamespaces(bool veth) {
  if (!veth) return;
  client_ = new_namespace();
  server_ = new_namespace();
  const std::string other = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(client_);
  shell("ip link add server type veth peer name client netns " + other);
  shell("ip address add 2001:db8::1/64 dev server nodad");
  shell("ip address add 192.0.2.1/24 dev server && ip link set server up && ip link set lo up");
  enter(client_);
  // Checksums as a network card delivers them: the offload would leave them to the other end.
  shell("ethtool -K client tx off >/dev/null");
  shell("ip address add 2001:db8::2/64 dev client nodad");
  shell("ip address add 192.0.2.2/24 dev client && ip link set client up && ip link set lo up");
  enter(server_);
  // A moment later than its address says: until then it drops what it is to send.
  shell("timeout 10 sh -c 'until ip link show server | grep -q UP,LOWER_UP.*UP; do :; done'");
  enter(client_);
}

NetworkNamespaces::~NetworkNamespaces() {
  if (client_ >= 0) close(client_);
  if (server_ >= 0) close(server_);
}

void NetworkNamespaces::enter_server() const {
  enter(server_);
}

void NetworkNamespaces::enter_client() const {
  enter(client_);
}

net::IpAddress NetworkNamespaces::server_address() const {
  return net::IpAddress::parse(server_ < 0 ? "127.0.0.1" : "192.0.2.1").value();
}

}  // namespace timeball::bench
