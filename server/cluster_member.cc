#include "server/cluster_member.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "common/base/bytes.h"

namespace timeball::server {

ClusterMember::ClusterMember(ClusterOptions options, ClusterKeys keys)
    : options_(std::move(options)), keys_(std::move(keys)) {}

ClusterMember::Taken ClusterMember::take(std::string_view document, MonotonicTime now,
                                         KernelTime wall) {
  refusal_.clear();
  if (document == document_) return Taken::kSame;
  const Result<ClusterDocument> opened = open_document(document, options_.cluster, keys_);
  if (!opened) {
    refusal_ = opened.error().message;
    return Taken::kUnreadable;
  }
  if (opened->sequence <= sequence_) return Taken::kOlder;
  ring_ = opened->keys.ring;
  sequence_ = opened->sequence;
  rotated_s_ = opened->keys.rotated_s;
  document_ = document;
  // From here on the monotonic clock counts. The kernel's may be wrong by years, here or where the
  // document was made: that costs one rotation too early, or one interval at most.
  const Duration age = std::chrono::seconds(rotation_second(wall) - rotated_s_);
  current_since_ = now - std::clamp(age, Duration(0), options_.rotation);
  return Taken::kNew;
}

Result<std::string> ClusterMember::rotated(const EntropySource& entropy, KernelTime wall) const {
  if (empty()) {
    std::array<std::uint8_t, 4> id{};
    if (auto filled = entropy(id); !filled) return fail(filled.error().message);
    Result<nts::KeyRing> ring = fresh_ring(load_be32(id.data()), entropy);
    if (!ring) return fail(ring.error().message);
    return seal(*std::move(ring), rotation_second(wall), entropy);
  }
  const Result<nts::MasterKeySecret> fresh = fresh_key(entropy);
  if (!fresh) return fail(fresh.error().message);
  return seal(ring_.rotated(*fresh, options_.keep), rotation_second(wall), entropy);
}

Result<std::string> ClusterMember::rekeyed(const EntropySource& entropy, KernelTime wall) const {
  if (empty()) return rotated(entropy, wall);
  Result<nts::KeyRing> ring = fresh_ring(ring_.next().id + 1, entropy);
  if (!ring) return fail(ring.error().message);
  return seal(*std::move(ring), rotation_second(wall), entropy);
}

Result<std::string> ClusterMember::again(const EntropySource& entropy) const {
  return seal(ring_, rotated_s_, entropy);
}

Result<std::string> ClusterMember::seal(nts::KeyRing ring, std::int64_t rotated_s,
                                        const EntropySource& entropy) const {
  return seal_document({sequence_ + 1, {rotated_s, std::move(ring)}}, options_.cluster,
                       keys_.front(), entropy);
}

}  // namespace timeball::server
