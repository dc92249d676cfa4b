// The master keys that seal cookies: one snapshot, never changed once made. Rotation makes a new
// one.
//
// Generations, newest first: the next key (known early so that no member of a cluster meets an
// unknown identifier), the current key (seals), and up to `keep` older ones (open only). RFC 8915,
// section 6. Pure: fresh key octets come as an argument. Published<KeyRing> carries it to the
// threads.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/secret.h"
#include "common/base/secret_memory.h"

namespace timeball::nts {

inline constexpr std::size_t kMasterKeyLength = 32;  // AES-SIV-CMAC-256

using MasterKeySecret = Secret<kMasterKeyLength>;

struct MasterKey {
  std::uint32_t id = 0;  // goes in clear in front of each cookie; next = id + 1, wrapping at 2^32
  MasterKeySecret key;

  bool operator==(const MasterKey&) const = default;
};

using MasterKeys = std::vector<MasterKey, SecretAllocator<MasterKey>>;

class KeyRing {
 public:
  // No keys yet: requests are dropped rather than answered with a NAK.
  KeyRing() = default;
  // Newest first, generations[0] is the next key, generations[1] the current one. At least two.
  // Identifiers must be distinct.
  explicit KeyRing(MasterKeys generations);

  // A first ring: `first_id` is the identifier of its current key.
  static KeyRing create(std::uint32_t first_id, const MasterKeySecret& current,
                        const MasterKeySecret& next);
  // next becomes current, `fresh` becomes next, all but `keep` of the older ones go.
  // Requires !empty().
  KeyRing rotated(const MasterKeySecret& fresh, std::size_t keep) const;

  // The same keys, held by a member that cannot hear its cluster: the others may have newer ones.
  KeyRing cut_off() const;
  // Whether the key of this identifier may be one that is yet to be heard of, newer than all here.
  bool may_lack(std::uint32_t id) const {
    return cut_off_ && static_cast<std::int32_t>(id - next().id) > 0;
  }

  bool empty() const { return generations_.empty(); }
  // Requires !empty().
  const MasterKey& next() const { return generations_[0]; }
  const MasterKey& current() const { return generations_[1]; }
  // Null: unknown or retired.
  const MasterKey* find(std::uint32_t id) const;
  const MasterKeys& generations() const { return generations_; }

 private:
  MasterKeys generations_;
  bool cut_off_ = false;
};

}  // namespace timeball::nts
