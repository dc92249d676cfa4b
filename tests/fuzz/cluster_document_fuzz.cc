// The cluster's document as etcd hands it over: whatever is in it, it is opened or refused; what we
// seal opens again, and with one octet changed it does not. And the file of cluster keys.
#include <array>
#include <cstdlib>
#include <string>
#include <string_view>

#include "server/cluster_document.h"

namespace timeball::server {
namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

EntropySource from(Bytes data) {
  return [reader = ByteReader(data)](MutableBytes out) mutable -> Result<void> {
    for (std::uint8_t& octet : out) octet = reader.u8();
    return {};
  };
}

const ClusterKeys& keys() {
  static const auto keys = parse_cluster_keys(std::string(64, 'a') + '\n' + std::string(64, 'b'));
  return *keys;
}

void read(std::string_view text) {
  const auto opened = open_document(text, "lab", keys());
  require(opened ? opened->keys.ring.generations().size() >= 2 : !opened.error().message.empty());
  const auto cluster = parse_cluster_keys(text);
  require(cluster ? !cluster->empty() : !cluster.error().message.empty());
}

void seal_and_damage(Bytes data) {
  ByteReader reader(data);
  const std::uint64_t sequence = std::uint64_t{1} + reader.u32();
  const std::size_t damaged = reader.u32();
  const std::uint8_t mask = reader.u8();
  const auto ring = fresh_ring(reader.u32(), from(data));
  const ClusterDocument document{sequence, {reader.u32(), *ring}};
  const auto& key = keys()[reader.u8() % 2];
  std::string text = *seal_document(document, "lab", key, from(data));
  const auto opened = open_document(text, "lab", keys());
  require(opened && opened->sequence == sequence &&
          opened->keys.ring.generations() == ring->generations());
  if (mask == 0) return;
  char& octet = text[damaged % text.size()];
  octet = static_cast<char>(octet ^ mask);
  require(!open_document(text, "lab", keys()));
}

}  // namespace
}  // namespace timeball::server

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace timeball::server;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read(text);
  read("timeball-cluster-keys 1\ncluster lab\nsequence " + std::string(text));
  seal_and_damage({data, size});
  return 0;
}
