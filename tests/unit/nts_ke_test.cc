#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "common/nts/ke_negotiation.h"
#include "common/nts/ke_record.h"
#include "tests/unit/nts_support.h"

namespace timeball::nts {
namespace {

using crypto::AeadId;

// A decision as a word: "15", "30 1024", "30 as 15", "no protocol", "no aead", "error 1".
std::string word(const KeDecision& decision) {
  if (const auto* agreement = std::get_if<KeAgreement>(&decision)) {
    std::string text = std::to_string(static_cast<unsigned>(agreement->aead));
    if (agreement->exporter_aead != static_cast<unsigned>(agreement->aead)) {
      text += " as " + std::to_string(agreement->exporter_aead);
    }
    return text + (agreement->confirm_record_1024 ? " 1024" : "");
  }
  if (std::holds_alternative<KeNoCommonProtocol>(decision)) return "no protocol";
  if (std::holds_alternative<KeNoCommonAead>(decision)) return "no aead";
  return "error " + std::to_string(static_cast<unsigned>(std::get<KeError>(decision)));
}

std::string decide(const Octets& message, const KePolicy& policy = {}) {
  return word(negotiate(message, policy));
}

Message usual() {
  return Message().protocol().aead();
}

// Records.

TEST(KeRecord, HasCriticalBitTypeLengthAndBody) {
  const Octets wire = {0x80, 0x04, 0x00, 0x03, 1, 2, 3, 0x7f, 0xff, 0x00, 0x00};
  ByteReader reader(wire);
  const auto first = read_record(reader);
  ASSERT_TRUE(first);
  EXPECT_TRUE(first->critical);
  EXPECT_TRUE(first->is(RecordType::kAead));
  EXPECT_EQ(Octets(first->body.begin(), first->body.end()), (Octets{1, 2, 3}));
  const auto second = read_record(reader);
  ASSERT_TRUE(second);
  EXPECT_FALSE(second->critical);
  EXPECT_EQ(second->type, 0x7fff);
  EXPECT_TRUE(reader.ok());
  EXPECT_FALSE(read_record(reader));
  EXPECT_FALSE(reader.ok());
}

TEST(KeRecord, CutOffIsNone) {
  const Octets wire = Message().ids(true, 4, {15, 30}).unfinished();
  for (std::size_t n = 0; n < wire.size(); ++n) {
    ByteReader reader(Bytes(wire).first(n));
    EXPECT_FALSE(read_record(reader)) << n;
  }
}

TEST(KeRecord, WritesWhatItReads) {
  Octets wire(64);
  ByteWriter out(wire);
  write_record(out, false, static_cast<RecordType>(0x4001), octets(5));
  write_record_u16(out, true, RecordType::kPort, 0x1234);
  ByteReader reader(out.written());
  const auto first = read_record(reader);
  const auto second = read_record(reader);
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(first->critical);
  EXPECT_EQ(first->type, 0x4001);
  EXPECT_EQ(first->body.size(), 5U);
  EXPECT_TRUE(second->critical);
  EXPECT_EQ(load_be16(second->body.data()), 0x1234);
}

TEST(KeMessage, IsWholeOnlyWithItsEndAtEverySplit) {
  const Octets message = usual().text(false, 6, "time.example").end();
  for (std::size_t n = 0; n < message.size(); ++n) {
    EXPECT_FALSE(message_length(Bytes(message).first(n))) << n;
  }
  EXPECT_EQ(message_length(message), message.size());
}

TEST(KeMessage, WhatFollowsItsEndIsNotCounted) {
  const Octets message = usual().end();
  Octets more = message;
  more.insert(more.end(), message.begin(), message.end());
  EXPECT_EQ(message_length(more), message.size());
}

TEST(KeMessage, EndsAtAFaultyEndOfMessageToo) {
  EXPECT_EQ(message_length(Message().record(false, 0, octets(3)).unfinished()), 7U);
}

TEST(KeExporter, ContextIsProtocolAeadAndDirection) {
  EXPECT_EQ(exporter_context(15, false), (std::array<std::uint8_t, 5>{0, 0, 0, 15, 0}));
  EXPECT_EQ(exporter_context(30, true), (std::array<std::uint8_t, 5>{0, 0, 0, 30, 1}));
}

// Negotiation.

TEST(Negotiate, UsualRequestGets15) {
  EXPECT_EQ(decide(usual().end()), "15");
}

TEST(Negotiate, OrderOfRecordsDoesNotMatter) {
  EXPECT_EQ(decide(Message().text(false, 6, "1.2.3.4").aead({17, 15}).protocol().end()), "15");
}

TEST(Negotiate, UnfinishedMessageIsBadRequest) {
  const Octets message = usual().end();
  for (std::size_t n = 0; n < message.size(); ++n) {
    const Octets cut(message.begin(), message.begin() + static_cast<std::ptrdiff_t>(n));
    EXPECT_EQ(decide(cut), "error 1") << n;
  }
}

TEST(Negotiate, WhatFollowsEndOfMessageIsIgnored) {
  Octets message = usual().end();
  message.insert(message.end(), {0x80, 0x02, 0x00});
  EXPECT_EQ(decide(message), "15");
}

TEST(Negotiate, EndOfMessageWithBodyIsBadRequest) {
  EXPECT_EQ(decide(usual().record(true, 0, octets(1)).unfinished()), "error 1");
}

TEST(Negotiate, EndOfMessageWithoutCriticalBitIsBadRequest) {
  EXPECT_EQ(decide(usual().record(false, 0, {}).unfinished()), "error 1");
}

// Record 1.

TEST(Negotiate, MissingNextProtocolIsBadRequest) {
  EXPECT_EQ(decide(Message().aead().end()), "error 1");
  EXPECT_EQ(decide(Message().end()), "error 1");
}

TEST(Negotiate, SecondNextProtocolIsBadRequest) {
  EXPECT_EQ(decide(usual().protocol().end()), "error 1");
}

TEST(Negotiate, EmptyOrOddNextProtocolIsBadRequest) {
  EXPECT_EQ(decide(Message().protocol({}).aead().end()), "error 1");
  EXPECT_EQ(decide(Message().record(true, 1, octets(1, 0)).aead().end()), "error 1");
  EXPECT_EQ(decide(Message().record(true, 1, octets(3, 0)).aead().end()), "error 1");
}

TEST(Negotiate, NextProtocolWithoutCriticalBitIsBadRequest) {
  EXPECT_EQ(decide(Message().ids(false, 1, {0}).aead().end()), "error 1");
}

TEST(Negotiate, UnknownProtocolsAreSkipped) {
  EXPECT_EQ(decide(Message().protocol({0x8001, 0}).aead({17, 15}).end()), "15");
  EXPECT_EQ(decide(Message().protocol({0, 0x8001}).aead().end()), "15");
}

TEST(Negotiate, NoCommonProtocolIsNoError) {
  EXPECT_EQ(decide(Message().protocol({0x8001}).aead().end()), "no protocol");
  EXPECT_EQ(decide(Message().protocol({0x8001}).end()), "no protocol");
  EXPECT_EQ(decide(Message().protocol({0x0100}).aead().end()), "no protocol");
}

// Records 2, 3, 5.

TEST(Negotiate, ErrorWarningAndCookieFromAClientAreBadRequests) {
  for (const std::uint16_t type : Ids{2, 3, 5}) {
    EXPECT_EQ(decide(usual().ids(true, type, {0}).end()), "error 1") << type;
    EXPECT_EQ(decide(usual().ids(false, type, {0}).end()), "error 1") << type;
  }
}

// Record 4.

TEST(Negotiate, MissingAeadIsBadRequest) {
  EXPECT_EQ(decide(Message().protocol().end()), "error 1");
}

TEST(Negotiate, SecondAeadIsBadRequest) {
  EXPECT_EQ(decide(usual().aead().end()), "error 1");
}

TEST(Negotiate, EmptyOrOddAeadIsBadRequest) {
  EXPECT_EQ(decide(Message().protocol().aead({}).end()), "error 1");
  EXPECT_EQ(decide(Message().protocol().record(true, 4, octets(3, 0)).end()), "error 1");
}

TEST(Negotiate, AeadNeedsNoCriticalBit) {
  EXPECT_EQ(decide(Message().protocol().ids(false, 4, {15}).end()), "15");
}

TEST(Negotiate, DuplicateIdentifiersInAListAreHarmless) {
  EXPECT_EQ(decide(Message().protocol({0, 0}).aead({15, 15, 15}).end()), "15");
}

TEST(Negotiate, ServersPreferenceDecides) {
  EXPECT_EQ(decide(Message().protocol().aead({16, 17, 15}).end()), "15");
  EXPECT_EQ(decide(Message().protocol().aead({16, 17}).end()), "17");
  KePolicy policy;
  policy.aeads = {AeadId::kAesSivCmac384, AeadId::kAesSivCmac256};
  EXPECT_EQ(decide(Message().protocol().aead({15, 17, 16}).end(), policy), "16");
}

TEST(Negotiate, NoCommonAeadIsNoError) {
  EXPECT_EQ(decide(Message().protocol().aead({1}).end()), "no aead");
  EXPECT_EQ(decide(Message().protocol().aead({0x0f00}).end()), "no aead");
}

TEST(Negotiate, DisabledAeadIsNotChosen) {
  KePolicy policy;
  policy.aeads = {AeadId::kAesSivCmac256};
  EXPECT_EQ(decide(Message().protocol().aead({17, 15}).end(), policy), "15");
  EXPECT_EQ(decide(Message().protocol().aead({17}).end(), policy), "no aead");
}

TEST(Negotiate, Offered15NeverGetsAnEmptyAnswer) {
  for (std::uint16_t other = 0; other < 40; ++other) {
    EXPECT_NE(decide(Message().protocol().aead({other, 15}).end()), "no aead");
  }
}

// AEAD 30 and record 1024.

TEST(Negotiate, GcmSivWithRecord1024IsPreferredAndConfirmed) {
  const auto request = [](Message message) { return message.record(false, 1024, {}).end(); };
  EXPECT_EQ(decide(request(Message().protocol().aead({15, 30}))), "30 1024");
  EXPECT_EQ(decide(request(Message().protocol().aead({30}))), "30 1024");
}

TEST(Negotiate, Record1024MayComeFirstAndTwiceAndCritical) {
  EXPECT_EQ(
      decide(
          Message().record(true, 1024, {}).record(false, 1024, {}).protocol().aead({30, 15}).end()),
      "30 1024");
}

TEST(Negotiate, GcmSivWithoutRecord1024IsNotChosen) {
  EXPECT_EQ(decide(Message().protocol().aead({30, 15}).end()), "15");
  EXPECT_EQ(decide(Message().protocol().aead({30, 17}).end()), "17");
  EXPECT_EQ(decide(Message().protocol().aead({30}).end()), "no aead");
}

TEST(Negotiate, GcmSivWithoutRecord1024IsExportedAs15WherePolicySaysSo) {
  KePolicy policy;
  policy.gcm_siv_without_record_1024 = true;
  EXPECT_EQ(decide(Message().protocol().aead({30, 15}).end(), policy), "30 as 15");
  EXPECT_EQ(decide(Message().protocol().aead({30}).record(false, 1024, {}).end(), policy),
            "30 1024");
}

TEST(Negotiate, Record1024IsNotConfirmedForOtherAlgorithms) {
  EXPECT_EQ(decide(usual().record(false, 1024, {}).end()), "15");
}

TEST(Negotiate, Record1024WithBodyIsBadRequest) {
  EXPECT_EQ(decide(usual().record(false, 1024, octets(2)).end()), "error 1");
}

// Records 6 and 7.

TEST(Negotiate, WellFormedServerAndPortAreIgnored) {
  for (const char* server : {"192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "time.example",
                             "xn--bcher-kva.example", "localhost", "a.b.c.", "3com.example"}) {
    EXPECT_EQ(decide(usual().text(false, 6, server).end()), "15") << server;
    EXPECT_EQ(decide(usual().text(true, 6, server).end()), "15") << server;
  }
  EXPECT_EQ(decide(usual().ids(false, 7, {123}).end()), "15");
}

TEST(Negotiate, MalformedServerIsBadRequest) {
  const std::string long_label(64, 'a');
  std::string long_name;
  for (int i = 0; i < 64; ++i) long_name += "abc.";
  for (const std::string& server :
       {std::string(), std::string("fe80::1%eth0"), std::string("256.1.1.1"), std::string("1.2.3"),
        std::string("01.2.3.4"),
        std::string("b\xc3\xbc"
                    "cher.example"),
        std::string("a b"), std::string("-a.example"), std::string("a-.example"),
        std::string("a..b"), std::string("."), std::string(".a"), std::string("a_b"),
        std::string("1.2.3.4\0", 8), std::string("1.2.3.4\0x", 9), std::string("[::1]"),
        std::string("a:123"), long_label, long_name}) {
    EXPECT_EQ(decide(usual().text(false, 6, server).end()), "error 1") << server;
  }
}

TEST(Negotiate, NamesOf253OctetsAreTheLongest) {
  std::string name;
  for (int i = 0; i < 63; ++i) name += "abc.";
  name += "a";
  ASSERT_EQ(name.size(), 253U);
  EXPECT_TRUE(is_server_name(name));
  EXPECT_TRUE(is_server_name(name + "."));
  EXPECT_FALSE(is_server_name(name + "a"));
}

TEST(Negotiate, SecondServerOrPortIsBadRequest) {
  EXPECT_EQ(decide(usual().text(false, 6, "a").text(false, 6, "a").end()), "error 1");
  EXPECT_EQ(decide(usual().ids(false, 7, {123}).ids(false, 7, {123}).end()), "error 1");
}

TEST(Negotiate, PortOfAnotherLengthIsBadRequest) {
  for (const std::size_t n : {0U, 1U, 3U, 4U}) {
    EXPECT_EQ(decide(usual().record(false, 7, octets(n)).end()), "error 1") << n;
  }
}

// Unknown records.

TEST(Negotiate, UnknownRecordsAreIgnoredWhateverTheirLength) {
  for (const std::uint16_t type : Ids{8, 14, 1023, 1025, 16384, 32767}) {
    for (const std::size_t n : {0U, 1U, 2U, 999U}) {
      EXPECT_EQ(decide(usual().record(false, type, octets(n)).end()), "15") << type << " " << n;
    }
  }
}

TEST(Negotiate, UnknownCriticalRecordIsError0) {
  for (const std::uint16_t type : Ids{8, 14, 1023, 1025, 16384, 32767}) {
    EXPECT_EQ(decide(usual().record(true, type, {}).end()), "error 0") << type;
  }
}

TEST(Negotiate, FirstOfSeveralFaultsDecides) {
  EXPECT_EQ(decide(Message().record(true, 99, {}).ids(true, 2, {0}).end()), "error 0");
  EXPECT_EQ(decide(Message().ids(true, 2, {0}).record(true, 99, {}).end()), "error 1");
  EXPECT_EQ(decide(Message().record(true, 99, {}).unfinished()), "error 0");
  EXPECT_EQ(decide(Message().record(true, 99, {}).end()), "error 0");  // record 1 missing too
}

TEST(Negotiate, RequestOfTheLargestSizeWorks) {
  const Octets message = usual().record(false, 4000, octets(kMaxKeRequestLength - 20)).end();
  ASSERT_EQ(message.size(), kMaxKeRequestLength);
  EXPECT_EQ(decide(message), "15");
}

// Responses.

struct Parsed {
  std::string types;  // "1! 4! 5 5 0!", ! for critical
  std::vector<Octets> cookies;
  std::vector<Octets> bodies;
};

Parsed parse(const Octets& message) {
  Parsed parsed;
  ByteReader reader(message);
  while (const auto record = read_record(reader)) {
    if (!parsed.types.empty()) parsed.types += ' ';
    parsed.types += std::to_string(record->type) + (record->critical ? "!" : "");
    parsed.bodies.emplace_back(record->body.begin(), record->body.end());
    if (record->is(RecordType::kNewCookie)) parsed.cookies.push_back(parsed.bodies.back());
  }
  EXPECT_EQ(message_length(message), message.size());
  return parsed;
}

class Response : public testing::Test {
 protected:
  Parsed respond(const KeDecision& decision, const KePolicy& policy = {}) {
    const auto* agreement = std::get_if<KeAgreement>(&decision);
    const AssociationKeys keys =
        agreement != nullptr ? association_keys(agreement->aead) : AssociationKeys{};
    return parse(make_response(decision, policy, keys, ring_, engine_, random_));
  }

