// AEAD rows: whatever octets are opened, a refused message leaves zeros behind; what is sealed
// opens to the same plaintext, alone or in a burst, and no longer after any one bit is changed.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "common/crypto/aead.h"

namespace {

using timeball::ByteReader;
using timeball::Bytes;
using namespace timeball::crypto;
using Octets = std::vector<std::uint8_t>;  // of the exact size, so that ASan sees every overrun

void require(bool property) {
  if (!property) std::abort();
}

Octets take(ByteReader& input, std::size_t length) {
  const Bytes octets = input.take(std::min(length, input.remaining()));
  return Octets(octets.begin(), octets.end());
}

bool all_zero(const Octets& octets) {
  return std::all_of(octets.begin(), octets.end(), [](std::uint8_t octet) { return octet == 0; });
}

struct Inputs {
  Octets key, nonce, associated_data;
};

void check_open(Row& row, const Inputs& in, const Octets& ciphertext) {
  Octets plaintext(ciphertext.size() < kTagLength ? 0 : ciphertext.size() - kTagLength, 0xee);
  OpenJob job{in.key, in.nonce, in.associated_data, ciphertext, plaintext, true};
  row.open({&job, 1});
  require(job.authentic || all_zero(plaintext));
}

void check_round_trip(Row& row, const Inputs& in, const Octets& plaintext, std::uint32_t flip) {
  Octets ciphertext(plaintext.size() + kTagLength), again(ciphertext.size());
  const SealJob seals[] = {{in.key, in.nonce, in.associated_data, plaintext, ciphertext},
                           {in.key, in.nonce, in.associated_data, plaintext, again}};
  require(row.seal(seals));
  require(ciphertext == again);

  again[flip / 8 % again.size()] ^= static_cast<std::uint8_t>(1 << (flip % 8));
  Octets opened(plaintext.size(), 0xee), refused(plaintext.size(), 0xee);
  OpenJob opens[] = {{in.key, in.nonce, in.associated_data, ciphertext, opened},
                     {in.key, in.nonce, in.associated_data, again, refused}};
  row.open(opens);
  require(opens[0].authentic && opened == plaintext);
  require(!opens[1].authentic && all_zero(refused));
}

}  // namespace

// Octets 0: algorithm; 1: nonce length; 2..3: length of the associated data; 4..7: the bit to
// change; then key, nonce, associated data, and the rest as ciphertext and as plaintext.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Engine engine;
  ByteReader input({data, size});
  const auto table = aead_table();
  const AeadParameters& aead = table[input.u8() % table.size()];
  const std::size_t nonce_length = input.u8();
  const std::size_t associated_data_length = input.u16();
  const std::uint32_t flip = input.u32();

  Inputs in;
  in.key = take(input, aead.key_length);
  in.key.resize(aead.key_length);
  in.nonce = take(input, nonce_length);
  in.associated_data = take(input, associated_data_length);
  const Octets rest = take(input, input.remaining());

  Row& row = engine.row(aead.id);
  check_open(row, in, rest);
  if (aead.nonce_length_fixed) in.nonce.resize(aead.nonce_length);
  check_round_trip(row, in, rest, flip);
  return 0;
}
