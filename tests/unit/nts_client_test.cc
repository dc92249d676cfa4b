#include <gtest/gtest.h>

#include <set>

#include "common/nts/authenticator.h"
#include "common/nts/client.h"
#include "common/nts/ke_negotiation.h"
#include "common/nts/request.h"
#include "tests/unit/nts_support.h"

namespace timeball::nts {
namespace {

using crypto::AeadId;

// NTS-KE: what the client sends.

TEST(KeRequest, OffersNtpv4AndItsAeads) {
  EXPECT_EQ(make_ke_request({}),
            Message().protocol().aead({30, 15, 17, 16}).record(false, 1024, {}).end());
}

TEST(KeRequest, Record1024GoesOnlyWith30) {
  EXPECT_EQ(make_ke_request({.aeads = {15}}), Message().protocol().aead({15}).end());
  EXPECT_EQ(make_ke_request({.aeads = {30, 15}, .compliant_gcm_siv = false}),
            Message().protocol().aead({30, 15}).end());
}

// NTS-KE: what it makes of the response.

Message usual() {
  return Message().protocol().aead({15}).record(false, 5, octets(100));
}

// "ok" or the kind of failure.
std::string verdict(const Octets& message, const KeRequestOptions& sent = {}) {
  const auto response = parse_ke_response(message, sent);
  if (response) return "ok";
  EXPECT_FALSE(response.error().detail.empty());
  switch (response.error().kind) {
    case KeFailure::Kind::kErrorRecord:
      return "error " + std::to_string(response.error().error_code.value());
    case KeFailure::Kind::kNoCommonProtocol:
      return "no protocol";
    case KeFailure::Kind::kNoCommonAead:
      return "no aead";
    case KeFailure::Kind::kMalformed:
      return "malformed";
  }
  return "?";
}

TEST(KeResponse, UsualOneIsTaken) {
  const auto response = parse_ke_response(
      usual().text(true, 6, "time.example").ids(true, 7, {4123}).ids(false, 3, {9}).end(), {});
  ASSERT_TRUE(response);
  EXPECT_EQ(response->aead, AeadId::kAesSivCmac256);
  EXPECT_EQ(response->exporter_aead, 15);
  EXPECT_EQ(response->cookies, std::vector<Octets>{octets(100)});
  EXPECT_EQ(response->server, "time.example");
  EXPECT_EQ(response->port, 4123);
  EXPECT_EQ(response->warnings, std::vector<std::uint16_t>{9});
}

TEST(KeResponse, EveryTruncationIsMalformed) {
  const Octets message = usual().end();
  for (std::size_t n = 0; n < message.size(); ++n) {
    const Octets cut(message.begin(), message.begin() + static_cast<std::ptrdiff_t>(n));
    EXPECT_EQ(verdict(cut), "malformed") << n;
  }
}

TEST(KeResponse, GcmSivIsExportedAs30OnlyWithRecord1024) {
  const auto message = Message().protocol().aead({30}).record(false, 5, octets(68));
  const auto exporter = [](const Octets& octets, const KeRequestOptions& sent) {
    return parse_ke_response(octets, sent)->exporter_aead;
  };
  EXPECT_EQ(exporter(Message(message).end(), {}), 15);
  EXPECT_EQ(exporter(Message(message).record(false, 1024, {}).end(), {}), 30);
  EXPECT_EQ(exporter(Message(message).record(false, 1024, {}).end(), {.compliant_gcm_siv = false}),
            15);
}

TEST(KeResponse, ErrorRecordIsReportedWithItsCode) {
  for (const std::uint16_t code : Ids{0, 1, 2, 77}) {
    EXPECT_EQ(verdict(Message().ids(true, 2, {code}).end()), "error " + std::to_string(code));
  }
  EXPECT_EQ(verdict(Message().record(true, 2, octets(3)).end()), "malformed");
}

TEST(KeResponse, EmptyProtocolOrAeadMeansNothingInCommon) {
  EXPECT_EQ(verdict(Message().protocol({}).end()), "no protocol");
  EXPECT_EQ(verdict(Message().protocol().aead({}).end()), "no aead");
}

TEST(KeResponse, FaultsAreMalformed) {
  const Octets cookie = octets(100);
  EXPECT_EQ(verdict(Message().aead().record(false, 5, cookie).end()), "malformed");
  EXPECT_EQ(verdict(Message().protocol().record(false, 5, cookie).end()), "malformed");
  EXPECT_EQ(verdict(Message().protocol().aead().end()), "malformed");  // no cookies
  EXPECT_EQ(verdict(usual().protocol().end()), "malformed");
  EXPECT_EQ(verdict(usual().aead().end()), "malformed");
  EXPECT_EQ(verdict(Message().ids(false, 1, {0}).aead().record(false, 5, cookie).end()),
            "malformed");
  EXPECT_EQ(verdict(Message().protocol({0, 1}).aead().record(false, 5, cookie).end()), "malformed");
  EXPECT_EQ(verdict(Message().protocol({1}).aead().record(false, 5, cookie).end()), "malformed");
  EXPECT_EQ(verdict(Message().protocol().aead({15, 17}).record(false, 5, cookie).end()),
            "malformed");
  EXPECT_EQ(verdict(Message().protocol().aead({1}).record(false, 5, cookie).end()), "malformed");
  EXPECT_EQ(verdict(usual().record(true, 99, {}).end()), "malformed");
  EXPECT_EQ(verdict(usual().record(false, 1024, octets(1)).end()), "malformed");
  EXPECT_EQ(verdict(usual().record(false, 0, {}).unfinished()), "malformed");
  EXPECT_EQ(verdict(usual().record(true, 0, octets(1)).unfinished()), "malformed");
  EXPECT_EQ(verdict(usual().record(false, 3, octets(1)).end()), "malformed");
}

TEST(KeResponse, AeadThatWasNotOfferedIsMalformed) {
  EXPECT_EQ(verdict(usual().end(), {.aeads = {17}}), "malformed");
}

TEST(KeResponse, AeadThatWeOfferButDoNotHaveIsMalformed) {
  EXPECT_EQ(verdict(Message().protocol().aead({1}).record(false, 5, octets(100)).end(),
                    {.aeads = {1, 15}}),
            "malformed");
}

TEST(KeResponse, CookieLengthIsBounded) {
  EXPECT_EQ(verdict(usual().record(false, 5, {}).end()), "malformed");
  EXPECT_EQ(verdict(usual().record(false, 5, octets(kMaxForeignCookieLength)).end()), "ok");
  EXPECT_EQ(verdict(usual().record(false, 5, octets(kMaxForeignCookieLength + 1)).end()),
            "malformed");
}

TEST(KeResponse, ServerAndPortAreChecked) {
  EXPECT_EQ(verdict(usual().text(true, 6, "fe80::1%eth0").end()), "malformed");
  EXPECT_EQ(verdict(usual().text(true, 6, "a").text(true, 6, "a").end()), "malformed");
  EXPECT_EQ(verdict(usual().record(true, 7, octets(3)).end()), "malformed");
  EXPECT_EQ(verdict(usual().ids(true, 7, {1}).ids(true, 7, {1}).end()), "malformed");
}

TEST(KeResponse, UnknownRecordsAreIgnored) {
  EXPECT_EQ(verdict(usual().record(false, 99, octets(7)).end()), "ok");
}

// NTP.

ntp::Header kiss(ntp::Header header, std::uint32_t code) {
  header.leap = LeapIndicator::kUnknown;
  header.stratum = 0;
  header.reference_id = code;
  return header;
}

// A client and a server made of the functions of this folder.

class Loop : public testing::TestWithParam<AeadId> {
 protected:
  Loop() {
    association_.keys = keys_;
    for (int i = 0; i < 8; ++i) association_.cookies.push_back(mint());
  }

