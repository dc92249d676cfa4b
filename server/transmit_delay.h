// How long after the clock is read a reply leaves, learned from the kernel's transmit timestamps of
// a sample, so that T3 can say when the packet leaves and not when the clock was read.
//
// Replies are stamped, sealed and sent in groups. When one leaves depends on how many its group
// has, which are all sealed first, and on its position, behind others in the kernel. So the delay
// is kept for each size and position: the median of the last samples, which an interrupt between
// reading and sending does not move, and which follows a new path or load within as many samples.
//
// The kernel makes a timestamp before it hands the packet on, by code that is seldom used: the
// first one after a while comes out late by a microsecond or two. So the groups sampled come in
// pairs, and the first only warms the caches for the second.
//
// Pure; one object for each socket, one thread. Times are the kernel's; after a step of the clock
// the samples it spoilt are outvoted like any other outlier.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "common/time/time_scales.h"

namespace timeball::server {

class TransmitDelay {
 public:
  // Replies in a group at most; how many it has is the back end's to say (net::UdpBatch::group()).
  // Each group is a system call more; but the longer it takes, the likelier an interrupt between T3
  // and the wire. With 8 over sockets more than one reply in a hundred was hit, tens of
  // microseconds late, on a virtual machine whose host interrupts it 1,000 times a second.
  static constexpr std::size_t kMaxGroup = 32;
  // From one pair of sampled groups to the next, at least: each sample costs as much as a reply.
  static constexpr Duration kInterval = std::chrono::milliseconds(4);
  // Longer ones are ignored: the clock was stepped, or the device held on to the packet.
  static constexpr Duration kLongest = std::chrono::milliseconds(1);

  // Of which reply of a group to ask the transmit time: never of two, the first would delay the
  // second.
  struct Sample {
    std::size_t position = 0;
    bool warm_up = false;  // not to be learned from
  };
  // Size: 1 to kMaxGroup. Each position in turn; at first without a pause.
  std::optional<Sample> choose(std::size_t size, KernelTime now);
  // From reading the clock to the wire.
  void learn(std::size_t size, std::size_t position, Duration delay);
  // As long as nothing is known of the size: what is known of the position; zero before that.
  Duration expected(std::size_t size, std::size_t position) const {
    return Duration(expected_ns_[cell(size, position)]);
  }

 private:
  static constexpr std::size_t kWindow = 9;
  // Of each position, at first: one may be hit by an interrupt, and a rare size waits for the next.
  static constexpr std::size_t kAtFirst = 3;
  static constexpr std::size_t kCells = kMaxGroup * (kMaxGroup + 1) / 2;

  struct Samples {
    std::array<std::int32_t, kWindow> delay_ns{};
    std::size_t count = 0;  // since the start
  };

  static constexpr std::size_t cell(std::size_t size, std::size_t position) {
    return size * (size - 1) / 2 + position;
  }

  KernelTime sampled_at_;
  bool warm_ = false;
  std::array<std::size_t, kMaxGroup + 1> turns_{};  // samples chosen, by size
  std::array<std::int32_t, kCells> expected_ns_{};  // apart from the samples: read for each reply
  std::array<Samples, kCells> samples_;
};

}  // namespace timeball::server
