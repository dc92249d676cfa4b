#include "bench/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace timeball::bench {

// Magnitudes below 64 have a bucket each; above, the top seven bits choose it.
std::size_t Histogram::bucket_of(std::uint64_t magnitude) {
  const unsigned width = static_cast<unsigned>(std::bit_width(magnitude));
  if (width <= kLinearBits) return magnitude;
  const unsigned shift = width - kLinearBits - 1;
  return (std::size_t{shift} << kLinearBits) + (magnitude >> shift);
}

std::int64_t Histogram::smallest(std::size_t bucket) {
  if (bucket < (std::size_t{2} << kLinearBits)) return static_cast<std::int64_t>(bucket);
  const std::size_t shift = (bucket >> kLinearBits) - 1;
  return static_cast<std::int64_t>((bucket - (shift << kLinearBits)) << shift);
}

std::int64_t Histogram::largest(std::size_t bucket) {
  return bucket + 1 == kBuckets ? kMost : smallest(bucket + 1) - 1;
}

void Histogram::record(Duration value) {
  const std::int64_t ns = std::max(value.count(), -kMost);
  if (ns < 0) {
    ++negative_[bucket_of(static_cast<std::uint64_t>(-ns))];
  } else {
    ++positive_[bucket_of(static_cast<std::uint64_t>(ns))];
  }
  ++count_;
  min_ = std::min(min_, ns);
  max_ = std::max(max_, ns);
}

void Histogram::merge(const Histogram& other) {
  for (std::size_t i = 0; i < kBuckets; ++i) {
    positive_[i] += other.positive_[i];
    negative_[i] += other.negative_[i];
  }
  count_ += other.count_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
}

Duration Histogram::quantile(double share) const {
  if (count_ == 0) return {};
  const auto wanted = static_cast<std::uint64_t>(
      std::max(1.0, std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(count_))));
  std::uint64_t seen = 0;
  for (std::size_t i = kBuckets; i-- > 0;) {  // from the most negative upwards
    seen += negative_[i];
    if (seen >= wanted) return Duration(std::clamp(-smallest(i), min_, max_));
  }
  for (std::size_t i = 0; i < kBuckets; ++i) {
    seen += positive_[i];
    if (seen >= wanted) return Duration(std::clamp(largest(i), min_, max_));
  }
  return max();
}

}  // namespace timeball::bench
