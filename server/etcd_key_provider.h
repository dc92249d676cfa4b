// The master keys of a cluster, in its etcd: any number of servers that open each other's cookies.
//
//   /timeball/CLUSTER/keys      the document (server/cluster_document.h)
//   /timeball/CLUSTER/rotator   the name of the member that rotates, under its lease
//
// Once a second, and whenever the watch tells of a change, one linearizable read of both: it takes
// a quorum, so that an answer means that nothing newer exists. A member rotates while the lease
// is its own; each write replaces exactly the document that was read (compared by revision), so
// that two that believe to be the rotator cannot both write. What was replaced is compacted away.
//
// Without an answer for kSilence the member is cut off: it goes on with the keys that it has, makes
// none, and drops cookies of newer keys instead of refusing them. The log and the metric say so,
// and say when it is over. It starts from its local copy, keys.file: the last document it took,
// written before the keys are used, as sealed as in etcd, and by its sequence the mark below which
// no old document is taken.
//
// Thread rules: as KeyProvider. It has a thread of its own for etcd.
#pragma once

#include <chrono>
#include <memory>

#include "server/config.h"
#include "server/key_provider.h"

namespace timeball::server {

class EtcdKeyProvider : public KeyProvider {
 public:
  // Reads the cluster keys and the local copy. etcd need not be there yet. Errors: unreadable
  // files, each with what to do.
  static Result<std::unique_ptr<EtcdKeyProvider>> open(const KeysConfig& keys,
                                                       const EtcdConfig& etcd,
                                                       EntropySource entropy);
  // Ends the thread.
  ~EtcdKeyProvider() override;

  void start() override;
  const Published<nts::KeyRing>& keys() const override;
  MasterKeyStatus status() const override;
  void tick(MonotonicTime, KernelTime) override {}  // its thread does what is due
  // Both wait for etcd, for kPatience at most. A rotation is refused within kSpread of the last:
  // each member must have seen the next key before it becomes the current one.
  Result<void> rotate(MonotonicTime now, KernelTime wall) override;
  Result<void> rekey(MonotonicTime now, KernelTime wall) override;
  Result<void> verify() const override;

  static constexpr std::chrono::seconds kSilence{3};
  static constexpr std::chrono::seconds kSpread{4};
  static constexpr std::chrono::seconds kPatience{5};

 private:
  struct Impl;
  explicit EtcdKeyProvider(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace timeball::server