  Octets mint() {
    Octets cookie(cookie_length(keys_.aead));
    SealCookieJob job = {&keys_, cookie};
    EXPECT_TRUE(seal_cookies(ring_, engine_, random_, {&job, 1}));
    return cookie;
  }

  SentRequest request(const NtpRequestOptions& options = {}) {
    auto sent = make_nts_request(association_, options, engine_, random_);
    EXPECT_TRUE(sent) << sent.error().message;
    return *sent;
  }

  ntp::Header reply_header(const SentRequest& sent) {
    ntp::Header header;
    header.mode = ntp::Mode::kServer;
    header.stratum = 1;
    header.reference_id = ntp::ascii_code("GNSS");
    header.origin = sent.transmit;
    header.transmit = {0x1234567812345678U};
    return header;
  }

  // A reply: header, identifier, then an authenticator over these inner fields.
  Octets reply(const SentRequest& sent, const ntp::Header& header, Bytes inner) {
    Octets packet(4096);
    ByteWriter out(packet);
    ntp::write_header(header, out.reserve(ntp::kHeaderLength));
    ntp::write_field(out, FieldType::kUniqueIdentifier, sent.unique_identifier);
    const auto layout = write_authenticator(out, keys_.aead, inner.size(), random_);
    const crypto::SealJob job = {keys_.s2c.bytes(), layout.nonce, layout.associated_data, inner,
                                 layout.ciphertext};
    EXPECT_TRUE(engine_.row(keys_.aead).seal({&job, 1}));
    packet.resize(out.size());
    return packet;
  }
  Octets reply(const SentRequest& sent, std::size_t cookies = 1) {
    Octets inner(4096);
    ByteWriter out(inner);
    for (std::size_t i = 0; i < cookies; ++i) ntp::write_field(out, FieldType::kNtsCookie, mint());
    return reply(sent, reply_header(sent), out.written());
  }
  // Header and identifier only.
  Octets bare(const SentRequest& sent, const ntp::Header& header) {
    Octets packet(48 + 4 + sent.unique_identifier.size());
    ByteWriter out(packet);
    ntp::write_header(header, out.reserve(ntp::kHeaderLength));
    ntp::write_field(out, FieldType::kUniqueIdentifier, sent.unique_identifier);
    return packet;
  }

