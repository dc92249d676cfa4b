#include "server/transmit_delay.h"

#include <algorithm>
#include <cassert>

namespace timeball::server {

std::optional<TransmitDelay::Sample> TransmitDelay::choose(std::size_t size, KernelTime now) {
  assert(size >= 1 && size <= kMaxGroup);
  std::size_t& turn = turns_[size];
  if (warm_ || turn < kAtFirst * size) {
    warm_ = false;
    return Sample{turn++ % size};
  }
  const Duration since = now - sampled_at_;
  if (since >= Duration{} && since < kInterval) return std::nullopt;
  sampled_at_ = now;
  warm_ = true;
  return Sample{0, true};
}

void TransmitDelay::learn(std::size_t size, std::size_t position, Duration delay) {
  assert(size >= 1 && size <= kMaxGroup && position < size);
  if (delay < Duration{} || delay > kLongest) return;
  Samples& samples = samples_[cell(size, position)];
  samples.delay_ns[samples.count++ % kWindow] = static_cast<std::int32_t>(delay.count());

  auto sorted = samples.delay_ns;
  const std::size_t count = std::min(samples.count, kWindow);
  const auto middle = sorted.begin() + (count - 1) / 2;
  std::nth_element(sorted.begin(), middle, sorted.begin() + count);
  expected_ns_[cell(size, position)] = *middle;
  for (std::size_t other = position + 1; other <= kMaxGroup; ++other) {
    if (samples_[cell(other, position)].count == 0) expected_ns_[cell(other, position)] = *middle;
  }
}

}  // namespace timeball::server
