#include "common/net/xdp_interface.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "common/net/xdp_batch.h"
#include "common/net/xdp_filter.h"
#include "common/net/xdp_filter.skel.h"
#include "common/net/xdp_queue.h"

namespace timeball::net {
namespace {

// So many looks in a row at which the program has handed over and no socket has received.
constexpr int kPatience = 3;

tl::unexpected<Error> refuse(const std::string& interface, const char* what, int error) {
  std::string advice = "the kernel refuses it";
  if (error == EPERM || error == EACCES) {
    advice =
        "it needs CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON and CAP_NET_RAW; start as root, or grant "
        "them";
  } else if (error == EBUSY || error == EEXIST) {
    advice =
        "another XDP program is attached there, perhaps another timeballd's; stop it "
        "(bpftool net shows it)";
  } else if (error == EOPNOTSUPP || error == EINVAL) {
    advice = "the driver has no native XDP in this configuration; set xdp_mode to \"generic\"";
  }
  return fail("cannot " + std::string(what) + " on " + interface + ": " + advice + " (" +
              std::strerror(error) + ")");
}

// Receive queues of the device; one, where it does not say.
unsigned queues_of(const std::string& interface) {
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  ifreq request{};
  interface.copy(request.ifr_name, sizeof request.ifr_name - 1);
  request.ifr_data = reinterpret_cast<char*>(&channels);
  const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const bool told = socket >= 0 && ::ioctl(socket, SIOCETHTOOL, &request) == 0;
  if (socket >= 0) ::close(socket);
  return told ? std::max(1U, channels.combined_count + channels.rx_count) : 1;
}

bool serves(const Endpoint& listen, const IpAddress& address) {
  if (listen.address.is_unspecified()) return listen.address.is_v4() == address.is_v4();
  return listen.address == address;
}

// 127.0.0.0/8 and ::1; other addresses of the loopback interface are served (anycast).
bool is_loopback(const IpAddress& address) {
  static const IpAddress kIpv6 = IpAddress::parse("::1").value();
  return address.is_v4() ? address.octets[kV4Offset] == 127 : address == kIpv6;
}

void add(xdp_filter_list& list, const IpAddress& address, std::uint16_t port) {
  if (list.count == XDP_FILTER_MOST) return;
  xdp_filter_address& entry = list.addresses[list.count++];
  std::memcpy(&entry.high, address.octets.data(), 8);
  std::memcpy(&entry.low, address.octets.data() + 8, 8);
  entry.port = htons(port);
}

// Every address of this host, for each port that is served there or none; the interface's MAC.
xdp_filter_list host_addresses(const XdpOptions& options) {
  xdp_filter_list list{};
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return list;
  for (const ifaddrs* entry = all; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    const int family = entry->ifa_addr->sa_family;
    if (family == AF_PACKET && options.interface == entry->ifa_name) {
      sockaddr_ll link{};
      std::memcpy(&link, entry->ifa_addr, sizeof link);
      std::copy_n(link.sll_addr, sizeof list.mac, list.mac);
    }
    if (family != AF_INET && family != AF_INET6) continue;
    const IpAddress address = Endpoint::from_sockaddr(entry->ifa_addr).address;
    if (is_loopback(address)) continue;
    const std::uint32_t before = list.count;
    for (const Endpoint& listen : options.listen) {
      if (serves(listen, address)) add(list, address, listen.port);
    }
    if (list.count == before) add(list, address, 0);
  }
  ::freeifaddrs(all);
  return list;
}

class Interface final : public XdpInterface {
 public:
  explicit Interface(const XdpOptions& options) : options_(options) {}
  ~Interface() override;
  Interface(const Interface&) = delete;
  Interface& operator=(const Interface&) = delete;

  Result<void> attach();
  std::vector<std::unique_ptr<UdpBatch>> batches(const XdpClient* client) override;
  std::string tick() override;
  XdpStatus status() const override;
  XdpChunks chunks() const override;

 private:
  Result<void> make_queues(unsigned count);
  int link(unsigned index, std::uint32_t flags) const;
  void follow_addresses();
  const xdp_filter_list& current() const {
    return program_->bss->lists[program_->bss->current & 1];
  }

