// Which replies have their authenticator verified: all of them up to a rate, then one in so many,
// so that the load tool can outrun the server. Pure; one thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "bench/timeline.h"

namespace timeball::bench {

struct VerifyLimits {
  double all_up_to = 100'000;  // replies per second
  std::uint32_t then_one_in = 16;
};

class VerifySampler {
 public:
  explicit VerifySampler(const VerifyLimits& limits) : limits_(limits) {}

  // Before a batch.
  void advance(SteadyTime now) {
    if (last_ == SteadyTime{}) last_ = now;
    const double seconds = std::chrono::duration<double>(now - last_).count();
    room_ = std::min(room_ + seconds * limits_.all_up_to, kBatch + limits_.all_up_to);
    last_ = now;
  }
  // Whether to verify the next reply.
  bool take() {
    if (room_ >= 1) {
      room_ -= 1;
      return true;
    }
    return ++skipped_ % limits_.then_one_in == 0;
  }

 private:
  static constexpr double kBatch = 64;

  VerifyLimits limits_;
  double room_ = kBatch;  // what comes late may be made up for within a second
  SteadyTime last_;
  std::uint32_t skipped_ = 0;
};

}  // namespace timeball::bench
