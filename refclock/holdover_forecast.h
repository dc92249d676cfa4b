// How long a holdover may last, from how the error bound has grown in it so far. The bound grows
// with time, by a frequency that is not known exactly, and with its square, by that frequency's
// drift: both are taken from the growth at two moments. For people; nothing is decided by it. Pure.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "common/time/time_scales.h"

namespace timeball::refclock {

class HoldoverForecast {
 public:
  // At the beginning of a holdover.
  explicit HoldoverForecast(Duration bound) : began_with_(bound) {}

  // Until the bound is at the limit, at most a year. elapsed: since the beginning. Nothing while
  // the bound has hardly grown.
  std::optional<Duration> remaining(Duration elapsed, Duration bound, Duration limit) {
    const Moment now{seconds(elapsed), static_cast<double>((bound - began_with_).count())};
    if (now.t < kSoonest_s || now.grown_ns < kSmallest_ns) return std::nullopt;
    if (now.t >= kStride * newer_.t) {
      older_ = newer_.t == 0 ? now : newer_;
      newer_ = now;
    }
    if (older_.t == now.t) return std::nullopt;
    const double mean = now.grown_ns / now.t;
    const double drift =
        std::clamp((mean - older_.grown_ns / older_.t) / (now.t - older_.t), 0.0, mean / now.t);
    const double speed = mean - drift * now.t;
    const auto room_ns = static_cast<double>((limit - began_with_).count());
    const double end = 2 * room_ns / (speed + std::sqrt(speed * speed + 4 * drift * room_ns));
    return std::chrono::seconds(std::llround(std::clamp(end - now.t, 0.0, kLongest_s)));
  }

 private:
  struct Moment {
    double t = 0;  // s since the beginning
    double grown_ns = 0;
  };
  static constexpr double kSoonest_s = 10, kSmallest_ns = 100;
  static constexpr double kStride = 1.5;
  static constexpr double kLongest_s = 366 * 86'400;

  static double seconds(Duration duration) {
    return std::chrono::duration<double>(duration).count();
  }

  Duration began_with_;
  Moment older_, newer_;
};

}  // namespace timeball::refclock
