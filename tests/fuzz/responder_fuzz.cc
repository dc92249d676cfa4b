// The whole responder, with valid keys: the input says which fields a request has, in which order
// and how long; the authenticator over them is real, so that the fuzzer reaches what lies behind
// it.
#include <array>
#include <cstdlib>
#include <vector>

#include "common/ntp/extension_field.h"
#include "common/ntp/packet.h"
#include "common/nts/client.h"
#include "common/nts/cookie.h"
#include "common/nts/request.h"
#include "server/responder.h"

namespace {

using namespace timeball;

void require(bool condition) {
  if (!condition) std::abort();
}

nts::MasterKeySecret master_key(std::uint8_t fill) {
  std::array<std::uint8_t, nts::kMasterKeyLength> octets{};
  octets.fill(fill);
  return nts::MasterKeySecret(octets);
}

// The server and one client association for each algorithm; made once.
struct World {
  World()
      : responder({.symmetric_active = true, .require_nts = false, .rate = {}}, crypto::Engine(),
                  random) {
    for (const auto& algorithm : crypto::aead_table()) {
      nts::ClientAssociation a;
      a.keys.aead = algorithm.id;
      random.fill(a.keys.c2s.resize(algorithm.key_length));
      random.fill(a.keys.s2c.resize(algorithm.key_length));
      std::vector<std::uint8_t> cookie(nts::cookie_length(algorithm.id));
      nts::SealCookieJob job{&a.keys, cookie};
      require(nts::seal_cookies(keys, engine, random, {&job, 1}));
      a.cookies.push_back(std::move(cookie));
      associations.push_back(std::move(a));
    }
    clock.leap = LeapIndicator::kNone;
    clock.stratum = 1;
  }

