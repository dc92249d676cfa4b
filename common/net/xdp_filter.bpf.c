/* The XDP program: hands to the queue's AF_XDP socket the UDP datagrams to the served addresses and
 * ports that need nothing of the kernel, each with the time at which it was seen; everything else
 * goes on to the kernel (XDP_PASS), as does what a queue without a socket receives.
 *
 * Not taken: other MACs than the interface's own, VLANs, fragments, IP options and extension
 * headers, sources that are this host's own, multicast, loopback or nobody's, port 0, long frames.
 * Checksums are the process's to verify. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "xdp_filter.h"

char terms[] SEC("license") = "Dual BSD/GPL";

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, 64); /* set to the number of queues before loading */
  __type(key, __u32);
  __type(value, __u32);
} sockets SEC(".maps");

/* The process writes the list that is not current, then makes it current. */
volatile __u32 current = 0;
volatile __u32 taking = 0;
struct xdp_filter_list lists[2] = {};
struct xdp_filter_counters counters[XDP_FILTER_CPUS] = {};

struct address {
  __u64 high;
  __u64 low;
};

static __always_inline struct address mapped(__be32 ipv4) {
  struct address a = {0, (__u64)bpf_htonl(0xffff) | (__u64)ipv4 << 32};
  return a;
}

static __always_inline struct address from_ipv6(const struct in6_addr* in) {
  struct address a;
  __builtin_memcpy(&a, in, sizeof a);
  return a;
}

/* Whether `a` is in the list, with that port, or with any when it is 0. */
static __always_inline int listed(const struct xdp_filter_list* list, struct address a,
                                  __be16 port) {
  for (__u32 i = 0; i < XDP_FILTER_MOST; ++i) {
    if (i >= list->count) return 0;
    const struct xdp_filter_address* own = &list->addresses[i];
    if (own->high == a.high && own->low == a.low && (port == 0 || own->port == port)) return 1;
  }
  return 0;
}

/* A unicast address that another host may have. 0.0.0.0/8, 127.0.0.0/8, and from 224.0.0.0 on:
 * multicast, reserved, broadcast. */
static __always_inline int usable_ipv4(__be32 address) {
  const __u32 first = bpf_ntohl(address) >> 24;
  return first != 0 && first != 127 && first < 224;
}

/* Neither multicast nor ::, ::1 and IPv4 in disguise. */
static __always_inline int usable_ipv6(struct address a) {
  if (((__u8*)&a.high)[0] == 0xff) return 0;
  return a.high != 0 || ((__u32)a.low != 0 && (__u32)a.low != bpf_htonl(0xffff));
}

/* The datagram of an IPv4 or IPv6 packet that needs nothing of the kernel, or 0. */
static __always_inline struct udphdr* plain_udp(struct ethhdr* eth, void* end, struct address* from,
                                                struct address* to) {
  if (eth->h_proto == bpf_htons(ETH_P_IP)) {
    struct iphdr* ip = (void*)(eth + 1);
    if ((void*)(ip + 1) > end) return 0;
    if (*(__u8*)ip != 0x45 || ip->protocol != IPPROTO_UDP) return 0;
    if ((ip->frag_off & ~bpf_htons(0x4000)) != 0 || !usable_ipv4(ip->saddr)) return 0;
    *from = mapped(ip->saddr);
    *to = mapped(ip->daddr);
    return (void*)(ip + 1);
  }
  if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
    struct ipv6hdr* ip = (void*)(eth + 1);
    if ((void*)(ip + 1) > end) return 0;
    if (ip->version != 6 || ip->nexthdr != IPPROTO_UDP) return 0;
    *from = from_ipv6(&ip->saddr);
    *to = from_ipv6(&ip->daddr);
    if (!usable_ipv6(*from) || !usable_ipv6(*to)) return 0;
    return (void*)(ip + 1);
  }
  return 0;
}

static __always_inline int is_ours(struct xdp_md* context) {
  void* end = (void*)(long)context->data_end;
  struct ethhdr* eth = (void*)(long)context->data;
  if ((void*)(eth + 1) > end) return 0;
  if ((void*)eth + XDP_FILTER_LONGEST + 1 <= end) return 0;
  const struct xdp_filter_list* list = &lists[current & 1];
  for (int i = 0; i < ETH_ALEN; ++i) {
    if (eth->h_dest[i] != list->mac[i]) return 0;
  }
  struct address from = {0, 0};
  struct address to = {0, 0};
  const struct udphdr* udp = plain_udp(eth, end, &from, &to);
  if (!udp || (void*)(udp + 1) > end) return 0;
  if (udp->source == 0 || udp->dest == 0) return 0;
  return listed(list, to, udp->dest) && !listed(list, from, 0);
}

SEC("xdp")
int take(struct xdp_md* context) {
  if (!taking || !is_ours(context)) return XDP_PASS;
  struct xdp_filter_counters* count =
      &counters[bpf_get_smp_processor_id() & (XDP_FILTER_CPUS - 1)];
  if (bpf_xdp_adjust_meta(context, -XDP_FILTER_METADATA) != 0) {
    ++count->without_metadata;
    return XDP_PASS;
  }
  __u64* time = (void*)(long)context->data_meta;
  if ((void*)(time + 1) > (void*)(long)context->data) return XDP_PASS;
  *time = bpf_ktime_get_tai_ns();
  const long verdict = bpf_redirect_map(&sockets, context->rx_queue_index, XDP_PASS);
  if (verdict == XDP_REDIRECT) ++count->taken;
  return (int)verdict;
}
