// How far the stamps of a pulse scatter, from the stamps alone. Pure; one thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "refclock/observations.h"

namespace timeball::refclock {

class PulseJitter {
 public:
  // Of the edges so far; nothing while there are not three in a row.
  std::optional<Duration> add(HostTime edge) {
    if (last_ && second_before(edge, *last_) && before_ && second_before(*last_, *before_)) {
      // Of three stamps that scatter by s, the second difference does by sqrt(6) s.
      const auto bend = static_cast<double>(((edge - *last_) - (*last_ - *before_)).count());
      count_ = std::min(count_ + 1, kMemory);
      variance_ += (bend * bend / 6 - variance_) / count_;
    }
    before_ = last_;
    last_ = edge;
    if (count_ == 0) return std::nullopt;
    return Duration(std::llround(std::sqrt(variance_)));
  }

 private:
  static constexpr double kMemory = 64;  // pulses

  static bool second_before(HostTime later, HostTime earlier) {
    constexpr auto kOff = std::chrono::milliseconds(100);
    const Duration off = later - earlier - std::chrono::seconds(1);
    return off < kOff && off > -kOff;
  }

  std::optional<HostTime> last_, before_;
  double count_ = 0, variance_ = 0;
};

}  // namespace timeball::refclock
