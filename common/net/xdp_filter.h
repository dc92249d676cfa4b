/* What the XDP program and the process share: the settings it reads, the counters it writes. Plain
 * memory of the program's, which the process maps: no system call, so no right is needed after the
 * start. C, for the program (xdp_filter.bpf.c), and C++. */
#ifndef TIMEBALL_COMMON_NET_XDP_FILTER_H
#define TIMEBALL_COMMON_NET_XDP_FILTER_H

#include <linux/types.h>

enum {
  XDP_FILTER_MOST = 128,     /* addresses */
  XDP_FILTER_CPUS = 256,     /* counter slots; CPUs beyond share them, and may lose counts */
  XDP_FILTER_METADATA = 8,   /* octets before the frame: its time, TAI in nanoseconds */
  XDP_FILTER_LONGEST = 1792, /* octets of a frame; longer ones go to the kernel */
};

/* An address of this host (IPv4-mapped for IPv4), in network order. */
struct xdp_filter_address {
  __u64 high;
  __u64 low;
  __u16 port; /* that is served there, network order; 0: none, but nobody else is this address */
  __u16 unused[3];
};

struct xdp_filter_list {
  __u32 count;
  __u8 mac[6]; /* of the interface */
  __u16 unused;
  struct xdp_filter_address addresses[XDP_FILTER_MOST];
};

struct xdp_filter_counters {
  __u64 taken;            /* handed to an AF_XDP socket */
  __u64 without_metadata; /* would have been, but the driver has no room for the time: to the kernel
                           */
  __u64 unused[6];
};

#endif
