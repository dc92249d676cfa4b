// A log-linear histogram of durations: exact to 1 part in 64 over all of int64, either sign, in a
// fixed 58 KiB, so that recording costs a few nanoseconds and nothing is ever left out.
//
// Thread rules: one thread records; merge() the threads' own at the end.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "common/time/time_scales.h"

namespace timeball::bench {

class Histogram {
 public:
  void record(Duration value);
  void merge(const Histogram& other);

  std::uint64_t count() const { return count_; }
  // Of what was recorded, exactly. Zero when nothing was.
  Duration min() const { return count_ == 0 ? Duration{} : Duration(min_); }
  Duration max() const { return count_ == 0 ? Duration{} : Duration(max_); }
  // The smallest value that at least this share (0..1) of the recorded ones do not exceed, to 1
  // part in 64, and within [min, max]. Zero when nothing was recorded.
  Duration quantile(double share) const;

 private:
  static constexpr unsigned kLinearBits = 6;  // 64 buckets for each power of two
  static constexpr std::size_t kBuckets = (64 - kLinearBits) << kLinearBits;  // below 2^63
  static constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  using Side = std::array<std::uint64_t, kBuckets>;

  static std::size_t bucket_of(std::uint64_t magnitude);
  static std::int64_t smallest(std::size_t bucket);  // magnitude in it
  static std::int64_t largest(std::size_t bucket);

  Side positive_{};  // 0 and up
  Side negative_{};  // by magnitude
  std::uint64_t count_ = 0;
  std::int64_t min_ = kMost;
  std::int64_t max_ = -kMost;
};

}  // namespace timeball::bench
