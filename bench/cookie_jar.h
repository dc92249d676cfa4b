// The cookies of one association under load. Faithful: each is spent once, and new ones are taken
// from replies, as RFC 8915 wants it of clients (section 5.7). Reused: the first ones are spent
// over and over, because to a server that keeps nothing they are as good as new. One thread; no
// allocation once the cookies' length has been seen.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdint>
#include <deque>
#include <vector>

#include "bench/recently_seen.h"
#include "common/base/bytes.h"

namespace timeball::bench {

struct Cookie {
  std::vector<std::uint8_t> octets;
  std::uint64_t print = 0;  // RecentlySeen::fingerprint(), for any association
};

class CookieJar {
 public:
  static constexpr std::size_t kRoom = 8;

  CookieJar(const std::deque<std::vector<std::uint8_t>>& cookies, bool reuse) : reuse_(reuse) {
    for (const auto& cookie : cookies) put(cookie, RecentlySeen::fingerprint(cookie, 0));
  }

  bool empty() const { return count_ == 0; }
  std::size_t room() const { return kRoom - count_; }
  // Valid until the next put(). Requires !empty().
  const Cookie& take() {
    assert(!empty());
    const Cookie& cookie = cookies_[first_];
    if (reuse_) {
      first_ = (first_ + 1) % count_;
    } else {
      first_ = (first_ + 1) % kRoom;
      --count_;
    }
    return cookie;
  }
  // Into a full jar it does not go.
  void put(Bytes octets, std::uint64_t print) {
    if (count_ == kRoom) return;
    Cookie& cookie = cookies_[(first_ + count_++) % kRoom];
    cookie.octets.assign(octets.begin(), octets.end());
    cookie.print = print;
  }
  bool reuse() const { return reuse_; }

 private:
  bool reuse_;
  std::array<Cookie, kRoom> cookies_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
};

}  // namespace timeball::bench
