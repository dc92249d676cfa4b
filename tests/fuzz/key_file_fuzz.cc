// The key file's parser: whatever it accepts is written back octet for octet, and damage is
// refused. The input is tried as it is, as a body under a digest that fits, and as the keys of a
// ring.
#include <openssl/sha.h>

#include <array>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "server/master_key_store.h"

namespace timeball::server {
namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

std::string sealed(std::string body) {
  std::array<std::uint8_t, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const std::uint8_t*>(body.data()), body.size(), digest.data());
  body += "sha256 ";
  for (const std::uint8_t octet : digest) {
    body += "0123456789abcdef"[octet >> 4];
    body += "0123456789abcdef"[octet & 15];
  }
  return body + '\n';
}

void parse_and_write_back(std::string_view text) {
  const Result<KeyFile> file = parse_key_file(text);
  if (!file) {
    require(!file.error().message.empty());
    return;
  }
  require(file->ring.generations().size() >= 2);
  require(format_key_file(*file) == text);
}

// A ring whose identifiers and keys the input chooses; then one octet of its file changed.
void write_and_damage(Bytes data) {
  ByteReader reader(data);
  const std::int64_t rotated_s = reader.u32();
  const std::size_t damaged = reader.u16();
  const std::uint8_t mask = reader.u8();
  std::uint32_t id = reader.u32();
  nts::MasterKeys generations;
  do {
    nts::MasterKey key{id--, {}};
    MutableBytes octets = key.key.resize(nts::kMasterKeyLength);
    for (std::uint8_t& octet : octets) octet = reader.u8();
    generations.push_back(key);
  } while (reader.ok() || generations.size() < 2);

  const KeyFile file{rotated_s, nts::KeyRing(generations)};
  SecretText text = format_key_file(file);
  if (text.size() > kMaxKeyFileLength) return;
  const Result<KeyFile> read = parse_key_file(text);
  require(read && read->rotated_s == rotated_s && read->ring.generations() == generations);
  if (mask == 0) return;
  text[damaged % text.size()] = static_cast<char>(text[damaged % text.size()] ^ mask);
  require(!parse_key_file(text));
}

}  // namespace
}  // namespace timeball::server

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace timeball::server;
  const std::string text(reinterpret_cast<const char*>(data), size);
  parse_and_write_back(text);
  parse_and_write_back(sealed(text));
  parse_and_write_back(sealed("timeball-master-keys 1\nrotated " + text));
  write_and_damage({data, size});
  return 0;
}
