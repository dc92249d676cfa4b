#include <linux/filter.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "common/net/udp_batch.h"
#include "common/net/udp_message.h"

namespace timeball::net {
namespace {

// A few milliseconds of the fastest link, should the owner or the device be late. The kernel
// doubles it.
constexpr int kBuffer = 4 << 20;

bool set(int socket, int level, int option, int value) {
  return setsockopt(socket, level, option, &value, sizeof value) == 0;
}

// As far as net.core.rmem_max and wmem_max allow, or with CAP_NET_ADMIN beyond.
void enlarge_buffers(int socket) {
  if (!set(socket, SOL_SOCKET, SO_RCVBUFFORCE, kBuffer)) {
    set(socket, SOL_SOCKET, SO_RCVBUF, kBuffer);
  }
  if (!set(socket, SOL_SOCKET, SO_SNDBUFFORCE, kBuffer)) {
    set(socket, SOL_SOCKET, SO_SNDBUF, kBuffer);
  }
}

// PMTUDISC_OMIT: never DF, and no forged ICMP can make us fragment; replies are not longer than
// requests.
bool set_options(int socket, int family) {
  enlarge_buffers(socket);
  if (!set(socket, SOL_SOCKET, SO_TIMESTAMPING, int{kTimestamping})) return false;
  if (family == AF_INET) {
    return set(socket, IPPROTO_IP, IP_PKTINFO, 1) &&
           set(socket, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT);
  }
  return set(socket, IPPROTO_IPV6, IPV6_V6ONLY, 1) &&
         set(socket, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) &&
         set(socket, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_OMIT);
}

std::string advice(int error, const Endpoint& local) {
  const std::string port = std::to_string(local.port);
  switch (error) {
    case EADDRINUSE:
      return "another server holds the port (ss -lunp 'sport = :" + port +
             "' shows which); stop it, or listen on another port";
    case EACCES:
      return "ports below 1024 need the capability CAP_NET_BIND_SERVICE; grant it, or listen on a "
             "port from 1024 up";
    case EADDRNOTAVAIL:
      return "no interface of this host has the address (ip address lists them); correct it, or "
             "listen on 0.0.0.0 or [::]";
    case EINVAL:
    case ENODEV:
      return "a link-local address needs its interface, as in [fe80::1%eth0]:" + port;
    case EAFNOSUPPORT:
      return "the kernel has this family of addresses switched off; remove the address";
    case EMFILE:
    case ENFILE:
      return "too many files are open; raise the limit (ulimit -n, LimitNOFILE)";
    default:
      return "the kernel refused it";
  }
}

tl::unexpected<Error> refuse(int error, const Endpoint& local) {
  return fail("cannot listen on UDP " + local.to_string() + ": " + advice(error, local) + " (" +
              std::strerror(error) + ")");
}

Result<int> bound_socket(const Endpoint& local, bool share_port) {
  const int socket =
      ::socket(local.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
  if (socket < 0) return refuse(errno, local);
  sockaddr_storage address;
  const socklen_t length = local.to_sockaddr(address);
  if ((share_port && !set(socket, SOL_SOCKET, SO_REUSEPORT, 1)) ||
      !set_options(socket, local.family()) ||
      bind(socket, reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    const int error = errno;
    close(socket);
    return refuse(error, local);
  }
  return socket;
}

}  // namespace

Result<int> open_udp_socket(const Endpoint& local) {
  return bound_socket(local, true);
}

bool steer_by_cpu(int socket, std::span<const unsigned> cpus) {
  constexpr auto kCpu = static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_CPU);
  constexpr std::uint32_t kByHash = 0xffffffff;  // no socket has that number
  std::vector<sock_filter> program = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kCpu)};
  for (std::uint32_t n = 0; n < cpus.size(); ++n) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, cpus[n], 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, n));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, kByHash));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  return setsockopt(socket, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &filter, sizeof filter) == 0;
}

Result<int> open_client_socket(int family) {
  const int socket = ::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
  if (socket >= 0 && set_options(socket, family) &&
      (family == AF_INET || set(socket, IPPROTO_IPV6, IPV6_FREEBIND, 1))) {
    return socket;
  }
  const int error = errno;
  if (socket >= 0) close(socket);
  return fail(std::string("cannot open a UDP socket: ") + std::strerror(error));
}

Result<void> require_udp_port_free(const Endpoint& local) {
  const auto probe = bound_socket(local, false);
  if (!probe) return tl::unexpected(probe.error());
  close(*probe);
  return {};
}

}  // namespace timeball::net
