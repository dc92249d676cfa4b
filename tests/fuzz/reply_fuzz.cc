// accept_reply: octets from anywhere are never authentic; a sealed reply with any header, any
// fields in front and anything inside is, when it matches and is not too long.
#include <algorithm>
#include <array>
#include <vector>

#include "common/ntp/extension_field.h"
#include "common/nts/authenticator.h"
#include "common/nts/client.h"
#include "tests/fuzz/property.h"

using namespace timeball;
using namespace timeball::nts;

namespace {

// One request for each algorithm, always the same.
struct Client {
  explicit Client(crypto::AeadId aead) {
    const std::size_t length = crypto::parameters(aead).key_length;
    association.keys.aead = aead;
    std::ranges::fill(association.keys.c2s.resize(length), std::uint8_t{1});
    std::ranges::fill(association.keys.s2c.resize(length), std::uint8_t{2});
    association.cookies.emplace_back(cookie_length(aead));
    sent = make_nts_request(association, {.placeholders = 7}, engine, random).value();
  }
  // Takes the reply, and checks what holds of every one.
  NtpReply accept(Bytes packet) {
    association.cookies.clear();
    const NtpReply reply = accept_reply(packet, sent, &association, engine);
    require(association.cookies.size() == reply.new_cookies);
    require(reply.status == ReplyStatus::kAuthentic || reply.new_cookies == 0);
    return reply;
  }

  crypto::Engine engine;
  std::array<std::uint8_t, crypto::kSeedLength> seed{};
  crypto::RandomGenerator random{seed};
  ClientAssociation association;
  SentRequest sent;
};

// The input's octets, with the origin (and the identifier, if there is one) put right: so that the
// search gets past them.
void check_forged(Client& client, std::vector<std::uint8_t> packet) {
  if (packet.size() >= ntp::kHeaderLength) {
    packet[0] = 0x24;
    store_be64(packet.data() + 24, client.sent.transmit.bits);
  }
  const Bytes uid = client.sent.unique_identifier;
  if (packet.size() >= 52 + uid.size()) std::ranges::copy(uid, packet.begin() + 52);
  require(client.accept(packet).status != ReplyStatus::kAuthentic);
}

void check_sealed(Client& client, std::size_t split, Bytes input) {
  ntp::Header header;
  header.mode = ntp::Mode::kServer;
  header.origin = client.sent.transmit;
  const Bytes field = input.first(std::min(input.size(), split));
  const Bytes inner = input.subspan(field.size());
  std::vector<std::uint8_t> packet(ntp::kHeaderLength + 200 + input.size() + 1024);
  ByteWriter out(packet);
  ntp::write_header(header, out.reserve(ntp::kHeaderLength));
  if (field.size() >= 12) ntp::write_field(out, static_cast<ntp::FieldType>(0x2005), field);
  ntp::write_field(out, ntp::FieldType::kUniqueIdentifier, client.sent.unique_identifier);
  const AssociationKeys& keys = client.association.keys;
  const auto layout = write_authenticator(out, keys.aead, inner.size(), client.random);
  require(out.ok());
  const crypto::SealJob job = {keys.s2c.bytes(), layout.nonce, layout.associated_data, inner,
                               layout.ciphertext};
  require(client.engine.row(keys.aead).seal({&job, 1}));

  const bool fits = out.size() <= client.sent.packet.size();
  const NtpReply reply = client.accept(out.written());
  require(reply.status == (fits ? ReplyStatus::kAuthentic : ReplyStatus::kLongerThanRequest));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static std::array<Client, 4> clients = {
      Client(crypto::AeadId::kAesSivCmac256), Client(crypto::AeadId::kAesSivCmac384),
      Client(crypto::AeadId::kAesSivCmac512), Client(crypto::AeadId::kAes128GcmSiv)};
  if (size < 2 || size > 4096) return 0;
  Client& client = clients[data[0] % 4];
  const Bytes input = Bytes(data, size).subspan(2);
  if (data[0] & 0x80) {
    check_sealed(client, data[1], input);
  } else {
    check_forged(client, {input.begin(), input.end()});
  }
  return 0;
}
