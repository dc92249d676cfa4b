// AEAD rows: whatever octets are opened, a refused message leaves zeros behind; what is sealed
// opens to the same plaintext, alone or in a burst, and no longer after any one bit is changed;
// what is resealed is what opening and sealing give. All of this CPU's implementations give the
// same octets.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
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

// What reseal() gives, against what open() gave.
void check_reseal(Row& row, const Inputs& in, const Octets& ciphertext, const OpenJob& opened) {
  Octets plaintext(opened.plaintext.size(), 0xee), fresh(ciphertext.size()), expected = fresh;
  const Octets nonce(in.nonce.rbegin(), in.nonce.rend());
  ResealJob job{{in.key, in.nonce, in.associated_data, ciphertext, plaintext}, nonce, fresh};
  require(row.reseal({&job, 1}));
  require(job.authentic == opened.authentic && std::ranges::equal(plaintext, opened.plaintext));
  if (!job.authentic) return;
  const SealJob seal{in.key, nonce, in.associated_data, plaintext, expected};
  require(row.seal({&seal, 1}) && fresh == expected);
}

// The plaintext, or nothing.
std::optional<Octets> open(Row& row, const Inputs& in, const Octets& ciphertext) {
  Octets plaintext(ciphertext.size() < kTagLength ? 0 : ciphertext.size() - kTagLength, 0xee);
  OpenJob job{in.key, in.nonce, in.associated_data, ciphertext, plaintext, true};
  row.open({&job, 1});
  check_reseal(row, in, ciphertext, job);
  if (job.authentic) return plaintext;
  require(all_zero(plaintext));
  return std::nullopt;
}

// Seals and opens the same message `jobs` times in one burst; the last one opened is corrupt.
Octets round_trip(Row& row, const Inputs& in, const Octets& plaintext, std::size_t jobs,
                  std::uint32_t flip) {
  std::vector<Octets> sealed(jobs, Octets(plaintext.size() + kTagLength));
  std::vector<SealJob> seals;
  for (Octets& c : sealed) {
    seals.push_back({in.key, in.nonce, in.associated_data, plaintext, c});
  }
  require(row.seal(seals));
  const Octets ciphertext = sealed[0];
  for (const Octets& c : sealed) require(c == ciphertext);

  require(open(row, in, ciphertext) == plaintext);
  sealed.back()[flip / 8 % ciphertext.size()] ^= static_cast<std::uint8_t>(1 << (flip % 8));
  std::vector<Octets> opened(jobs, Octets(plaintext.size(), 0xee));
  std::vector<OpenJob> opens;
  for (std::size_t i = 0; i < jobs; ++i) {
    opens.push_back({in.key, in.nonce, in.associated_data, sealed[i], opened[i]});
  }
  row.open(opens);
  for (std::size_t i = 0; i + 1 < jobs; ++i) require(opens[i].authentic && opened[i] == plaintext);
  require(!opens.back().authentic && all_zero(opened.back()));
  return ciphertext;
}

std::vector<Engine> every_engine() {
  std::vector<Engine> engines;
  for (const auto& [implementation, name] : implementations()) {
    if (implementation == Implementation::kAuto || !available(implementation)) continue;
    engines.emplace_back(implementation);
  }
  return engines;
}

}  // namespace

// Octets 0: algorithm; 1: nonce length; 2..3: length of the associated data; 4..7: the bit to
// change; then key, nonce, associated data, and the rest as ciphertext and as plaintext.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static std::vector<Engine> engines = every_engine();
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

  const auto row = [&](Engine& engine) -> Row& { return engine.row(aead.id); };
  const std::optional<Octets> opened = open(row(engines[0]), in, rest);
  for (Engine& engine : engines) require(open(row(engine), in, rest) == opened);

  if (aead.nonce_length_fixed) in.nonce.resize(aead.nonce_length);
  const std::size_t jobs = 2 + flip / 8 % 16;
  const Octets sealed = round_trip(row(engines[0]), in, rest, jobs, flip);
  for (Engine& engine : engines) require(round_trip(row(engine), in, rest, jobs, flip) == sealed);
  return 0;
}
