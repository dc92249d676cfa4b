// The server's half of NTS-KE: any octets give one decision, any decision a whole response that our
// own client understands as it was meant.
#include <array>

#include "common/nts/client.h"
#include "common/nts/ke_negotiation.h"
#include "tests/fuzz/property.h"

using namespace timeball;
using namespace timeball::nts;

namespace {

struct Server {
  crypto::Engine engine;
  std::array<std::uint8_t, 32> octets{};
  crypto::RandomGenerator random{octets};
  KeyRing ring = KeyRing::create(1, MasterKeySecret(octets), MasterKeySecret(octets));
};

AssociationKeys keys_for(crypto::AeadId aead) {
  AssociationKeys keys;
  keys.aead = aead;
  keys.c2s.resize(crypto::parameters(aead).key_length);
  keys.s2c.resize(crypto::parameters(aead).key_length);
  return keys;
}

void check_response(const KeDecision& decision, const KePolicy& policy, Server& server) {
  const auto* agreement = std::get_if<KeAgreement>(&decision);
  const AssociationKeys keys = agreement ? keys_for(agreement->aead) : AssociationKeys{};
  const auto response =
      make_response(decision, policy, keys, server.ring, server.engine, server.random);
  require(response.size() <= kMaxKeResponseLength);
  require(message_length(response) == response.size());
  const auto parsed = parse_ke_response(response, {});
  require(parsed.has_value() == (agreement != nullptr));
  if (agreement) {
    require(parsed->aead == agreement->aead && parsed->exporter_aead == agreement->exporter_aead);
    require(parsed->cookies.size() == kCookiesInResponse);
    require(!agreement->server || parsed->server == policy.servers[*agreement->server].name);
    return;
  }
  using Kind = KeFailure::Kind;
  const Kind kind = parsed.error().kind;
  require(std::holds_alternative<KeNoCommonProtocol>(decision) ==
          (kind == Kind::kNoCommonProtocol));
  require(std::holds_alternative<KeNoCommonAead>(decision) == (kind == Kind::kNoCommonAead));
  require(std::holds_alternative<KeError>(decision) == (kind == Kind::kErrorRecord));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Server server;
  const Bytes input(data, size);
  KePolicy policy;
  policy.gcm_siv_without_record_1024 = size % 2 == 1;
  policy.servers = {{"a.example"}, {"192.0.2.1", 3}};
  const KeDecision decision = negotiate(input, policy);
  check_response(decision, policy, server);

  const auto length = message_length(input);
  if (!length) {
    require(std::holds_alternative<KeError>(decision));
    return 0;
  }
  require(*length >= kRecordHeaderLength && *length <= size);
  require(!message_length(input.first(*length - 1)));
  require(negotiate(input.first(*length), policy).index() == decision.index());
  return 0;
}
