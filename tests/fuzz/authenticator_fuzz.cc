// The authenticator's body: lengths from 0 to 65535 against the body; and what is written is read
// back, opens, or leaves the packet alone where there is no room.
#include <algorithm>
#include <array>
#include <vector>

#include "common/nts/authenticator.h"
#include "common/nts/request.h"
#include "tests/fuzz/property.h"

using namespace timeball;

namespace {

void check_parse(Bytes body) {
  const auto field = nts::parse_authenticator(body, 48);
  const std::size_t nonce = body.size() < 4 ? 0 : load_be16(body.data());
  const std::size_t ciphertext = body.size() < 4 ? 0 : load_be16(body.data() + 2);
  const std::size_t needed = 4 + padded4(nonce) + padded4(ciphertext);
  require(field.has_value() == (ciphertext >= crypto::kTagLength && needed <= body.size()));
  if (!field) return;
  require(field->nonce.data() == body.data() + 4 && field->nonce.size() == nonce);
  require(field->ciphertext.data() == body.data() + 4 + padded4(nonce));
  require(field->ciphertext.size() == ciphertext);
  require(field->nonce_room == padded4(nonce) + body.size() - needed);
}

void check_round_trip(crypto::Engine& engine, crypto::AeadId aead, Bytes plaintext,
                      std::size_t packet_length) {
  constexpr std::size_t kStart = 48;
  constexpr std::array<std::uint8_t, crypto::kSeedLength> kSeed{};
  crypto::RandomGenerator random(kSeed);
  std::vector<std::uint8_t> packet(kStart + packet_length, 0xee);
  ByteWriter out(packet);
  out.zeros(kStart);
  const auto layout = nts::write_authenticator(out, aead, plaintext.size(), random);
  const std::size_t length = nts::authenticator_field_length(aead, plaintext.size());
  require(out.ok() == (length <= packet_length));
  if (!out.ok()) {
    require(out.size() == kStart);
    require(std::all_of(packet.begin() + kStart, packet.end(), [](auto b) { return b == 0xee; }));
    return;
  }
  std::vector<std::uint8_t> key(crypto::parameters(aead).key_length, 0x42);
  const crypto::SealJob seal = {key, layout.nonce, layout.associated_data, plaintext,
                                layout.ciphertext};
  require(engine.row(aead).seal({&seal, 1}));
  const auto field = nts::parse_authenticator(out.written().subspan(kStart + 4), kStart);
  require(field.has_value() && nts::nonce_room_suffices(*field, aead));
  std::vector<std::uint8_t> opened(plaintext.size());
  crypto::OpenJob open = {key, field->nonce, out.written().first(field->offset), field->ciphertext,
                          opened};
  engine.row(aead).open({&open, 1});
  require(open.authentic && equal(opened, plaintext));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static crypto::Engine engine;
  const Bytes input(data, size);
  check_parse(input);
  if (size < 3) return 0;
  const crypto::AeadId aead = crypto::aead_table()[data[0] % crypto::aead_table().size()].id;
  const Bytes plaintext = input.subspan(3).first(std::min<std::size_t>(size - 3, 1500));
  check_round_trip(engine, aead, plaintext, load_be16(data + 1) % 2048U);
  return 0;
}