  crypto::Engine engine_;
  crypto::RandomGenerator random_{seed(1)};
  KeyRing ring_ = KeyRing::create(1, master_key(1), master_key(2));
};

TEST_F(Response, AgreementHoldsProtocolAeadEightCookiesEnd) {
  const Parsed parsed = respond(KeAgreement{AeadId::kAesSivCmac256, 15, false});
  EXPECT_EQ(parsed.types, "1! 4! 5 5 5 5 5 5 5 5 0!");
  EXPECT_EQ(parsed.bodies[0], (Octets{0, 0}));
  EXPECT_EQ(parsed.bodies[1], (Octets{0, 15}));
}

TEST_F(Response, Record1024IsConfirmedWhenAgreed) {
  const Parsed parsed = respond(KeAgreement{AeadId::kAes128GcmSiv, 30, true});
  EXPECT_EQ(parsed.types, "1! 4! 1024 5 5 5 5 5 5 5 5 0!");
  EXPECT_EQ(parsed.bodies[1], (Octets{0, 30}));
  EXPECT_TRUE(parsed.bodies[2].empty());
}

TEST_F(Response, CookiesOpenAreDistinctAndOfOneLength) {
  for (const AeadId aead : kEveryAead) {
    const Parsed parsed = respond(KeAgreement{aead, static_cast<std::uint16_t>(aead), false});
    ASSERT_EQ(parsed.cookies.size(), 8U);
    std::set<std::string> distinct;
    for (const Octets& cookie : parsed.cookies) {
      distinct.insert(text(cookie));
      EXPECT_EQ(cookie.size(), cookie_length(aead));
      OpenCookieJob job;
      job.cookie = cookie;
      open_cookies(ring_, engine_, random_, {&job, 1});
      EXPECT_EQ(job.status, CookieStatus::kOpened);
      EXPECT_EQ(job.keys, association_keys(aead));
    }
    EXPECT_EQ(distinct.size(), 8U);
  }
}

TEST_F(Response, ServerAndPortAreSentWhenConfigured) {
  KePolicy policy;
  policy.servers = {{"time.example"}};
  policy.port = 4123;
  const Parsed parsed = respond(KeAgreement{AeadId::kAesSivCmac256, 15, false}, policy);
  EXPECT_EQ(parsed.types, "1! 4! 5 5 5 5 5 5 5 5 6! 7! 0!");
  EXPECT_EQ(text(parsed.bodies[10]), "time.example");
  EXPECT_EQ(parsed.bodies[11], (Octets{0x10, 0x1b}));
}

TEST_F(Response, OfSeveralServersEachIsNamedByItsWeight) {
  KePolicy policy;
  policy.servers = {{"one.example", 1}, {"192.0.2.3", 3}, {"two.example", 1}};
  std::map<std::string, int> named;
  for (int i = 0; i < 1000; ++i) {
    const Parsed parsed = respond(KeAgreement{AeadId::kAes128GcmSiv, 30, true}, policy);
    ASSERT_EQ(parsed.types, "1! 4! 1024 5 5 5 5 5 5 5 5 6! 0!");
    ++named[text(parsed.bodies[11])];
  }
  // The generator has a fixed seed; five standard deviations are 63 and 78.
  EXPECT_NEAR(named["one.example"], 200, 65);
  EXPECT_NEAR(named["192.0.2.3"], 600, 80);
  EXPECT_NEAR(named["two.example"], 200, 65);
  EXPECT_EQ(named.size(), 3U);
}

TEST_F(Response, TheServerThatTheClientWishesForIsNamedIfItIsOurs) {
  KePolicy policy;
  policy.servers = {{"one.example", 1000}, {"Two.example", 1}, {"192.0.2.3", 1}};
  const auto named = [&](const std::string& wish) {
    const Octets request = usual().text(false, 6, wish).end();
    return text(respond(negotiate(request, policy), policy).bodies[10]);
  };
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(named("two.example"), "Two.example");
    EXPECT_EQ(named("TWO.EXAMPLE."), "Two.example");
    EXPECT_EQ(named("192.0.2.3"), "192.0.2.3");
  }
  std::set<std::string> others;
  for (int i = 0; i < 10; ++i) others.insert(named("three.example"));
  EXPECT_TRUE(others.contains("one.example"));
  EXPECT_FALSE(others.contains("three.example"));
}

TEST_F(Response, LongestServerNameFits) {
  KePolicy policy;
  policy.servers = {{std::string(253, 'a')}};
  policy.port = 1;
  EXPECT_EQ(respond(KeAgreement{AeadId::kAesSivCmac512, 17, false}, policy).cookies.size(), 8U);
}

TEST_F(Response, NoCommonProtocolIsAnEmptyRecord1) {
  const Parsed parsed = respond(KeNoCommonProtocol{}, {.servers = {{"a"}}, .port = 1});
  EXPECT_EQ(parsed.types, "1! 0!");
  EXPECT_TRUE(parsed.bodies[0].empty());
}

TEST_F(Response, NoCommonAeadIsAnEmptyRecord4AndNoCookies) {
  const Parsed parsed = respond(KeNoCommonAead{}, {.servers = {{"a"}}, .port = 1});
  EXPECT_EQ(parsed.types, "1! 4! 0!");
  EXPECT_EQ(parsed.bodies[0], (Octets{0, 0}));
  EXPECT_TRUE(parsed.bodies[1].empty());
}

TEST_F(Response, ErrorIsCriticalWithItsCode) {
  for (const std::uint16_t code : Ids{0, 1, 2}) {
    const Parsed parsed = respond(static_cast<KeError>(code));
    EXPECT_EQ(parsed.types, "2! 0!");
    EXPECT_EQ(parsed.bodies[0], (Octets{0, static_cast<std::uint8_t>(code)}));
  }
}

TEST_F(Response, WithoutKeysAnAgreementBecomesError2) {
  ring_ = KeyRing();
  const Parsed parsed = respond(KeAgreement{AeadId::kAesSivCmac256, 15, false});
  EXPECT_EQ(parsed.types, "2! 0!");
  EXPECT_EQ(parsed.bodies[0], (Octets{0, 2}));
  EXPECT_EQ(respond(KeNoCommonProtocol{}).types, "1! 0!");
}

}  // namespace
}  // namespace timeball::nts
