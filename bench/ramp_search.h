// The search for the highest rate without loss: up by a factor until a rate loses, then by halves
// between the best that did not and the worst that did. A loss may be the machine's hiccup, so a
// rate has lost when it did so kTries times in turn. Pure; one thread.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>

#include "common/base/error.h"

namespace timeball::bench {

struct RampLimits {
  double from = 0;          // requests per second, > 0
  double to = 0;            // >= from
  double factor = 1.3;      // > 1
  double precision = 1.05;  // > 1: ends when the loser is at most this much above the best
};

// "1000-200000" or "1000-200000x1.3": from, to and the factor. The error says what is wrong.
Result<RampLimits> parse_ramp(std::string_view text);

class RampSearch {
 public:
  static constexpr unsigned kTries = 3;

  explicit RampSearch(const RampLimits& limits) : limits_(limits), rate_(limits.from) {}

  // To be tried now; nothing when the search is over.
  std::optional<double> next() const { return over_ ? std::nullopt : std::optional(rate_); }
  // The highest rate that lost nothing, as far as known.
  std::optional<double> best() const { return best_ > 0 ? std::optional(best_) : std::nullopt; }

  // What became of the rate next() gave.
  void report(bool lost) {
    if (lost && ++losses_ < kTries) return;
    losses_ = 0;
    (lost ? loser_ : best_) = rate_;
    choose();
  }

 private:
  void choose() {
    if (loser_ == 0) {
      over_ = rate_ >= limits_.to;
      rate_ = std::min(rate_ * limits_.factor, limits_.to);
    } else {
      over_ = loser_ <= best_ * limits_.precision || best_ == 0;
      rate_ = std::sqrt(best_ * loser_);
    }
  }

  RampLimits limits_;
  double rate_;
  double best_ = 0;      // 0: none yet
  double loser_ = 0;     // the lowest that lost; 0: none yet
  unsigned losses_ = 0;  // of this rate, in turn
  bool over_ = false;
};

}  // namespace timeball::bench
