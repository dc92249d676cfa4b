// Which kinds of requests are sent, and how many of each. Pure; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "bench/outstanding.h"
#include "common/base/error.h"

namespace timeball::bench {

class RequestMix {
 public:
  static RequestMix only(RequestKind kind);
  // "nts=8,plain=1,bad-authenticator=0.5,garbage=0.5": weights, not all zero; what is not named is
  // not sent. The error says what is wrong and what is allowed.
  static Result<RequestMix> parse(std::string_view text);

  // random: 32 random bits.
  RequestKind pick(std::uint32_t random) const {
    std::size_t kind = 0;
    while (random >= end_of_[kind]) ++kind;
    return static_cast<RequestKind>(kind);
  }
  double share(RequestKind kind) const { return shares_[static_cast<std::size_t>(kind)]; }
  bool needs_associations() const {
    return share(RequestKind::kNts) + share(RequestKind::kBadAuthenticator) > 0;
  }
  // "nts 80%, plain 20%"
  std::string to_string() const;

 private:
  using Weights = std::array<double, kRequestKinds>;
  explicit RequestMix(const Weights& weights);

  Weights shares_{};                                 // they add up to 1
  std::array<std::uint64_t, kRequestKinds> end_of_;  // of the numbers that pick the kind
};

}  // namespace timeball::bench