  ReplyStatus status(Bytes packet, const SentRequest& sent) {
    const std::size_t before = association_.cookies.size();
    const NtpReply result = accept_reply(packet, sent, &association_, engine_);
    EXPECT_EQ(association_.cookies.size(), before + result.new_cookies);
    if (result.status != ReplyStatus::kAuthentic) {
      EXPECT_EQ(result.new_cookies, 0U);
    }
    return result.status;
  }

  crypto::Engine engine_;
  crypto::RandomGenerator random_{seed(1)};
  KeyRing ring_ = KeyRing::create(1, master_key(1), master_key(2));
  AssociationKeys keys_ = association_keys(GetParam());
  ClientAssociation association_;
};

INSTANTIATE_TEST_SUITE_P(EveryAead, Loop, testing::ValuesIn(kEveryAead), [](const auto& each) {
  return std::to_string(static_cast<unsigned>(each.param));
});

TEST_P(Loop, KeyEstablishmentGivesWhatTheClientNeeds) {
  const auto id = static_cast<std::uint16_t>(GetParam());
  const KeRequestOptions options = {.aeads = {id}};
  const KeDecision decision = negotiate(make_ke_request(options), {});
  const auto& agreement = std::get<KeAgreement>(decision);
  const auto response =
      parse_ke_response(make_response(decision, {.servers = {{"time.example"}}, .port = 99}, keys_,
                                      ring_, engine_, random_),
                        options);
  ASSERT_TRUE(response) << response.error().detail;
  EXPECT_EQ(response->aead, GetParam());
  EXPECT_EQ(response->exporter_aead, agreement.exporter_aead);
  EXPECT_EQ(response->exporter_aead, id);
  EXPECT_EQ(response->cookies.size(), 8U);
  EXPECT_EQ(response->server, "time.example");
  EXPECT_EQ(response->port, 99);
}

TEST_P(Loop, EveryRequestParsesOpensAndVerifies) {
  for (std::size_t placeholders = 0; placeholders <= 7; ++placeholders) {
    for (const std::size_t uid : {32U, 36U, 64U, 512U}) {
      association_.cookies = {mint()};
      const SentRequest sent = request({placeholders, uid});
      const auto parsed = parse_request(sent.packet);
      ASSERT_EQ(parsed.kind, RequestKind::kNts);
      EXPECT_TRUE(equal(parsed.nts.unique_identifier, sent.unique_identifier));
      EXPECT_EQ(parsed.nts.unique_identifier.size(), uid);
      EXPECT_EQ(parsed.nts.placeholders, placeholders);
      EXPECT_TRUE(nonce_room_suffices(parsed.nts.authenticator, GetParam()));

      OpenCookieJob cookie;
      cookie.cookie = parsed.nts.cookie;
      open_cookies(ring_, engine_, random_, {&cookie, 1});
      ASSERT_EQ(cookie.status, CookieStatus::kOpened);
      ASSERT_EQ(cookie.keys, keys_);
      const AuthenticatorField& field = parsed.nts.authenticator;
      EXPECT_EQ(field.ciphertext.size(), crypto::kTagLength);
      crypto::OpenJob job = {cookie.keys.c2s.bytes(),
                             field.nonce,
                             Bytes(sent.packet).first(field.offset),
                             field.ciphertext,
                             {}};
      engine_.row(cookie.keys.aead).open({&job, 1});
      EXPECT_TRUE(job.authentic);
    }
  }
}

TEST_P(Loop, RequestsCarryNothingButAVersionAModeAndRandomOctets) {
  const SentRequest sent = request();
  EXPECT_EQ(sent.packet[0], 0x23);  // LI 0, version 4, mode 3
  EXPECT_EQ(Octets(sent.packet.begin() + 1, sent.packet.begin() + 40), octets(39, 0));
  EXPECT_EQ(load_be64(sent.packet.data() + 40), sent.transmit.bits);
}

TEST_P(Loop, NoTwoRequestsShareIdentifierTimestampOrCookie) {
  std::set<std::uint64_t> timestamps;
  std::set<std::string> identifiers;
  std::set<std::string> cookies;
  for (int i = 0; i < 8; ++i) {
    const SentRequest sent = request();
    timestamps.insert(sent.transmit.bits);
    identifiers.insert(text(sent.unique_identifier));
    cookies.insert(text(parse_request(sent.packet).nts.cookie));
  }
  EXPECT_EQ(timestamps.size(), 8U);
  EXPECT_EQ(identifiers.size(), 8U);
  EXPECT_EQ(cookies.size(), 8U);
}

TEST_P(Loop, OneCookieAndSevenPlaceholdersOfAead15Take956Octets) {
  const std::size_t expected =
      48 + 36 + 8 * (4 + cookie_length(GetParam())) + authenticator_field_length(GetParam(), 0);
  EXPECT_EQ(request({.placeholders = 7}).packet.size(), expected);
  if (GetParam() == AeadId::kAesSivCmac256) {
    EXPECT_EQ(expected, 956U);
  }
}

TEST_P(Loop, WithoutCookiesThereIsNoRequest) {
  association_.cookies.clear();
  EXPECT_FALSE(make_nts_request(association_, {}, engine_, random_));
}

TEST_P(Loop, CookiesOfOddLengthArePadded) {
  association_.cookies = {octets(61)};
  const SentRequest sent = request({.placeholders = 2});
  const auto parsed = parse_request(sent.packet);
  ASSERT_EQ(parsed.kind, RequestKind::kNts);
  EXPECT_EQ(parsed.nts.cookie.size(), 64U);
  EXPECT_EQ(parsed.nts.placeholders, 2U);
}

TEST_P(Loop, ReplyIsAuthenticAndRefillsTheCookies) {
  for (std::size_t n = 0; n <= 7; ++n) {
    association_.cookies = {mint()};
    const SentRequest sent = request({.placeholders = n});
    EXPECT_EQ(association_.cookies.size(), 0U);
    const Octets packet = reply(sent, n + 1);
    ASSERT_EQ(packet.size(), sent.packet.size());
    const NtpReply result = accept_reply(packet, sent, &association_, engine_);
    EXPECT_EQ(result.status, ReplyStatus::kAuthentic);
    EXPECT_EQ(result.new_cookies, n + 1);
    EXPECT_EQ(result.header.stratum, 1);
    EXPECT_EQ(association_.cookies.size(), n + 1);
    EXPECT_EQ(parse_request(request().packet).kind, RequestKind::kNts);  // made with a new one
  }
}

TEST_P(Loop, AnyChangedBitOfAReplyIsNoticed) {
  const SentRequest sent = request();
  Octets packet = reply(sent);
  for (std::size_t bit = 0; bit < 8 * packet.size(); ++bit) {
    packet[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    ASSERT_NE(status(packet, sent), ReplyStatus::kAuthentic) << bit;
    packet[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
  }
  EXPECT_EQ(status(packet, sent), ReplyStatus::kAuthentic);
}

TEST_P(Loop, EveryTruncationOfAReplyIsNoticed) {
  const SentRequest sent = request();
  const Octets packet = reply(sent);
  for (std::size_t n = 0; n < packet.size(); ++n) {
    ASSERT_NE(status(Bytes(packet).first(n), sent), ReplyStatus::kAuthentic) << n;
  }
}

TEST_P(Loop, AnotherRequestsReplyIsNotForThisOne) {
  const SentRequest first = request();
  const SentRequest second = request();
  EXPECT_EQ(status(reply(first), second), ReplyStatus::kNotForThisRequest);
  SentRequest other_identifier = first;
  other_identifier.unique_identifier[0] ^= 1;
  EXPECT_EQ(status(reply(other_identifier), first), ReplyStatus::kNotForThisRequest);
}

TEST_P(Loop, ReplyNeedsMode4AndVersion4) {
  const SentRequest sent = request();
  ntp::Header header = reply_header(sent);
  header.mode = ntp::Mode::kClient;
  EXPECT_EQ(status(reply(sent, header, {}), sent), ReplyStatus::kNotForThisRequest);
  header = reply_header(sent);
  header.version = 3;
  EXPECT_EQ(status(reply(sent, header, {}), sent), ReplyStatus::kNotForThisRequest);
}

TEST_P(Loop, OurOwnRequestReflectedIsNotAReply) {
  const SentRequest sent = request();
  EXPECT_EQ(status(sent.packet, sent), ReplyStatus::kNotForThisRequest);
}

TEST_P(Loop, ReplyLongerThanTheRequestIsRefused) {
  const SentRequest sent = request();
  EXPECT_EQ(status(reply(sent, 2), sent), ReplyStatus::kLongerThanRequest);
}

TEST_P(Loop, ReplyWithoutAuthenticatorIsRefused) {
  const SentRequest sent = request();
  EXPECT_EQ(status(bare(sent, reply_header(sent)), sent), ReplyStatus::kMissingAuthenticator);
}

TEST_P(Loop, ReplyWithoutIdentifierIsNotForThisRequest) {
  const SentRequest sent = request();
  Octets packet(48);
  ntp::write_header(reply_header(sent), packet);
  EXPECT_EQ(status(packet, sent), ReplyStatus::kNotForThisRequest);
}

TEST_P(Loop, ReplyWithTwoIdentifiersIsNotForThisRequest) {
  const SentRequest sent = request();
  Octets packet = bare(sent, kiss(reply_header(sent), ntp::kKissNtsNak));
  const Octets identifier(packet.begin() + 48, packet.end());
  packet.insert(packet.end(), identifier.begin(), identifier.end());
  EXPECT_EQ(status(packet, sent), ReplyStatus::kNotForThisRequest);
}

TEST_P(Loop, IdentifierAfterTheAuthenticatorDoesNotCount) {
  const SentRequest sent = request({.placeholders = 1});
  const Octets good = reply(sent, 0);
  const std::size_t authenticator = 48 + 4 + sent.unique_identifier.size();
  Octets packet(good.begin(), good.begin() + 48);
  packet.insert(packet.end(), good.begin() + static_cast<std::ptrdiff_t>(authenticator),
                good.end());
  packet.insert(packet.end(), good.begin() + 48,
                good.begin() + static_cast<std::ptrdiff_t>(authenticator));
  EXPECT_EQ(status(packet, sent), ReplyStatus::kNotForThisRequest);
}

TEST_P(Loop, FieldsAfterTheAuthenticatorAreIgnored) {
  const SentRequest sent = request({.placeholders = 1});
  Octets packet = reply(sent, 1);
  const Octets more = Packet().cookie(28).get();
  packet.insert(packet.end(), more.begin() + 48, more.end());
  EXPECT_EQ(status(packet, sent), ReplyStatus::kAuthentic);
  packet.resize(packet.size() + 3);
  const NtpReply result = accept_reply(packet, sent, &association_, engine_);
  EXPECT_EQ(result.status, ReplyStatus::kAuthentic);
  EXPECT_EQ(result.new_cookies, 1U);  // the one in the clear is not taken
}

TEST_P(Loop, ReplySealedWithTheWrongKeyIsForged) {
  const SentRequest sent = request();
  keys_.s2c = keys_.c2s;
  EXPECT_EQ(status(reply(sent), sent), ReplyStatus::kForged);
}

TEST_P(Loop, AuthenticatorThatDoesNotParseIsForged) {
  const SentRequest sent = request();
  Octets packet = reply(sent);
  const std::size_t body = 48 + 4 + sent.unique_identifier.size() + 4;
  store_be16(packet.data() + body, 0xffff);
  EXPECT_EQ(status(packet, sent), ReplyStatus::kForged);
}

TEST_P(Loop, NakIsRecognised) {
  const SentRequest sent = request();
  const auto nak = kiss(reply_header(sent), ntp::kKissNtsNak);
  EXPECT_EQ(status(bare(sent, nak), sent), ReplyStatus::kNtsNak);
}

TEST_P(Loop, NakWithStratumIsNone) {
  const SentRequest sent = request();
  auto header = kiss(reply_header(sent), ntp::kKissNtsNak);
  header.stratum = 1;
  EXPECT_EQ(status(bare(sent, header), sent), ReplyStatus::kMissingAuthenticator);
}

TEST_P(Loop, NakForAnotherRequestIsIgnored) {
  const SentRequest sent = request();
  const SentRequest other = request();
  EXPECT_EQ(status(bare(other, kiss(reply_header(sent), ntp::kKissNtsNak)), sent),
            ReplyStatus::kNotForThisRequest);
  Octets packet(48);
  ntp::write_header(kiss(reply_header(sent), ntp::kKissNtsNak), packet);
  EXPECT_EQ(status(packet, sent), ReplyStatus::kNotForThisRequest);
}

TEST_P(Loop, NakWithAnAuthenticatorIsAReply) {
  const SentRequest sent = request();
  const auto header = kiss(reply_header(sent), ntp::kKissNtsNak);
  EXPECT_EQ(status(reply(sent, header, {}), sent), ReplyStatus::kAuthentic);
  Octets forged = reply(sent, header, {});
  forged.back() ^= 1;
  EXPECT_EQ(status(forged, sent), ReplyStatus::kForged);
}

TEST_P(Loop, OtherKissIsTold) {
  const SentRequest sent = request();
  EXPECT_EQ(status(bare(sent, kiss(reply_header(sent), ntp::kKissRate)), sent),
            ReplyStatus::kKissCode);
  EXPECT_EQ(status(bare(sent, kiss(reply_header(sent), 0)), sent),
            ReplyStatus::kMissingAuthenticator);
}

TEST_P(Loop, UnsynchronisedServersReplyIsAuthentic) {
  const SentRequest sent = request();
  EXPECT_EQ(status(reply(sent, kiss(reply_header(sent), 0), {}), sent), ReplyStatus::kAuthentic);
}

// Without NTS.

class Plain : public testing::Test {
 protected:
  Plain() {
    header_.mode = ntp::Mode::kServer;
    header_.stratum = 2;
    header_.origin = sent_.transmit;
  }

  ReplyStatus status(const ntp::Header& header) {
    Octets packet(48);
    ntp::write_header(header, packet);
    return accept_reply(packet, sent_, nullptr, engine_).status;
  }

  crypto::Engine engine_;
  crypto::RandomGenerator random_{seed(2)};
  SentRequest sent_ = make_plain_request(random_);
  ntp::Header header_;
};

TEST_F(Plain, RequestIsABareHeader) {
  EXPECT_EQ(sent_.packet.size(), 48U);
  EXPECT_EQ(sent_.packet[0], 0x23);
  EXPECT_EQ(load_be64(sent_.packet.data() + 40), sent_.transmit.bits);
  EXPECT_NE(make_plain_request(random_).transmit, sent_.transmit);
  EXPECT_EQ(parse_request(sent_.packet).kind, RequestKind::kPlain);
}

TEST_F(Plain, MatchingReplyIsTaken) {
  EXPECT_EQ(status(header_), ReplyStatus::kAuthentic);
}

TEST_F(Plain, OtherOriginModeOrVersionIsIgnored) {
  ntp::Header header = header_;
  header.origin.bits ^= 1;
  EXPECT_EQ(status(header), ReplyStatus::kNotForThisRequest);
  header = header_;
  header.mode = ntp::Mode::kSymmetricPassive;
  EXPECT_EQ(status(header), ReplyStatus::kNotForThisRequest);
  header = header_;
  header.version = 5;
  EXPECT_EQ(status(header), ReplyStatus::kNotForThisRequest);
}

TEST_F(Plain, ShortReplyIsIgnored) {
  EXPECT_EQ(accept_reply(octets(47), sent_, nullptr, engine_).status,
            ReplyStatus::kNotForThisRequest);
}

TEST_F(Plain, KissIsTold) {
  EXPECT_EQ(status(kiss(header_, ntp::kKissRate)), ReplyStatus::kKissCode);
  EXPECT_EQ(status(kiss(header_, 0)), ReplyStatus::kAuthentic);  // unsynchronised, no code
}

// Bursts.

// Requests of every AEAD in turn and some plain, with all that they need.
class Burst : public testing::Test {
 protected:
  static constexpr std::size_t kBurst = 164;

  struct Exchange {
    AssociationKeys keys;
    Octets cookie;
    Octets request = octets(1024);
    Octets reply;
    Octets room = octets(1024);
    bool plain = false;
  };

  Burst() {
    for (std::size_t i = 0; i < kBurst; ++i) {
      Exchange& x = exchanges_[i];
      x.plain = i % 5 == 4;
      x.keys = association_keys(kEveryAead[i % 4]);
      x.cookie = octets(60 + i % 7, static_cast<std::uint8_t>(i));
      RequestJob& job = requests_[i];
      if (!x.plain) job.keys = &x.keys;
      job.cookie = x.cookie;
      job.options.placeholders = i % 3;
      job.transmit = {i};
      x.request.resize(request_length(job));
      job.packet = x.request;
    }
    EXPECT_TRUE(make_requests(requests_, engine_, random_));
    for (std::size_t i = 0; i < kBurst; ++i) answer(i);
  }

  // The server's side, and what the client is to check.
  void answer(std::size_t i) {
    Exchange& x = exchanges_[i];
    ntp::Header header;
    header.mode = ntp::Mode::kServer;
    header.stratum = 1;
    header.origin = {i};
    x.reply.resize(x.request.size());
    ByteWriter out(x.reply);
    ntp::write_header(header, out.reserve(ntp::kHeaderLength));
    ReplyJob& job = replies_[i];
    if (!x.plain) {
      ntp::write_field(out, FieldType::kUniqueIdentifier, requests_[i].unique_identifier);
      Octets inner(4 + padded4(x.cookie.size()));
      ByteWriter fields(inner);
      ntp::write_field(fields, FieldType::kNtsCookie, x.cookie);
      const auto layout = write_authenticator(out, x.keys.aead, inner.size(), random_);
      const crypto::SealJob seal = {x.keys.s2c.bytes(), layout.nonce, layout.associated_data, inner,
                                    layout.ciphertext};
      EXPECT_TRUE(engine_.row(x.keys.aead).seal({&seal, 1}));
      job.keys = &x.keys;
    }
    job.packet = out.written();
    job.transmit = {i};
    job.request_length = x.request.size();
    job.unique_identifier = requests_[i].unique_identifier;
    job.room = x.room;
  }

  void forge(std::size_t i) { exchanges_[i].reply[replies_[i].packet.size() - 1] ^= 1; }

  crypto::Engine engine_;
  crypto::RandomGenerator random_{seed(3)};
  std::array<Exchange, kBurst> exchanges_;
  std::array<RequestJob, kBurst> requests_;
  std::array<ReplyJob, kBurst> replies_;
};

TEST_F(Burst, EveryRequestIsOneTheServerTakes) {
  for (std::size_t i = 0; i < kBurst; ++i) {
    const Exchange& x = exchanges_[i];
    ASSERT_EQ(load_be64(x.request.data() + 40), i);
    const auto parsed = parse_request(x.request);
    ASSERT_EQ(parsed.kind, x.plain ? RequestKind::kPlain : RequestKind::kNts) << i;
    if (x.plain) continue;
    EXPECT_TRUE(equal(parsed.nts.cookie.first(x.cookie.size()), x.cookie));
    EXPECT_EQ(parsed.nts.placeholders, i % 3);
    const AuthenticatorField& field = parsed.nts.authenticator;
    crypto::OpenJob job = {x.keys.c2s.bytes(),
                           field.nonce,
                           Bytes(x.request).first(field.offset),
                           field.ciphertext,
                           {}};
    engine_.row(x.keys.aead).open({&job, 1});
    EXPECT_TRUE(job.authentic) << i;
  }
}

TEST_F(Burst, EveryReplyIsCheckedForItself) {
  forge(0);           // AEAD 15
  forge(kBurst - 1);  // AEAD 30
  replies_[1].transmit = {99};
  replies_[9].transmit = {99};  // plain
  replies_[2].request_length = 100;
  check_replies(replies_, engine_);
  EXPECT_EQ(replies_[0].status, ReplyStatus::kForged);
  EXPECT_EQ(replies_[kBurst - 1].status, ReplyStatus::kForged);
  EXPECT_EQ(replies_[1].status, ReplyStatus::kNotForThisRequest);
  EXPECT_EQ(replies_[9].status, ReplyStatus::kNotForThisRequest);
  EXPECT_EQ(replies_[2].status, ReplyStatus::kLongerThanRequest);
  for (std::size_t i = 3; i < kBurst - 1; ++i) {
    if (i == 9) continue;
    ASSERT_EQ(replies_[i].status, ReplyStatus::kAuthentic) << i;
    EXPECT_EQ(replies_[i].header.stratum, 1);
    CookieReader cookies(replies_[i].decrypted_fields);
    const auto cookie = cookies.next();
    ASSERT_EQ(cookie.has_value(), !exchanges_[i].plain);
    if (cookie) {
      EXPECT_TRUE(equal(cookie->first(exchanges_[i].cookie.size()), exchanges_[i].cookie));
    }
    EXPECT_FALSE(cookies.next());
    EXPECT_EQ(replies_[i].nonce.empty(), exchanges_[i].plain);
  }
}

TEST_F(Burst, WhatIsNotToBeVerifiedIsNeitherAuthenticNorForged) {
  for (ReplyJob& job : replies_) job.verify = false;
  forge(0);
  replies_[1].unique_identifier = replies_[2].unique_identifier;
  check_replies(replies_, engine_);
  EXPECT_EQ(replies_[0].status, ReplyStatus::kNotVerified);
  EXPECT_EQ(replies_[1].status, ReplyStatus::kNotForThisRequest);
  EXPECT_EQ(replies_[3].status, ReplyStatus::kNotVerified);
  EXPECT_TRUE(replies_[3].decrypted_fields.empty());
  EXPECT_EQ(replies_[3].nonce.size(), 12U);
  EXPECT_EQ(replies_[4].status, ReplyStatus::kAuthentic);  // plain
}

TEST_F(Burst, AnEarlierCheckLeavesNothingBehind) {
  check_replies(replies_, engine_);
  for (ReplyJob& job : replies_) job.packet = job.packet.first(47);
  check_replies(replies_, engine_);
  for (const ReplyJob& job : replies_) {
    EXPECT_EQ(job.status, ReplyStatus::kNotForThisRequest);
    EXPECT_TRUE(job.nonce.empty() && job.decrypted_fields.empty());
    EXPECT_EQ(job.header.stratum, 0);
  }
}

}  // namespace
}  // namespace timeball::nts
