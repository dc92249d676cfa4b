// What one member of a cluster knows of the keys that all share, and what it makes of a document
// that it reads in etcd. Pure; the reading and writing is server/etcd_key_provider.h's.
//
// The higher sequence wins, always: a member takes a document that is newer than its own, and
// puts its own back (as a newer one) where it finds an older: etcd restored from a backup, or an
// old document put back by somebody. A document that it cannot open it leaves alone: its own
// configuration may be what is wrong.
//
// One member rotates, once its current key is old enough: the next key, which all have known for a
// whole interval, becomes current, and a fresh one next. So a member may miss one rotation and
// still know every key.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"
#include "common/nts/key_ring.h"
#include "common/time/time_scales.h"
#include "server/cluster_document.h"
#include "server/key_provider.h"

namespace timeball::server {

struct ClusterOptions {
  std::string cluster;
  Duration rotation{};
  unsigned keep = 0;
};

class ClusterMember {
 public:
  ClusterMember(ClusterOptions options, ClusterKeys keys);

  enum class Taken : std::uint8_t {
    kNew,         // its keys are in use now
    kSame,        // as before
    kOlder,       // than what is in use: to be replaced
    kUnreadable,  // left alone; refusal() says why
  };
  Taken take(std::string_view document, MonotonicTime now, KernelTime wall);
  const std::string& refusal() const { return refusal_; }
  // Other cluster keys, read again from their file.
  void use(ClusterKeys keys) { keys_ = std::move(keys); }

  // A document to replace the one in etcd, not in use before take() has it back from there.
  // Its sequence is one more than the own; the first cluster keys seal it. Errors: no randomness.
  // The next generation, or the first two ever.
  Result<std::string> rotated(const EntropySource& entropy, KernelTime wall) const;
  // None of the present generations, and identifiers above all of theirs.
  Result<std::string> rekeyed(const EntropySource& entropy, KernelTime wall) const;
  // The keys in use, once more.
  Result<std::string> again(const EntropySource& entropy) const;

  bool empty() const { return ring_.empty(); }
  const nts::KeyRing& ring() const { return ring_; }
  std::uint64_t sequence() const { return sequence_; }       // 0: none yet
  const std::string& document() const { return document_; }  // of the keys in use
  // When the current key became current, as far as is known. Requires !empty().
  MonotonicTime current_since() const { return current_since_; }
  MonotonicTime next_rotation() const { return current_since_ + options_.rotation; }

 private:
  Result<std::string> seal(nts::KeyRing ring, std::int64_t rotated_s,
                           const EntropySource& entropy) const;

  ClusterOptions options_;
  ClusterKeys keys_;
  nts::KeyRing ring_;
  std::uint64_t sequence_ = 0;
  std::int64_t rotated_s_ = 0;
  std::string document_;
  MonotonicTime current_since_;
  std::string refusal_;
};

}  // namespace timeball::server
