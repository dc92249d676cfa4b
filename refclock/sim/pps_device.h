// The hardware's side of sim/pps_preload.cc: a Unix socket that gives its edges to whoever opened
// it as a PPS device.
//
// Thread rules: one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/time/time_scales.h"

namespace timeball::refclock::sim {

class PpsDevice {
 public:
  // Throws std::runtime_error with one sentence.
  explicit PpsDevice(std::string path);
  ~PpsDevice();
  PpsDevice(const PpsDevice&) = delete;
  PpsDevice& operator=(const PpsDevice&) = delete;

  // An edge, as the kernel stamped it. The other edge stays as it was.
  void assert_edge(KernelTime stamp);
  void clear_edge(KernelTime stamp);

 private:
  void send();

  const std::string path_;
  int listener_ = -1;
  std::vector<int> openers_;
  std::uint32_t assert_sequence_ = 0, clear_sequence_ = 0;
  KernelTime assert_at_, clear_at_;
};

}  // namespace timeball::refclock::sim