  nts::KeyRing keys = nts::KeyRing::create(1, master_key(1), master_key(2));
  crypto::Engine engine;
  crypto::RandomGenerator random{std::array<std::uint8_t, crypto::kSeedLength>{1}};
  server::AccessPolicy access;
  server::Responder responder;
  ClockState clock;
  std::vector<nts::ClientAssociation> associations;
};

// Appends one field as the input says: kind, then a length, then octets.
void append_field(ByteReader& input, ByteWriter& out, const nts::ClientAssociation& association) {
  const std::uint8_t kind = input.u8();
  if (kind % 8 == 0)
    return ntp::write_field(out, ntp::FieldType::kNtsCookie, association.cookies[0]);
  const std::size_t length = input.u8();
  std::vector<std::uint8_t> body(length);
  const Bytes given = input.take(std::min<std::size_t>(length, input.remaining()));
  std::copy(given.begin(), given.end(), body.begin());
  switch (kind % 8) {
    case 1:
      body.resize(std::max<std::size_t>(length, 32));
      [[fallthrough]];
    case 2:
      return ntp::write_field(out, ntp::FieldType::kUniqueIdentifier, body);
    case 3:
      body.resize(association.cookies[0].size());
      [[fallthrough]];
    case 4:
      return ntp::write_field(out, ntp::FieldType::kNtsCookiePlaceholder, body);
    case 5:
      return ntp::write_field(out, ntp::FieldType::kNtsCookie, body);
    case 6:
      return ntp::write_field(out, static_cast<ntp::FieldType>(input.u16()), body);
    default:
      return out.put(body);  // not a field at all
  }
}

// An authenticator whose lengths come from the input, sealed with the client's real key.
void append_authenticator(ByteReader& input, ByteWriter& out, World& world,
                          const nts::ClientAssociation& association) {
  const std::size_t nonce_length = input.u8() % 40;
  const std::size_t padding = input.u8() % 40;
  const std::size_t plaintext_length = input.u8();
  const Bytes associated_data = out.written();
  std::vector<std::uint8_t> nonce(nonce_length, 0x11);
  if (crypto::parameters(association.keys.aead).nonce_length_fixed) nonce.resize(12);
  std::vector<std::uint8_t> plaintext(plaintext_length);
  const Bytes given = input.take(std::min<std::size_t>(plaintext_length, input.remaining()));
  std::copy(given.begin(), given.end(), plaintext.begin());
  std::vector<std::uint8_t> ciphertext(plaintext_length + crypto::kTagLength);
  const crypto::SealJob job{association.keys.c2s.bytes(), nonce, associated_data, plaintext,
                            ciphertext};
  require(world.engine.row(association.keys.aead).seal({&job, 1}));

  std::vector<std::uint8_t> body(4 + padded4(nonce.size()) + padded4(ciphertext.size()) + padding);
  ByteWriter field(body);
  field.u16(static_cast<std::uint16_t>(nonce.size()));
  field.u16(static_cast<std::uint16_t>(ciphertext.size()));
  field.put(nonce);
  field.zeros(padded4(nonce.size()) - nonce.size());
  field.put(ciphertext);
  ntp::write_field(out, ntp::FieldType::kNtsAuthenticator, body);
}

void check(const net::Datagram& datagram, server::Verdict verdict, World& world,
           const nts::ClientAssociation& association) {
  require(datagram.reply_length <= datagram.request.size());
  require((datagram.reply_length > 0) == server::answered(verdict));
  if (datagram.reply_length == 0) return;
  require(datagram.reply_length >= ntp::kHeaderLength);
  const auto request = ntp::parse_header(datagram.request).value();
  const Bytes octets = datagram.reply_room.first(datagram.reply_length);
  require(ntp::parse_header(octets)->origin == request.transmit);
  if (verdict != server::Verdict::kAnsweredNts) return;
  nts::SentRequest sent;
  sent.packet.assign(datagram.request.begin(), datagram.request.end());
  const Bytes uid = nts::parse_request(datagram.request).nts.unique_identifier;
  sent.unique_identifier.assign(uid.begin(), uid.end());
  sent.transmit = request.transmit;
  sent.nts = true;
  nts::ClientAssociation copy = association;
  const auto seen = nts::accept_reply(octets, sent, &copy, world.engine);
  require(seen.status == nts::ReplyStatus::kAuthentic);
  require(seen.new_cookies >= 1 && seen.new_cookies <= nts::kMaxCookiesInReply);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static World world;
  ByteReader input({data, size});
  const nts::ClientAssociation& association = world.associations[input.u8() % 4];
  std::array<std::uint8_t, net::kMaxDatagram> packet{};
  ByteWriter out(packet);
  ntp::Header header;
  const std::uint8_t first = input.u8();
  header.version = first < 200 ? 4 : first & 7;
  header.mode = first < 200 ? ntp::Mode::kClient : static_cast<ntp::Mode>((first >> 3) & 7);
  header.transmit = {0x1122334455667788};
  ntp::write_header(header, out.reserve(ntp::kHeaderLength));
  const std::size_t fields = input.u8() % 16;
  for (std::size_t i = 0; i < fields; ++i) append_field(input, out, association);
  if (input.u8() % 8 != 0) append_authenticator(input, out, world, association);
  const Bytes tail = input.take(std::min<std::size_t>(input.remaining(), 64));
  out.put(tail);

  std::array<std::uint8_t, net::kMaxDatagram> room = packet;
  net::Datagram datagram;
  datagram.reply_room = MutableBytes(room).first(out.size());
  datagram.request = datagram.reply_room;  // as over AF_XDP
  datagram.peer.port = 40000;
  datagram.receive_time = {1'800'000'000LL * kNsPerSecond};
  const std::span batch(&datagram, 1);
  const auto verdict =
      world.responder.prepare(batch, {world.clock, world.keys, world.access}, {1})[0];
  world.responder.stamp(batch, datagram.receive_time);
  require(world.responder.seal(batch, 0) == 0);
  datagram.request = out.written();
  check(datagram, verdict, world, association);
  return 0;
}
