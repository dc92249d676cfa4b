// The master keys that a cluster shares, as they lie in etcd and, the same octets, in the local
// copy of each member: a few lines in clear, then the keys, sealed under the cluster key.
//
//   timeball-cluster-keys 1
//   cluster NAME
//   sequence N            one more each time the keys are replaced; a lower one is an old state
//   aead 15               what the keys are for: cookies under AEAD_AES_SIV_CMAC_256
//   sealed ID NONCE OCTETS
//
// ID names the cluster key: the first eight hexadecimal digits of SHA-256 over a label and it.
// OCTETS: AES-256-GCM of a whole key file (server/master_key_store.h): identifiers, generations and
// when they became current are bound by lying inside. All that stands before NONCE is associated
// data. So whoever reads etcd has no key, and whoever writes there cannot make, mix or rename one;
// an old document put back is told by its sequence.
//
// Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"
#include "common/base/secret.h"
#include "common/base/secret_memory.h"
#include "server/master_key_store.h"

namespace timeball::server {

inline constexpr std::size_t kMaxDocumentLength = 3 * kMaxKeyFileLength;
inline constexpr std::size_t kMaxClusterKeyFileLength = 4096;

inline constexpr std::size_t kClusterKeyLength = 32;  // AES-256-GCM
struct ClusterKey {
  Secret<kClusterKeyLength> secret;
  std::string id;
};

using ClusterKeys = std::vector<ClusterKey, SecretAllocator<ClusterKey>>;

// A file of cluster keys: each 64 hexadecimal digits on a line of its own, at least one. The first
// seals; all open, so that the key can be changed: add the new one below, then move it up, then
// take the old one out, each time everywhere.
Result<ClusterKeys> parse_cluster_keys(std::string_view text);

struct ClusterDocument {
  std::uint64_t sequence = 0;
  KeyFile keys;
};

// Errors: no randomness.
Result<std::string> seal_document(const ClusterDocument& document, std::string_view cluster,
                                  const ClusterKey& key, const EntropySource& entropy);
// The error says what is wrong, not where the document is.
Result<ClusterDocument> open_document(std::string_view text, std::string_view cluster,
                                      std::span<const ClusterKey> keys);

}  // namespace timeball::server
