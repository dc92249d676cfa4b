#include "common/nts/key_ring.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace timeball::nts {

KeyRing::KeyRing(MasterKeys generations) : generations_(std::move(generations)) {
  assert(generations_.size() >= 2);
}

KeyRing KeyRing::create(std::uint32_t first_id, const MasterKeySecret& current,
                        const MasterKeySecret& next) {
  return KeyRing({{first_id + 1, next}, {first_id, current}});
}

KeyRing KeyRing::rotated(const MasterKeySecret& fresh, std::size_t keep) const {
  assert(!empty());
  const std::size_t kept = std::min(generations_.size(), 1 + keep);  // next, then older ones
  MasterKeys generations;
  generations.reserve(1 + kept);  // no reallocation: no copy left behind to wipe
  generations.push_back({next().id + 1, fresh});
  generations.insert(generations.end(), generations_.begin(),
                     generations_.begin() + static_cast<std::ptrdiff_t>(kept));
  return KeyRing(std::move(generations));
}

KeyRing KeyRing::cut_off() const {
  KeyRing ring(*this);
  ring.cut_off_ = true;
  return ring;
}

const MasterKey* KeyRing::find(std::uint32_t id) const {
  const auto found = std::find_if(generations_.begin(), generations_.end(),
                                  [id](const MasterKey& key) { return key.id == id; });
  return found == generations_.end() ? nullptr : &*found;
}

}  // namespace timeball::nts
