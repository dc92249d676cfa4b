// prepare, stamp and seal with hand-set time and seeded randomness: no clock, no socket.
#include "server/responder.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "common/ntp/extension_field.h"
#include "common/ntp/packet.h"
#include "common/nts/client.h"
#include "common/nts/cookie.h"

namespace timeball::server {
namespace {

using crypto::AeadId;
using std::chrono::milliseconds;
using std::chrono::seconds;

using Seed = std::array<std::uint8_t, crypto::kSeedLength>;

// 2036-02-07T06:28:16Z, where NTP era 1 begins.
constexpr std::int64_t kEra1 = 2'085'978'496LL * kNsPerSecond;
constexpr KernelTime kReceived{1'800'000'000LL * kNsPerSecond + 250'000'000};
constexpr MonotonicTime kMonotonic{5'000 * kNsPerSecond};

nts::MasterKeySecret master_key(std::uint8_t fill) {
  std::array<std::uint8_t, nts::kMasterKeyLength> octets{};
  octets.fill(fill);
  return nts::MasterKeySecret(octets);
}

ClockState good_clock(KernelTime as_of = kReceived) {
  ClockState clock;
  clock.as_of = as_of;
  clock.offset = milliseconds(3);
  clock.error_bound = milliseconds(1);
  clock.growth_ppb = 1'000'000;  // 1 ms a second, so that growth shows
  clock.reference_time = as_of;
  clock.reference_id = ntp::ascii_code("PPS\0");
  clock.leap = LeapIndicator::kNone;
  clock.stratum = 1;
  clock.precision = -23;
  return clock;
}

// A server without sockets: octets in, octets out.
class Bench {
 public:
  explicit Bench(const ResponderOptions& options = {}, std::uint8_t seed = 1)
      : random(Seed{seed}), responder(options, crypto::Engine(), random) {}

  // The reply to each request; empty where there is none.
  std::vector<std::vector<std::uint8_t>> answer(
      const std::vector<std::vector<std::uint8_t>>& requests) {
    std::vector<std::vector<std::uint8_t>> rooms;
    std::vector<net::Datagram> batch(requests.size());
    for (const auto& request : requests) rooms.emplace_back(request.size(), std::uint8_t{0xee});
    for (std::size_t i = 0; i < requests.size(); ++i) {
      batch[i].request = requests[i];
      batch[i].reply_room = rooms[i];
      batch[i].peer = source;
      batch[i].receive_time = received;
      batch[i].receive_late = receive_late;
    }
    const auto seen = responder.prepare(batch, World{clock, keys, access}, monotonic);
    verdicts.assign(seen.begin(), seen.end());
    for (std::size_t first = 0; first < batch.size(); first += 3) {
      const auto part =
          std::span(batch).subspan(first, std::min<std::size_t>(3, batch.size() - first));
      responder.stamp(part, transmitted);
      EXPECT_EQ(responder.seal(part, first), 0U);
    }
    for (std::size_t i = 0; i < requests.size(); ++i) rooms[i].resize(batch[i].reply_length);
    return rooms;
  }
  std::vector<std::uint8_t> answer_one(const std::vector<std::uint8_t>& request) {
    return answer({request}).front();
  }

  nts::ClientAssociation associate(AeadId aead, std::size_t cookies = 8) {
    nts::ClientAssociation association;
    const std::size_t length = crypto::parameters(aead).key_length;
    association.keys.aead = aead;
    random.fill(association.keys.c2s.resize(length));
    random.fill(association.keys.s2c.resize(length));
    for (std::size_t i = 0; i < cookies; ++i) {
      std::vector<std::uint8_t> cookie(nts::cookie_length(aead));
      nts::SealCookieJob job{&association.keys, cookie};
      EXPECT_TRUE(nts::seal_cookies(keys, engine, random, {&job, 1}));
      association.cookies.push_back(cookie);
    }
    return association;
  }
  nts::SentRequest nts_request(nts::ClientAssociation& association, std::size_t placeholders = 0,
                               std::size_t uid = 32) {
    return nts::make_nts_request(association, {placeholders, uid}, engine, random).value();
  }

  ClockState clock = good_clock();
  nts::KeyRing keys = nts::KeyRing::create(100, master_key(1), master_key(2));
  AccessPolicy access;
  net::Endpoint source = net::Endpoint::parse("192.0.2.7:40000").value();
  KernelTime received = kReceived;
  Duration receive_late{};
  KernelTime transmitted = kReceived + std::chrono::microseconds(40);
  MonotonicTime monotonic = kMonotonic;
  crypto::Engine engine;
  crypto::RandomGenerator random;
  Responder responder;
  std::vector<Verdict> verdicts;
};

std::vector<std::uint8_t> plain(std::uint8_t version, ntp::Mode mode) {
  std::vector<std::uint8_t> packet(ntp::kHeaderLength);
  ntp::Header header;
  header.version = version;
  header.mode = mode;
  header.poll = 6;
  header.transmit = {0x0123456789abcdef};
  ntp::write_header(header, packet);
  return packet;
}

TEST(Responder, PlainReplyHoldsEveryFieldOfTheClock) {
  Bench bench;
  const auto reply = bench.answer_one(plain(4, ntp::Mode::kClient));
  const auto header = ntp::parse_header(reply).value();
  EXPECT_EQ(bench.verdicts[0], Verdict::kAnsweredPlain);
  EXPECT_EQ(header.leap, LeapIndicator::kNone);
  EXPECT_EQ(header.version, 4);
  EXPECT_EQ(header.mode, ntp::Mode::kServer);
  EXPECT_EQ(header.stratum, 1);
  EXPECT_EQ(header.poll, 6);
  EXPECT_EQ(header.precision, -23);
  EXPECT_EQ(header.reference_id, ntp::ascii_code("PPS\0"));
  EXPECT_EQ(header.origin.bits, 0x0123456789abcdefU);
  EXPECT_EQ(header.receive, NtpTimestamp::from_utc(bench.clock.utc(bench.received)));
  EXPECT_EQ(header.transmit, NtpTimestamp::from_utc(bench.clock.utc(bench.transmitted)));
}

TEST(Responder, RootDispersionIsThatOfTheTransmitTimeRoundedUp) {
  Bench bench;
  bench.transmitted = kReceived + seconds(1);
  const auto header = ntp::parse_header(bench.answer_one(plain(4, ntp::Mode::kClient))).value();
  EXPECT_GE(header.root_dispersion.duration(), milliseconds(2));
  EXPECT_EQ(header.root_dispersion, NtpShort::round_up(milliseconds(2)));
}

TEST(Responder, ALateReceiveTimeAddsToTheRootDispersion) {
  Bench bench;
  bench.clock.growth_ppb = 0;
  bench.clock.error_bound = seconds(1);  // which is 2^16 units
  const auto request = plain(4, ntp::Mode::kClient);
  EXPECT_EQ(ntp::parse_header(bench.answer_one(request))->root_dispersion.bits, 1U << 16);
  bench.receive_late = Duration(1000);
  EXPECT_EQ(ntp::parse_header(bench.answer_one(request))->root_dispersion.bits, (1U << 16) + 1);
}

TEST(Responder, UnsynchronisedIsLeap3Stratum0) {
  Bench bench;
  bench.clock.leap = LeapIndicator::kUnknown;
  const auto header = ntp::parse_header(bench.answer_one(plain(4, ntp::Mode::kClient))).value();
  EXPECT_EQ(header.leap, LeapIndicator::kUnknown);
  EXPECT_EQ(header.stratum, 0);
  EXPECT_EQ(header.reference_id, 0U);
}

// A reference clock that has died must not go on being believed.
TEST(Responder, AStateThatIsVoidIsUnsynchronised) {
  Bench bench;
  bench.clock.void_after = kReceived;
  auto header = ntp::parse_header(bench.answer_one(plain(4, ntp::Mode::kClient))).value();
  EXPECT_NE(header.stratum, 0);
  bench.clock.void_after = kReceived - Duration(1);
  header = ntp::parse_header(bench.answer_one(plain(4, ntp::Mode::kClient))).value();
  EXPECT_EQ(header.leap, LeapIndicator::kUnknown);
  EXPECT_EQ(header.stratum, 0);
  EXPECT_EQ(header.reference_id, 0U);
  EXPECT_EQ(header.root_dispersion, NtpShort::round_up(seconds(1)));
}

TEST(Responder, Era1TimestampsAreNearTheEpochOfTheEra) {
  Bench bench;
  bench.clock.offset = Duration(0);
  bench.received = {kEra1 - 1};
  bench.transmitted = {kEra1 + 5 * kNsPerSecond};
  bench.clock.as_of = bench.clock.reference_time = bench.received;
  const auto header = ntp::parse_header(bench.answer_one(plain(4, ntp::Mode::kClient))).value();
  EXPECT_EQ(header.receive.bits >> 32, 0xffff'ffffU);
  EXPECT_EQ(header.transmit.bits >> 32, 5U);
}

TEST(Responder, AnswersModesAndVersionsAsTheRulesSay) {
  Bench bench;
  for (std::uint8_t version = 0; version < 8; ++version) {
    for (std::uint8_t mode = 0; mode < 8; ++mode) {
      const auto m = static_cast<ntp::Mode>(mode);
      const bool due = version >= 1 && version <= 4 &&
                       (m == ntp::Mode::kClient || (version == 1 && m == ntp::Mode::kReserved));
      const auto reply = bench.answer_one(plain(version, m));
      EXPECT_EQ(!reply.empty(), due) << "version " << +version << " mode " << +mode;
      if (due) {
        EXPECT_EQ(ntp::parse_header(reply)->version, version);
        EXPECT_EQ(ntp::parse_header(reply)->mode, ntp::Mode::kServer);
      }
    }
  }
}

TEST(Responder, Mode0OfVersion1FromPort123MayBeAServer) {
  Bench bench;
  bench.source.port = 123;
  EXPECT_TRUE(bench.answer_one(plain(1, ntp::Mode::kReserved)).empty());
  EXPECT_EQ(bench.verdicts[0], Verdict::kDroppedMode);
  EXPECT_FALSE(bench.answer_one(plain(1, ntp::Mode::kClient)).empty());
}

TEST(Responder, SymmetricActiveOnlyWhenConfigured) {
  Bench off;
  EXPECT_TRUE(off.answer_one(plain(4, ntp::Mode::kSymmetricActive)).empty());
  Bench on({.symmetric_active = true, .require_nts = false, .rate = {}});
  const auto reply = on.answer_one(plain(4, ntp::Mode::kSymmetricActive));
  EXPECT_EQ(ntp::parse_header(reply)->mode, ntp::Mode::kSymmetricPassive);
}

TEST(Responder, EveryLengthUnderAHeaderIsDropped) {
  Bench bench;
  for (std::size_t n = 0; n < ntp::kHeaderLength; ++n) {
    auto packet = plain(4, ntp::Mode::kClient);
    packet.resize(n);
    EXPECT_TRUE(bench.answer_one(packet).empty());
    EXPECT_EQ(bench.verdicts[0], Verdict::kDroppedShort);
  }
}

TEST(Responder, DeniedClientsHearNothing) {
  Bench bench;
  bench.access = AccessPolicy({}, {net::IpPrefix::parse("192.0.2.0/24").value()});
  EXPECT_TRUE(bench.answer_one(plain(4, ntp::Mode::kClient)).empty());
  EXPECT_EQ(bench.verdicts[0], Verdict::kDroppedDenied);
}

TEST(Responder, RequireNtsLeavesPlainUnanswered) {
  Bench bench({.symmetric_active = false, .require_nts = true, .rate = {}});
  EXPECT_TRUE(bench.answer_one(plain(4, ntp::Mode::kClient)).empty());
  EXPECT_EQ(bench.verdicts[0], Verdict::kDroppedNtsRequired);
  auto association = bench.associate(AeadId::kAesSivCmac256);
  EXPECT_FALSE(bench.answer_one(bench.nts_request(association).packet).empty());
}

TEST(Responder, EchoesTheUniqueIdentifierOfAPlainRequest) {
  Bench bench;
  auto packet = plain(4, ntp::Mode::kClient);
  packet.resize(ntp::kHeaderLength + 40);
  ByteWriter fields(MutableBytes(packet).subspan(ntp::kHeaderLength));
  std::array<std::uint8_t, 36> uid{};
  uid.fill(0x5a);
  ntp::write_field(fields, ntp::FieldType::kUniqueIdentifier, uid);
  const auto reply = bench.answer_one(packet);
  ASSERT_EQ(reply.size(), packet.size());
  EXPECT_TRUE(equal(Bytes(reply).subspan(52), uid));
}

class EveryAead : public testing::TestWithParam<AeadId> {};

TEST_P(EveryAead, ClientAcceptsTheReplyAndItsCookiesWork) {
  Bench bench;
  auto association = bench.associate(GetParam(), 1);
  for (int round = 0; round < 3; ++round) {
    const auto sent = bench.nts_request(association, 3);
    const auto reply = bench.answer_one(sent.packet);
    const auto seen = nts::accept_reply(reply, sent, &association, bench.engine);
    ASSERT_EQ(seen.status, nts::ReplyStatus::kAuthentic);
    EXPECT_EQ(seen.new_cookies, 4U);
    EXPECT_EQ(seen.header.transmit, NtpTimestamp::from_utc(bench.clock.utc(bench.transmitted)));
  }
}

TEST_P(EveryAead, AtMostEightCookiesHoweverManyPlaceholders) {
  Bench bench;
  auto association = bench.associate(GetParam());
  const std::size_t before = association.cookies.size();
  if (nts::cookie_length(GetParam()) * 10 > net::kMaxDatagram - 200) GTEST_SKIP() << "too long";
  const auto sent = bench.nts_request(association, 9);
  const auto seen =
      nts::accept_reply(bench.answer_one(sent.packet), sent, &association, bench.engine);
  EXPECT_EQ(seen.new_cookies, 8U);
  EXPECT_EQ(association.cookies.size(), before - 1 + 8);
}

TEST_P(EveryAead, ReplyNeverOutgrowsTheRequest) {
  Bench bench;
  for (std::size_t uid = 32; uid <= 96; uid += 4) {
    for (std::size_t placeholders = 0; placeholders < 8; ++placeholders) {
      auto association = bench.associate(GetParam(), 1);
      const auto sent = bench.nts_request(association, placeholders, uid);
      EXPECT_LE(bench.answer_one(sent.packet).size(), sent.packet.size());
      EXPECT_EQ(bench.verdicts[0], Verdict::kAnsweredNts);
    }
  }
}

TEST_P(EveryAead, EverySingleBitFlipIsRefused) {
  Bench bench;
  auto association = bench.associate(GetParam(), 1);
  const auto sent = bench.nts_request(association);
  for (std::size_t bit = 0; bit < sent.packet.size() * 8; ++bit) {
    auto packet = sent.packet;
    packet[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    bench.answer_one(packet);
    ASSERT_NE(bench.verdicts[0], Verdict::kAnsweredNts) << "bit " << bit;
  }
}

TEST_P(EveryAead, CookiesOfOlderAndNextKeysOpenRepliesComeUnderTheCurrent) {
  Bench bench;
  auto association = bench.associate(GetParam(), 2);
  bench.keys = bench.keys.rotated(master_key(3), 7);
  const auto sent = bench.nts_request(association);
  const auto seen =
      nts::accept_reply(bench.answer_one(sent.packet), sent, &association, bench.engine);
  ASSERT_EQ(seen.status, nts::ReplyStatus::kAuthentic);
  EXPECT_EQ(nts::cookie_key_id(association.cookies.back()), 101U);
  EXPECT_EQ(association.cookies.back().size(), association.cookies.front().size());

  // Made under the next key, by a member that rotated a moment earlier.
  const nts::KeyRing before = bench.keys;
  bench.keys = bench.keys.rotated(master_key(4), 7);
  auto early = bench.associate(GetParam(), 1);
  bench.keys = before;
  bench.answer_one(bench.nts_request(early).packet);
  EXPECT_EQ(bench.verdicts[0], Verdict::kAnsweredNts);
}

INSTANTIATE_TEST_SUITE_P(Responder, EveryAead,
                         testing::Values(AeadId::kAesSivCmac256, AeadId::kAesSivCmac384,
                                         AeadId::kAesSivCmac512, AeadId::kAes128GcmSiv),
                         [](const auto& i) { return std::to_string(static_cast<int>(i.param)); });

TEST(Responder, UnknownKeyGetsANakTheClientKnows) {
  Bench bench;
  auto association = bench.associate(AeadId::kAesSivCmac256, 1);
  bench.keys = nts::KeyRing::create(7, master_key(9), master_key(10));
  const auto sent = bench.nts_request(association);
  const auto reply = bench.answer_one(sent.packet);
  EXPECT_EQ(bench.verdicts[0], Verdict::kNak);
  const auto seen = nts::accept_reply(reply, sent, &association, bench.engine);
  EXPECT_EQ(seen.status, nts::ReplyStatus::kNtsNak);
  EXPECT_EQ(seen.header.leap, LeapIndicator::kUnknown);
  EXPECT_EQ(reply.size(), ntp::kHeaderLength + 36);  // header and unique identifier, no more
}

TEST(Responder, NoKeysYetMeansSilenceNotANak) {
  Bench bench;
  auto association = bench.associate(AeadId::kAesSivCmac256, 1);
  bench.keys = nts::KeyRing();
  EXPECT_TRUE(bench.answer_one(bench.nts_request(association).packet).empty());
  EXPECT_EQ(bench.verdicts[0], Verdict::kDroppedNoKeys);
  EXPECT_FALSE(bench.answer_one(plain(4, ntp::Mode::kClient)).empty());
}

TEST(Responder, AMemberCutOffDropsCookiesOfNewerKeysAndRefusesTheOthers) {
  Bench bench;
  auto association = bench.associate(AeadId::kAesSivCmac256, 3);
  const nts::KeyRing older = nts::KeyRing::create(98, master_key(8), master_key(9));
  bench.keys = older.cut_off();
  EXPECT_TRUE(bench.answer_one(bench.nts_request(association).packet).empty());
  EXPECT_EQ(bench.verdicts[0], Verdict::kDroppedNewerKey);
  bench.keys = older;
  EXPECT_FALSE(bench.answer_one(bench.nts_request(association).packet).empty());
  EXPECT_EQ(bench.verdicts[0], Verdict::kNak);
  bench.keys = nts::KeyRing::create(200, master_key(8), master_key(9)).cut_off();
  EXPECT_FALSE(bench.answer_one(bench.nts_request(association).packet).empty());
  EXPECT_EQ(bench.verdicts[0], Verdict::kNak);
}

TEST(Responder, NaksStopAtTheirLimit) {
  Bench bench(
      {.symmetric_active = false, .require_nts = false, .rate = {.refusals_per_second = 5}});
  auto association = bench.associate(AeadId::kAesSivCmac256, 30);
  bench.keys = nts::KeyRing::create(7, master_key(9), master_key(10));
  int naks = 0;
  while (!association.cookies.empty()) {
    naks += bench.answer_one(bench.nts_request(association).packet).empty() ? 0 : 1;
  }
  EXPECT_EQ(naks, 5);
  EXPECT_EQ(bench.verdicts[0], Verdict::kDroppedRefusalRate);
}

RateLimits two_then_nothing(bool kiss) {
  RateLimits limits;
  limits.enabled = true;
  limits.interval = seconds(10);
  limits.burst = 2;
  limits.let_through = 0;
  limits.kiss = kiss;
  return limits;
}

TEST(Responder, OverTheLimitPlainGetsRateWhenConfigured) {
  Bench bench({.symmetric_active = false, .require_nts = false, .rate = two_then_nothing(true)});
  for (int i = 0; i < 2; ++i) bench.answer_one(plain(4, ntp::Mode::kClient));
  const auto header = ntp::parse_header(bench.answer_one(plain(4, ntp::Mode::kClient))).value();
  EXPECT_EQ(bench.verdicts[0], Verdict::kKissRate);
  EXPECT_EQ(header.stratum, 0);
  EXPECT_EQ(header.reference_id, ntp::kKissRate);
  EXPECT_EQ(header.origin.bits, 0x0123456789abcdefU);
}

TEST(Responder, OverTheLimitNtsIsDroppedEvenWhenANakWouldBeDue) {
  Bench bench({.symmetric_active = false, .require_nts = false, .rate = two_then_nothing(true)});
  auto association = bench.associate(AeadId::kAesSivCmac256, 3);
  bench.keys = nts::KeyRing::create(7, master_key(9), master_key(10));
  for (int i = 0; i < 3; ++i) bench.answer_one(bench.nts_request(association).packet);
  EXPECT_EQ(bench.verdicts[0], Verdict::kDroppedRate);
}

// One batch with every kind of request: each gets what it would get alone.
TEST(Responder, AMixedBatchIsAnsweredAsItsPartsWouldBe) {
  Bench bench;
  std::vector<nts::ClientAssociation> associations;
  std::vector<nts::SentRequest> sent;
  std::vector<std::vector<std::uint8_t>> requests;
  const std::array aeads = {AeadId::kAesSivCmac256, AeadId::kAes128GcmSiv, AeadId::kAesSivCmac512,
                            AeadId::kAesSivCmac384};
  for (std::size_t i = 0; i < 16; ++i) associations.push_back(bench.associate(aeads[i % 4], 2));
  for (std::size_t i = 0; i < 16; ++i) {
    sent.push_back(bench.nts_request(associations[i], i % 5));
    requests.push_back(sent.back().packet);
    if (i % 8 == 7) requests.back()[100] ^= 1;  // inside the cookie
  }
  for (int i = 0; i < 4; ++i) requests.push_back(plain(4, ntp::Mode::kClient));
  requests.push_back(plain(4, ntp::Mode::kServer));
  const auto replies = bench.answer(requests);
  for (std::size_t i = 0; i < 16; ++i) {
    const auto seen = nts::accept_reply(replies[i], sent[i], &associations[i], bench.engine);
    EXPECT_EQ(seen.status, i % 8 == 7 ? nts::ReplyStatus::kNtsNak : nts::ReplyStatus::kAuthentic);
    EXPECT_EQ(seen.new_cookies, i % 8 == 7 ? 0 : 1 + i % 5);
  }
  for (std::size_t i = 16; i < 20; ++i) EXPECT_EQ(replies[i].size(), ntp::kHeaderLength);
  EXPECT_TRUE(replies[20].empty());
}

TEST(Responder, SameSeedSameOctets) {
  Bench a({}, 5);
  Bench b({}, 5);
  auto one = a.associate(AeadId::kAesSivCmac256, 1);
  auto two = b.associate(AeadId::kAesSivCmac256, 1);
  EXPECT_EQ(a.answer_one(a.nts_request(one, 2).packet), b.answer_one(b.nts_request(two, 2).packet));
}

}  // namespace
}  // namespace timeball::server
