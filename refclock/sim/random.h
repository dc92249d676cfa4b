// Randomness for simulated worlds: fast, seeded, the same everywhere. Never for secrets. Values.
#pragma once

#include <cmath>
#include <cstdint>

namespace timeball::refclock::sim {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  // SplitMix64 (Steele, Lea, Flood 2014).
  std::uint64_t bits() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // In [0, 1).
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  double uniform(double lo, double hi) { return lo + (hi - lo) * uniform(); }
  // In [-limit, limit].
  double within(double limit) { return uniform(-limit, limit); }
  // Log-uniform.
  double scale(double lo, double hi) { return lo * std::pow(hi / lo, uniform()); }
  bool chance(double probability) { return uniform() < probability; }
  // Nearly Gaussian, unit variance, within +-3.46: four uniform numbers from one draw.
  double normal() {
    const std::uint64_t b = bits();
    const auto sum =
        static_cast<double>((b & 0xffff) + (b >> 16 & 0xffff) + (b >> 32 & 0xffff) + (b >> 48));
    return (sum * 0x1p-16 - 2 + 0x1p-15) * 1.7320508075688772;
  }

 private:
  std::uint64_t state_;
};

}  // namespace timeball::refclock::sim
