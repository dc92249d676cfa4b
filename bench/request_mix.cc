#include "bench/request_mix.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

namespace timeball::bench {
namespace {

// In the order of RequestKind.
constexpr std::array<std::string_view, kRequestKinds> kNames = {"plain", "nts", "bad-authenticator",
                                                                "garbage"};

tl::unexpected<Error> refuse(std::string_view part) {
  return fail("--mix: \"" + std::string(part) +
              "\" is not KIND=WEIGHT, where KIND is plain, nts, bad-authenticator or garbage, each "
              "once, and WEIGHT a number from 0 up");
}

}  // namespace

RequestMix::RequestMix(const Weights& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  double below = 0;
  for (std::size_t i = 0; i < kRequestKinds; ++i) {
    below += weights[i];
    shares_[i] = weights[i] / sum;
    end_of_[i] = static_cast<std::uint64_t>(std::llround(below / sum * 0x1p32));
  }
}

RequestMix RequestMix::only(RequestKind kind) {
  Weights weights{};
  weights[static_cast<std::size_t>(kind)] = 1;
  return RequestMix(weights);
}

Result<RequestMix> RequestMix::parse(std::string_view text) {
  Weights weights{};
  std::array<bool, kRequestKinds> named{};
  while (true) {
    const std::string_view part = text.substr(0, text.find(','));
    const std::size_t equals = std::min(part.find('='), part.size());
    const auto* const name = std::ranges::find(kNames, part.substr(0, equals));
    if (name == kNames.end() || equals == part.size()) return refuse(part);
    const auto kind = static_cast<std::size_t>(name - kNames.begin());
    double weight = 0;
    const char* const end = part.data() + part.size();
    const auto [rest, error] = std::from_chars(part.data() + equals + 1, end, weight);
    const bool a_weight = error == std::errc() && rest == end && weight >= 0 && weight <= 1e9;
    if (!a_weight || named[kind]) return refuse(part);
    named[kind] = true;
    weights[kind] = weight;
    if (part.size() == text.size()) break;
    text.remove_prefix(part.size() + 1);
  }
  if (std::ranges::all_of(weights, [](double w) { return w == 0; })) {
    return fail("--mix: give at least one kind a weight above 0");
  }
  return RequestMix(weights);
}

std::string RequestMix::to_string() const {
  std::string text;
  for (std::size_t i = 0; i < kRequestKinds; ++i) {
    if (shares_[i] == 0) continue;
    if (!text.empty()) text += ", ";
    std::array<char, 16> number{};
    const auto [end, error] = std::to_chars(number.begin(), number.end(), 100 * shares_[i],
                                            std::chars_format::general, 3);
    text += std::string(kNames[i]) + ' ' + std::string(number.begin(), end) + '%';
  }
  return text;
}

}  // namespace timeball::bench
