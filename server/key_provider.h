// Where the master keys come from: a file of this host's own (server/master_key_store.h), or a
// cluster's etcd (server/etcd_key_provider.h). Chosen by keys.provider.
//
// Thread rules: keys() and status() from any thread, the rest from the control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "common/base/error.h"
#include "common/base/published.h"
#include "common/nts/key_ring.h"
#include "common/time/time_scales.h"

namespace timeball::server {

// Fills its argument with random octets (crypto::read_entropy in the daemon).
using EntropySource = std::function<Result<void>(MutableBytes)>;

// What a member of a cluster knows besides.
struct ClusterStatus {
  bool in_contact = false;  // etcd answered, with a quorum, within the last seconds
  bool rotates = false;     // it is this member that replaces the cluster's keys
  bool refused = false;     // what lies in etcd cannot be used
  MonotonicTime contact{};  // when etcd last answered; 0: never
  std::uint64_t sequence = 0;
  std::uint64_t failures = 0;  // requests that etcd did not answer
};

struct MasterKeyStatus {
  std::uint32_t current_id = 0;
  std::uint32_t generations = 0;  // next and current included; 0: none yet
  MonotonicTime current_since;    // when the current key became current, as far as is known
  MonotonicTime next_rotation;    // in the past while rotations fail
  std::uint64_t write_failures = 0;
  std::optional<ClusterStatus> cluster;
};

class KeyProvider {
 public:
  virtual ~KeyProvider() = default;

  // Once, before the first tick(): whoever has threads starts them here.
  virtual void start() {}

  // Never holds a null ring; an empty one until a cluster's keys are known.
  virtual const Published<nts::KeyRing>& keys() const = 0;
  virtual MasterKeyStatus status() const = 0;

  // About once a second.
  virtual void tick(MonotonicTime now, KernelTime wall) = 0;
  // Each returns when it is done, and on error leaves the running keys as they are.
  // Rotates now, whether due or not.
  virtual Result<void> rotate(MonotonicTime now, KernelTime wall) = 0;
  // Emergency: new keys, every generation dropped, wherever they are.
  virtual Result<void> rekey(MonotonicTime now, KernelTime wall) = 0;
  // Whether what is stored is safe, whole, and holds the keys in use.
  virtual Result<void> verify() const = 0;
};

}  // namespace timeball::server
