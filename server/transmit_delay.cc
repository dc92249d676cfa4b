#include "server/transmit_delay.h"

#include <algorithm>
#include <cassert>

namespace timeball::server {

TransmitDelay::Sample TransmitDelay::choose(std::size_t size, KernelTime now) {
  assert(size >= 1 && size <= kMaxGroup);
  Size& of = sizes_[size];
  if (!of.known) {
    of.known = true;
    return {0, size};
  }
  if (warm_) {
    warm_ = false;
    const std::size_t position = of.turn++ % size;
    return {position, position + 1};
  }
  const Duration since = now - sampled_at_;
  if (since >= Duration{} && since < kInterval) return {};
  sampled_at_ = now;
  warm_ = true;
  return {0, 1, true};
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
}

}  // namespace timeball::server
