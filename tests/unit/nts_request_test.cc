#include <gtest/gtest.h>

#include "common/nts/authenticator.h"
#include "common/nts/request.h"
#include "tests/unit/nts_support.h"

namespace timeball::nts {
namespace {

using crypto::AeadId;

RequestKind kind(const Packet& packet) {
  return parse_request(packet.get()).kind;
}

Packet good() {
  return Packet().uid().cookie().authenticator(16, 16);
}

TEST(Request, HeaderAloneIsPlain) {
  const auto parsed = parse_request(Packet().get());
  EXPECT_EQ(parsed.kind, RequestKind::kPlain);
  EXPECT_TRUE(parsed.unique_identifier.empty());
}

TEST(Request, GivesTheFieldsOfAnNtsRequest) {
  const Packet packet = good();
  const auto parsed = parse_request(packet.get());
  ASSERT_EQ(parsed.kind, RequestKind::kNts);
  const std::uint8_t* first = packet.get().data();
  EXPECT_EQ(parsed.nts.unique_identifier.data(), first + 48 + 4);
  EXPECT_EQ(parsed.nts.unique_identifier.size(), 32U);
  EXPECT_EQ(parsed.nts.cookie.data(), first + 48 + 36 + 4);
  EXPECT_EQ(parsed.nts.cookie.size(), 100U);
  EXPECT_EQ(parsed.nts.placeholders, 0U);
  const AuthenticatorField& authenticator = parsed.nts.authenticator;
  EXPECT_EQ(authenticator.offset, 48U + 36 + 104);
  EXPECT_EQ(authenticator.nonce.data(), first + authenticator.offset + 8);
  EXPECT_EQ(authenticator.nonce.size(), 16U);
  EXPECT_EQ(authenticator.ciphertext.data(), first + authenticator.offset + 24);
  EXPECT_EQ(authenticator.ciphertext.size(), 16U);
  EXPECT_EQ(authenticator.nonce_room, 16U);
}

// The Unique Identifier, section 5.3.

TEST(Request, UniqueIdentifierMayStandAfterTheCookie) {
  EXPECT_EQ(kind(Packet().cookie().uid().authenticator(16, 16)), RequestKind::kNts);
}

TEST(Request, MissingUniqueIdentifierIsMalformed) {
  EXPECT_EQ(kind(Packet().cookie().authenticator(16, 16)), RequestKind::kMalformed);
}

TEST(Request, ShortUniqueIdentifierIsMalformed) {
  for (const std::size_t n : {12U, 16U, 28U}) {
    EXPECT_EQ(kind(Packet().uid(n).cookie().authenticator(16, 16)), RequestKind::kMalformed) << n;
  }
}

TEST(Request, SecondUniqueIdentifierIsMalformed) {
  EXPECT_EQ(kind(Packet().uid().uid().cookie().authenticator(16, 16)), RequestKind::kMalformed);
}

TEST(Request, LongUniqueIdentifierIsKeptWhole) {
  for (const std::size_t n : {64U, 1000U, 60'000U}) {
    const Packet packet = Packet().uid(n).cookie().authenticator(16, 16);
    const auto parsed = parse_request(packet.get());
    ASSERT_EQ(parsed.kind, RequestKind::kNts);
    EXPECT_EQ(parsed.nts.unique_identifier.size(), n);
  }
}

TEST(Request, UniqueIdentifierAfterTheAuthenticatorDoesNotCount) {
  EXPECT_EQ(kind(Packet().cookie().authenticator(16, 16).uid()), RequestKind::kMalformed);
  EXPECT_EQ(kind(good().uid()), RequestKind::kNts);
}

TEST(Request, PlainPacketsIdentifierIsToBeEchoed) {
  const Packet packet = Packet().uid(64);
  const auto parsed = parse_request(packet.get());
  EXPECT_EQ(parsed.kind, RequestKind::kPlain);
  EXPECT_EQ(parsed.unique_identifier.data(), packet.get().data() + 52);
  EXPECT_EQ(parsed.unique_identifier.size(), 64U);
}

TEST(Request, PlainPacketsSecondOrShortIdentifierIsNotEchoed) {
  EXPECT_TRUE(parse_request(Packet().uid().uid().get()).unique_identifier.empty());
  EXPECT_TRUE(parse_request(Packet().uid(28).get()).unique_identifier.empty());
  EXPECT_TRUE(parse_request(Packet().uid().uid(28).get()).unique_identifier.empty());
}

// The cookie, section 5.4.

TEST(Request, SecondCookieIsMalformed) {
  EXPECT_EQ(kind(Packet().uid().cookie().cookie().authenticator(16, 16)), RequestKind::kMalformed);
}

TEST(Request, CookieAfterTheAuthenticatorDoesNotCount) {
  EXPECT_EQ(kind(Packet().uid().authenticator(16, 16).cookie()), RequestKind::kMalformed);
  EXPECT_EQ(kind(good().cookie()), RequestKind::kNts);
}

TEST(Request, CookieWithoutAuthenticatorIsMalformed) {
  EXPECT_EQ(kind(Packet().uid().cookie()), RequestKind::kMalformed);
  EXPECT_EQ(kind(Packet().cookie()), RequestKind::kMalformed);
}

TEST(Request, AuthenticatorWithoutCookieIsMalformed) {
  EXPECT_EQ(kind(Packet().uid().authenticator(16, 16)), RequestKind::kMalformed);
  EXPECT_EQ(kind(Packet().authenticator(16, 16)), RequestKind::kMalformed);
}

TEST(Request, CookieLengthIsNotJudgedHere) {
  for (std::size_t n = 12; n <= 200; n += 4) {
    EXPECT_EQ(kind(Packet().uid().cookie(n).authenticator(16, 16)), RequestKind::kNts) << n;
  }
}

// Placeholders, section 5.5.

TEST(Request, PlaceholdersCountBeforeAndAfterTheCookie) {
  const Packet packet =
      Packet().uid().placeholder().cookie().placeholder().placeholder().authenticator(16, 16);
  EXPECT_EQ(parse_request(packet.get()).nts.placeholders, 3U);
}

TEST(Request, PlaceholderOfAnotherLengthIsNotCounted) {
  const Packet packet =
      Packet().uid().placeholder(96).cookie().placeholder(104).placeholder(100).authenticator(16,
                                                                                              16);
  const auto parsed = parse_request(packet.get());
  EXPECT_EQ(parsed.kind, RequestKind::kNts);
  EXPECT_EQ(parsed.nts.placeholders, 1U);
}

TEST(Request, PlaceholderContentsAreIgnored) {
  const Packet packet = Packet().uid().cookie().placeholder(100, 0xff).authenticator(16, 16);
  EXPECT_EQ(parse_request(packet.get()).nts.placeholders, 1U);
}

TEST(Request, PlaceholderAfterTheAuthenticatorIsNotCounted) {
  EXPECT_EQ(parse_request(good().placeholder().get()).nts.placeholders, 0U);
  const Packet packet = Packet().uid().cookie().placeholder().authenticator(16, 16).placeholder();
  EXPECT_EQ(parse_request(packet.get()).nts.placeholders, 1U);
}

TEST(Request, PlaceholderWithoutNtsIsPlain) {
  EXPECT_EQ(kind(Packet().uid().placeholder()), RequestKind::kPlain);
}

// What stands around.

TEST(Request, UnknownFieldsBeforeTheAuthenticatorAreIgnored) {
  const Packet packet = Packet()
                            .field(static_cast<FieldType>(0x2005), octets(12))
                            .uid()
                            .field(static_cast<FieldType>(0x0002), octets(24))
                            .cookie()
                            .authenticator(16, 16);
  EXPECT_EQ(kind(packet), RequestKind::kNts);
}

TEST(Request, FieldsAfterTheAuthenticatorAreIgnored) {
  EXPECT_EQ(kind(good().field(static_cast<FieldType>(0x2005), octets(40))), RequestKind::kNts);
  EXPECT_EQ(kind(good().authenticator(0, 16)), RequestKind::kNts);
}

TEST(Request, MacOrGarbageAfterTheAuthenticatorIsIgnored) {
  for (std::size_t n = 1; n <= 64; ++n) {
    EXPECT_EQ(kind(good().raw(octets(n))), RequestKind::kNts) << n;
  }
}

TEST(Request, MacAfterTheHeaderIsPlain) {
  for (const std::size_t n : {4U, 20U, 24U}) {
    const auto parsed = parse_request(Packet().raw(octets(n)).get());
    EXPECT_EQ(parsed.kind, RequestKind::kPlain) << n;
    EXPECT_TRUE(parsed.unique_identifier.empty());
  }
}

TEST(Request, GarbageAfterTheHeaderIsPlain) {
  for (std::size_t n = 1; n <= 100; ++n) {
    EXPECT_EQ(kind(Packet().raw(octets(n))), RequestKind::kPlain) << n;
  }
}

TEST(Request, IdentifierBeforeAMacOrGarbageIsEchoed) {
  for (const std::size_t n : {4U, 20U, 24U, 7U, 32U}) {
    EXPECT_EQ(parse_request(Packet().uid().raw(octets(n)).get()).unique_identifier.size(), 32U);
  }
}

TEST(Request, GarbageBetweenCookieAndAuthenticatorIsMalformed) {
  const Packet packet = Packet().uid().cookie().raw(octets(8, 0)).authenticator(16, 16);
  EXPECT_EQ(kind(packet), RequestKind::kMalformed);
}

TEST(Request, EveryTruncationIsSafe) {
  const Packet packet = Packet().uid().cookie().placeholder().authenticator(16, 16);
  const Octets& whole = packet.get();
  for (std::size_t n = ntp::kHeaderLength; n < whole.size(); ++n) {
    const Octets cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
    EXPECT_NE(parse_request(cut).kind, RequestKind::kNts) << n;
  }
}

// The authenticator, section 5.6.

TEST(Authenticator, LengthsAreCheckedAgainstTheBody) {
  const Octets body(4 + 16 + 16);
  for (std::size_t nonce = 0; nonce <= 0xffff; nonce += nonce < 64 ? 1 : 251) {
    for (std::size_t ciphertext = 0; ciphertext <= 0xffff;
         ciphertext += ciphertext < 64 ? 1 : 251) {
      Octets b = body;
      store_be16(b.data(), static_cast<std::uint16_t>(nonce));
      store_be16(b.data() + 2, static_cast<std::uint16_t>(ciphertext));
      const bool fits = padded4(nonce) + padded4(ciphertext) <= 32 && ciphertext >= 16;
      ASSERT_EQ(parse_authenticator(b, 0).has_value(), fits) << nonce << " " << ciphertext;
    }
  }
}

TEST(Authenticator, LengthsOf65535AreRefusedInEveryBody) {
  for (std::size_t n = 0; n <= 64; ++n) {
    EXPECT_FALSE(parse_authenticator(octets(n, 0xff), 0)) << n;
  }
}

TEST(Authenticator, CiphertextWithoutRoomForATagIsMalformed) {
  for (std::size_t n = 0; n < 16; ++n) {
    EXPECT_EQ(kind(Packet().uid().cookie().authenticator(16, n, 16)), RequestKind::kMalformed);
  }
}

TEST(Authenticator, NonceAndCiphertextArePaddedTo4) {
  const Packet packet = Packet().uid().cookie().authenticator(13, 17, 8);
  const auto parsed = parse_request(packet.get());
  ASSERT_EQ(parsed.kind, RequestKind::kNts);
  const AuthenticatorField& field = parsed.nts.authenticator;
  EXPECT_EQ(field.nonce.size(), 13U);
  EXPECT_EQ(field.ciphertext.size(), 17U);
  EXPECT_EQ(field.ciphertext.data() - field.nonce.data(), 16);
  EXPECT_EQ(field.nonce_room, 16U + 8);
}

// Whether a nonce of this length with this additional padding may be served.
bool suffices(AeadId aead, std::size_t nonce, std::size_t additional) {
  const Packet packet = Packet().uid().cookie().authenticator(nonce, 16, additional);
  const auto parsed = parse_request(packet.get());
  EXPECT_EQ(parsed.kind, RequestKind::kNts);
  return nonce_room_suffices(parsed.nts.authenticator, aead);
}

TEST(NonceRoom, SivNeeds16OfNonceAndPadding) {
  for (const AeadId aead :
       {AeadId::kAesSivCmac256, AeadId::kAesSivCmac384, AeadId::kAesSivCmac512}) {
    EXPECT_TRUE(suffices(aead, 16, 0));
    EXPECT_TRUE(suffices(aead, 13, 0));  // padded to 16
    EXPECT_FALSE(suffices(aead, 12, 0));
    EXPECT_TRUE(suffices(aead, 12, 4));
    EXPECT_FALSE(suffices(aead, 1, 8));
    EXPECT_TRUE(suffices(aead, 1, 12));
  }
}

TEST(NonceRoom, SivTakesNoNonceWherePaddingReaches) {
  EXPECT_TRUE(suffices(AeadId::kAesSivCmac256, 0, 16));
  EXPECT_FALSE(suffices(AeadId::kAesSivCmac256, 0, 12));
}

TEST(NonceRoom, SivTakesLongNonces) {
  EXPECT_TRUE(suffices(AeadId::kAesSivCmac256, 17, 0));
  EXPECT_TRUE(suffices(AeadId::kAesSivCmac256, 255, 0));
}

TEST(NonceRoom, ExtraAdditionalPaddingIsAccepted) {
  EXPECT_TRUE(suffices(AeadId::kAesSivCmac256, 16, 400));
  EXPECT_TRUE(suffices(AeadId::kAes128GcmSiv, 12, 400));
}

TEST(NonceRoom, GcmSivTakesExactly12) {
  for (std::size_t n = 0; n <= 20; ++n) {
    EXPECT_EQ(suffices(AeadId::kAes128GcmSiv, n, 16), n == 12) << n;
  }
  EXPECT_TRUE(suffices(AeadId::kAes128GcmSiv, 12, 0));
}

TEST(AuthenticatorFieldLength, IsWhatIsWritten) {
  crypto::RandomGenerator random(seed(1));
  for (const AeadId aead : kEveryAead) {
    for (std::size_t n = 0; n <= 40; ++n) {
      Octets packet(512);
      ByteWriter out(packet);
      out.zeros(48);
      const auto layout = write_authenticator(out, aead, n, random);
      ASSERT_EQ(out.size(), 48 + authenticator_field_length(aead, n));
      ASSERT_EQ(layout.associated_data.data(), packet.data());
      ASSERT_EQ(layout.associated_data.size(), 48U);
      ASSERT_EQ(layout.ciphertext.size(), n + 16);
      const auto field = parse_authenticator(out.written().subspan(52), 48);
      ASSERT_TRUE(field);
      ASSERT_EQ(field->nonce.data(), layout.nonce.data());
      ASSERT_EQ(field->nonce.size(), crypto::parameters(aead).nonce_length);
      ASSERT_EQ(field->ciphertext.data(), layout.ciphertext.data());
      ASSERT_EQ(field->ciphertext.size(), layout.ciphertext.size());
      ASSERT_TRUE(nonce_room_suffices(*field, aead));
    }
  }
}

TEST(AuthenticatorFieldLength, OfARequestIs40AndOfGcmSiv36) {
  EXPECT_EQ(authenticator_field_length(AeadId::kAesSivCmac256, 0), 40U);
  EXPECT_EQ(authenticator_field_length(AeadId::kAes128GcmSiv, 0), 36U);
}

TEST(WriteAuthenticator, WithoutRoomNothingChanges) {
  crypto::RandomGenerator random(seed(1));
  Octets packet(48 + 39, 0xee);
  ByteWriter out(packet);
  out.zeros(48);
  const auto layout = write_authenticator(out, AeadId::kAesSivCmac256, 0, random);
  EXPECT_FALSE(out.ok());
  EXPECT_EQ(out.size(), 48U);
  EXPECT_TRUE(layout.ciphertext.empty());
  EXPECT_EQ(Octets(packet.begin() + 48, packet.end()), octets(39, 0xee));
}

TEST(WriteAuthenticator, DrawsANewNonceEachTime) {
  crypto::RandomGenerator random(seed(1));
  Octets packet(96);
  ByteWriter out(packet);
  const auto first = write_authenticator(out, AeadId::kAesSivCmac256, 0, random);
  const auto second = write_authenticator(out, AeadId::kAesSivCmac256, 0, random);
  EXPECT_FALSE(equal(first.nonce, second.nonce));
}

// Decrypted fields.

TEST(InnerPlaceholders, OfTheCookiesLengthCount) {
  const Packet fields = Packet().placeholder().placeholder(96).placeholder();
  const Bytes plaintext = Bytes(fields.get()).subspan(48);
  EXPECT_EQ(count_inner_placeholders(plaintext, 100), 2U);
  EXPECT_EQ(count_inner_placeholders(plaintext, 96), 1U);
  EXPECT_EQ(count_inner_placeholders({}, 100), 0U);
}

TEST(InnerPlaceholders, ShortInnerFieldsAreLegal) {
  const Packet fields = Packet().field(static_cast<FieldType>(0x2005), {}).placeholder();
  EXPECT_EQ(count_inner_placeholders(Bytes(fields.get()).subspan(48), 100), 1U);
}

TEST(InnerPlaceholders, EncryptedCookieIsRefused) {
  const Packet fields = Packet().placeholder().cookie();
  EXPECT_FALSE(count_inner_placeholders(Bytes(fields.get()).subspan(48), 100));
}

TEST(InnerPlaceholders, WhatIsNoFieldIsRefused) {
  for (const std::size_t n : {1U, 3U, 4U, 20U}) {
    const Packet fields = Packet().placeholder().raw(octets(n));
    EXPECT_FALSE(count_inner_placeholders(Bytes(fields.get()).subspan(48), 100)) << n;
  }
}

}  // namespace
}  // namespace timeball::nts
