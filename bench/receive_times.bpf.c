/* Notes when each UDP datagram over IPv4 is seen, by its source port, and leaves it to the kernel. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char terms[] SEC("license") = "Dual BSD/GPL";

__u64 seen[65536] = {}; /* TAI, nanoseconds */

SEC("xdp")
int note(struct xdp_md* context) {
  const __u64 now = bpf_ktime_get_tai_ns();
  void* end = (void*)(long)context->data_end;
  struct ethhdr* eth = (void*)(long)context->data;
  struct iphdr* ip = (void*)(eth + 1);
  struct udphdr* udp = (void*)(ip + 1);
  if ((void*)(udp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP)) return XDP_PASS;
  if (ip->protocol != IPPROTO_UDP) return XDP_PASS;
  seen[bpf_ntohs(udp->source)] = now;
  return XDP_PASS;
}
