#include "bench/responder_load.h"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "common/nts/cookie.h"

namespace timeball::bench {
namespace {

nts::MasterKeySecret master_key(std::uint8_t fill) {
  std::array<std::uint8_t, nts::kMasterKeyLength> octets{};
  octets.fill(fill);
  return nts::MasterKeySecret(octets);
}

}  // namespace

ResponderLoad::ResponderLoad(std::optional<crypto::AeadId> aead, std::size_t batch,
                             crypto::Implementation implementation)
    : random_(std::array<std::uint8_t, crypto::kSeedLength>{1}),
      engine_(implementation),
      responder_({}, crypto::Engine(implementation), random_),
      keys_(nts::KeyRing::create(1, master_key(1), master_key(2))),
      expected_(aead ? server::Verdict::kAnsweredNts : server::Verdict::kAnsweredPlain),
      batch_(batch) {
  for (std::size_t i = 0; i < batch; ++i) {
    if (aead) {
      associations_.push_back(make_association(*aead));
      requests_.push_back(
          nts::make_nts_request(associations_[i], {}, engine_, random_).value().packet);
    } else {
      requests_.push_back(nts::make_plain_request(random_).packet);
    }
    rooms_.emplace_back(requests_[i].size());
    batch_[i].request = requests_[i];
    batch_[i].reply_room = rooms_[i];
    batch_[i].peer.port = 40000;
  }
}

nts::ClientAssociation ResponderLoad::make_association(crypto::AeadId aead) {
  const std::size_t length = crypto::parameters(aead).key_length;
  nts::ClientAssociation a;
  a.keys.aead = aead;
  random_.fill(a.keys.c2s.resize(length));
  random_.fill(a.keys.s2c.resize(length));
  std::vector<std::uint8_t> cookie(nts::cookie_length(aead));
  nts::SealCookieJob job{&a.keys, cookie};
  if (!nts::seal_cookies(keys_, engine_, random_, {&job, 1})) {
    throw std::runtime_error("a cookie cannot be sealed");
  }
  a.cookies.push_back(std::move(cookie));
  return a;
}

bool ResponderLoad::answer() {
  const auto verdicts = responder_.prepare(batch_, {clock_, keys_, access_}, {1});
  responder_.stamp(batch_, {1});
  return responder_.seal(batch_, 0) == 0 &&
         std::ranges::all_of(verdicts, [this](server::Verdict v) { return v == expected_; });
}

}  // namespace timeball::bench