  XdpOptions options_;
  xdp_filter* program_ = nullptr;
  int link_ = -1;
  bool native_ = false;
  std::vector<std::shared_ptr<XdpQueue>> queues_;
  std::uint64_t taken_seen_ = 0;
  std::uint64_t received_seen_ = 0;
  int unheard_ = 0;  // looks in a row
};

// The link first: with it goes the program, and everything is the kernel's again.
Interface::~Interface() {
  if (link_ >= 0) ::close(link_);
  if (program_ != nullptr) xdp_filter__destroy(program_);
}

Result<void> Interface::attach() {
  const unsigned index = ::if_nametoindex(options_.interface.c_str());
  if (index == 0) {
    return fail("there is no network interface \"" + options_.interface +
                "\" for AF_XDP (ip link lists them); correct ntp.xdp_interfaces");
  }
  const unsigned count = queues_of(options_.interface);
  ::libbpf_set_print([](libbpf_print_level, const char*, va_list) { return 0; });
  program_ = xdp_filter__open();
  if (program_ == nullptr) return refuse(options_.interface, "open the XDP program", errno);
  ::bpf_map__set_max_entries(program_->maps.sockets, count);
  if (const int error = xdp_filter__load(program_); error != 0) {
    return refuse(options_.interface, "load the XDP program", -error);
  }
  follow_addresses();
  int made = -EOPNOTSUPP;
  if (options_.mode != XdpMode::kGeneric) made = link(index, XDP_FLAGS_DRV_MODE);
  native_ = made >= 0;
  const bool try_generic = options_.mode == XdpMode::kGeneric ||
                           (options_.mode == XdpMode::kAuto && made != -EBUSY && made != -EEXIST);
  if (!native_ && try_generic) made = link(index, XDP_FLAGS_SKB_MODE);
  if (made < 0) return refuse(options_.interface, "attach the XDP program", -made);
  link_ = made;
  if (auto queues = make_queues(count); !queues) return queues;
  program_->bss->taking = 1;
  return {};
}

int Interface::link(unsigned index, std::uint32_t flags) const {
  bpf_link_create_opts with{};
  with.sz = sizeof with;
  with.flags = flags;
  return ::bpf_link_create(::bpf_program__fd(program_->progs.take), static_cast<int>(index),
                           BPF_XDP, &with);
}

Result<void> Interface::make_queues(unsigned count) {
  for (unsigned n = 0; n < count; ++n) {
    auto queue = XdpQueue::open(options_.interface, n, native_);
    if (!queue) return tl::unexpected(queue.error());
    if (auto in = (*queue)->enter(::bpf_map__fd(program_->maps.sockets)); !in) return in;
    queues_.push_back(std::move(*queue));
  }
  return {};
}

std::vector<std::unique_ptr<UdpBatch>> Interface::batches(const XdpClient* client) {
  std::optional<XdpOrigin> origin;
  if (client != nullptr) {
    origin.emplace().client = *client;
    std::copy_n(current().mac, sizeof current().mac, origin->mac.begin());
  }
  std::vector<std::unique_ptr<UdpBatch>> made;
  for (const auto& queue : queues_) made.push_back(make_xdp_batch(queue, origin));
  return made;
}

// The program reads the one list while the other is written.
void Interface::follow_addresses() {
  const xdp_filter_list fresh = host_addresses(options_);
  if (std::memcmp(&fresh, &current(), sizeof fresh) == 0) return;
  const std::uint32_t other = (program_->bss->current & 1) ^ 1;
  program_->bss->lists[other] = fresh;
  __atomic_store_n(&program_->bss->current, other, __ATOMIC_RELEASE);
}

std::string Interface::tick() {
  follow_addresses();
  const XdpStatus now = status();
  const std::uint64_t received = now.received + now.malformed + now.bad_checksum;
  const bool unheard = now.taken != taken_seen_ && received == received_seen_;
  unheard_ = unheard ? unheard_ + 1 : 0;
  taken_seen_ = now.taken;
  received_seen_ = received;
  if (unheard_ < kPatience || !now.taking) return {};
  program_->bss->taking = 0;
  return "AF_XDP on " + options_.interface +
         ": the program hands datagrams over and no socket receives them; sockets serve the "
         "interface from now on, until a restart; report the driver and try another xdp_mode";
}

XdpStatus Interface::status() const {
  XdpStatus s;
  s.interface = options_.interface;
  s.native = native_;
  s.queues = static_cast<unsigned>(queues_.size());
  s.taking = program_->bss->taking != 0;
  s.zero_copy = std::ranges::all_of(queues_, [](const auto& q) { return q->zero_copy(); });
  for (const xdp_filter_counters& c : program_->bss->counters) {
    s.taken += c.taken;
    s.without_metadata += c.without_metadata;
  }
  for (const auto& queue : queues_) {
    const XdpQueue::Counters& c = queue->counters();
    s.received += c.received.value();
    s.malformed += c.malformed.value();
    s.bad_checksum += c.bad_checksum.value();
    s.sent += c.sent.value();
    s.refused += c.refused.value();
    s.strays += c.strays.value();
    const xdp_statistics kernel = queue->statistics();
    s.ring_full += kernel.rx_ring_full;
    s.fill_starved += kernel.rx_fill_ring_empty_descs;
  }
  return s;
}

XdpChunks Interface::chunks() const {
  using enum XdpQueue::Owner;
  XdpChunks sum;
  for (const auto& queue : queues_) {
    sum.all += XdpQueue::kChunks;
    sum.free += queue->owned_by(kNobody);
    sum.to_fill += queue->owned_by(kToFill);
    sum.held += queue->owned_by(kHeld);
    sum.to_transmit += queue->owned_by(kToTransmit);
  }
  return sum;
}

}  // namespace

Result<std::unique_ptr<XdpInterface>> XdpInterface::open(const XdpOptions& options) {
  auto made = std::make_unique<Interface>(options);
  if (auto attached = made->attach(); !attached) return tl::unexpected(attached.error());
  return made;
}

}  // namespace timeball::net
