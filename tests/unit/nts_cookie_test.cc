#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "common/nts/cookie.h"
#include "tests/unit/nts_support.h"

namespace timeball::nts {
namespace {

using crypto::AeadId;

std::vector<std::uint32_t> ids(const KeyRing& ring) {
  std::vector<std::uint32_t> list;
  for (const MasterKey& key : ring.generations()) list.push_back(key.id);
  return list;
}

TEST(KeyRing, StartsEmpty) {
  EXPECT_TRUE(KeyRing().empty());
  EXPECT_EQ(KeyRing().find(0), nullptr);
}

TEST(KeyRing, CreatedOneHasACurrentAndANextKey) {
  const KeyRing ring = KeyRing::create(7, master_key(1), master_key(2));
  EXPECT_FALSE(ring.empty());
  EXPECT_EQ(ring.current(), (MasterKey{7, master_key(1)}));
  EXPECT_EQ(ring.next(), (MasterKey{8, master_key(2)}));
}

TEST(KeyRing, FindsEveryGenerationAndNothingElse) {
  const KeyRing ring = KeyRing::create(7, master_key(1), master_key(2)).rotated(master_key(3), 5);
  EXPECT_EQ(ids(ring), (std::vector<std::uint32_t>{9, 8, 7}));
  for (const std::uint32_t id : {7U, 8U, 9U}) {
    ASSERT_NE(ring.find(id), nullptr);
    EXPECT_EQ(ring.find(id)->id, id);
  }
  EXPECT_EQ(ring.find(6), nullptr);
  EXPECT_EQ(ring.find(10), nullptr);
}

TEST(KeyRing, RotationPromotesNextAndTakesTheFreshKeyAsNext) {
  const KeyRing ring = KeyRing::create(7, master_key(1), master_key(2)).rotated(master_key(3), 5);
  EXPECT_EQ(ring.next(), (MasterKey{9, master_key(3)}));
  EXPECT_EQ(ring.current(), (MasterKey{8, master_key(2)}));
}

TEST(KeyRing, RotationKeepsAsManyOldKeysAsTold) {
  for (const std::size_t keep : {0U, 1U, 3U, 7U}) {
    KeyRing ring = KeyRing::create(0, master_key(0), master_key(1));
    for (std::uint8_t i = 0; i < 12; ++i) ring = ring.rotated(master_key(i), keep);
    EXPECT_EQ(ring.generations().size(), 2 + keep);
    EXPECT_EQ(ring.current().id, 12U);
    EXPECT_EQ(ring.find(static_cast<std::uint32_t>(12 - keep - 1)), nullptr);
    EXPECT_NE(ring.find(static_cast<std::uint32_t>(12 - keep)), nullptr);
  }
}

TEST(KeyRing, LoweringKeepDropsTheSurplus) {
  KeyRing ring = KeyRing::create(0, master_key(0), master_key(1));
  for (std::uint8_t i = 0; i < 8; ++i) ring = ring.rotated(master_key(i), 7);
  EXPECT_EQ(ring.rotated(master_key(9), 2).generations().size(), 4U);
}

TEST(KeyRing, IdentifiersWrapAt2To32) {
  const KeyRing created = KeyRing::create(0xffff'ffffU, master_key(1), master_key(2));
  EXPECT_EQ(ids(created), (std::vector<std::uint32_t>{0, 0xffff'ffffU}));
  const KeyRing ring = created.rotated(master_key(3), 5);
  EXPECT_EQ(ids(ring), (std::vector<std::uint32_t>{1, 0, 0xffff'ffffU}));
  EXPECT_EQ(ring.current().id, 0U);
  EXPECT_EQ(ring.find(0xffff'ffffU)->key, master_key(1));
}

class Cookie : public testing::Test {
 protected:
  Octets seal(const AssociationKeys& keys, const KeyRing& ring) {
    Octets cookie(cookie_length(keys.aead));
    SealCookieJob job = {&keys, cookie};
    EXPECT_TRUE(seal_cookies(ring, engine_, random_, {&job, 1}));
    return cookie;
  }
  OpenCookieJob open(Bytes cookie, const KeyRing& ring) {
    OpenCookieJob job;
    job.cookie = cookie;
    open_cookies(ring, engine_, random_, {&job, 1});
    return job;
  }

  crypto::Engine engine_;
  crypto::RandomGenerator random_{seed(1)};
  KeyRing ring_ = KeyRing::create(0xdeadbeefU, master_key(1), master_key(2));
};

TEST_F(Cookie, HasOneLengthPerAlgorithm) {
  EXPECT_EQ(cookie_length(AeadId::kAes128GcmSiv), 68U);
  EXPECT_EQ(cookie_length(AeadId::kAesSivCmac256), 100U);
  EXPECT_EQ(cookie_length(AeadId::kAesSivCmac384), 132U);
  EXPECT_EQ(cookie_length(AeadId::kAesSivCmac512), 164U);
}

TEST_F(Cookie, LengthTellsTheAlgorithm) {
  for (std::size_t n = 0; n <= 300; ++n) {
    const auto aead = aead_of_cookie_length(n);
    const bool ours = n == 68 || n == 100 || n == 132 || n == 164;
    ASSERT_EQ(aead.has_value(), ours) << n;
    if (aead) {
      EXPECT_EQ(cookie_length(*aead), n);
    }
  }
}

TEST_F(Cookie, OpensToTheKeysSealedIn) {
  for (const AeadId aead : kEveryAead) {
    const AssociationKeys keys = association_keys(aead);
    const OpenCookieJob opened = open(seal(keys, ring_), ring_);
    EXPECT_EQ(opened.status, CookieStatus::kOpened);
    EXPECT_EQ(opened.keys, keys);
  }
}

TEST_F(Cookie, StartsWithTheCurrentKeysIdentifier) {
  const Octets cookie = seal(association_keys(AeadId::kAesSivCmac256), ring_);
  EXPECT_EQ(cookie_key_id(cookie), 0xdeadbeefU);
}

TEST_F(Cookie, HoldsNoKeyInTheClear) {
  const AssociationKeys keys = association_keys(AeadId::kAesSivCmac256);
  const Octets cookie = seal(keys, ring_);
  const auto has = [&cookie](Bytes part) {
    return std::search(cookie.begin(), cookie.end(), part.begin(), part.end()) != cookie.end();
  };
  EXPECT_FALSE(has(keys.c2s.bytes().first(8)));
  EXPECT_FALSE(has(keys.s2c.bytes().first(8)));
}

TEST_F(Cookie, EveryOneHasANonceOfItsOwn) {
  const AssociationKeys keys = association_keys(AeadId::kAesSivCmac256);
  std::set<std::string> nonces;
  for (int i = 0; i < 1000; ++i) {
    const Octets cookie = seal(keys, ring_);
    nonces.insert(text(Bytes(cookie).subspan(4, 16)));
  }
  EXPECT_EQ(nonces.size(), 1000U);
}

TEST_F(Cookie, AnyChangedBitIsRefused) {
  for (const AeadId aead : kEveryAead) {
    Octets cookie = seal(association_keys(aead), ring_);
    for (std::size_t bit = 0; bit < 8 * cookie.size(); ++bit) {
      cookie[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
      const CookieStatus expected =
          bit < 32 ? CookieStatus::kUnknownKey : CookieStatus::kNotAuthentic;
      ASSERT_EQ(open(cookie, ring_).status, expected) << bit;
      cookie[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    }
  }
}

TEST_F(Cookie, IdentifierIsAuthenticated) {
  // Two identifiers for the same key: only the one sealed under opens.
  const KeyRing twins({{1, master_key(9)}, {2, master_key(9)}});
  Octets cookie = seal(association_keys(AeadId::kAesSivCmac256), twins);
  store_be32(cookie.data(), 1);
  EXPECT_EQ(open(cookie, twins).status, CookieStatus::kNotAuthentic);
}

TEST_F(Cookie, NoLengthFrom0To200OpensOrCrashes) {
  for (std::size_t n = 0; n <= 200; ++n) {
    Octets cookie(n, 0x5a);
    if (n >= 4) store_be32(cookie.data(), ring_.current().id);
    const CookieStatus expected =
        aead_of_cookie_length(n) ? CookieStatus::kNotAuthentic : CookieStatus::kWrongLength;
    EXPECT_EQ(open(cookie, ring_).status, expected) << n;
  }
}

TEST_F(Cookie, TruncatedOrExtendedIsRefused) {
  const Octets cookie = seal(association_keys(AeadId::kAesSivCmac512), ring_);
  for (const std::size_t n : {68U, 100U, 132U}) {
    EXPECT_EQ(open(Bytes(cookie).first(n), ring_).status, CookieStatus::kNotAuthentic) << n;
  }
  Octets longer = seal(association_keys(AeadId::kAesSivCmac256), ring_);
  longer.resize(132);
  EXPECT_EQ(open(longer, ring_).status, CookieStatus::kNotAuthentic);
}

TEST_F(Cookie, OpensWhileItsKeyIsKeptAndNotLonger) {
  const std::size_t keep = 3;
  const AssociationKeys keys = association_keys(AeadId::kAesSivCmac256);
  const Octets cookie = seal(keys, ring_);
  KeyRing ring = ring_;
  for (std::size_t rotation = 1; rotation <= keep; ++rotation) {
    ring = ring.rotated(master_key(static_cast<std::uint8_t>(10 + rotation)), keep);
    const OpenCookieJob job = open(cookie, ring);
    ASSERT_EQ(job.status, CookieStatus::kOpened) << rotation;
    EXPECT_EQ(job.keys, keys);
    EXPECT_EQ(cookie_key_id(seal(keys, ring)), ring.current().id);
    EXPECT_EQ(seal(keys, ring).size(), cookie.size());
  }
  ring = ring.rotated(master_key(20), keep);
  EXPECT_EQ(open(cookie, ring).status, CookieStatus::kUnknownKey);
}

TEST_F(Cookie, MadeUnderTheNextKeyOpensBeforeRotation) {
  const KeyRing ahead = ring_.rotated(master_key(3), 7);  // another member, one rotation on
  const AssociationKeys keys = association_keys(AeadId::kAesSivCmac256);
  EXPECT_EQ(open(seal(keys, ahead), ring_).status, CookieStatus::kOpened);
}

TEST_F(Cookie, OpensAcrossTheWrapOfIdentifiers) {
  const KeyRing before = KeyRing::create(0xffff'ffffU, master_key(1), master_key(2));
  const AssociationKeys keys = association_keys(AeadId::kAesSivCmac256);
  const Octets cookie = seal(keys, before);
  const KeyRing after = before.rotated(master_key(3), 7);
  EXPECT_EQ(open(cookie, after).keys, keys);
  EXPECT_EQ(open(seal(keys, after), after).keys, keys);
}

TEST_F(Cookie, IsRenewedWithTheSameKeysAndANonceOfItsOwn) {
  for (const AeadId aead : kEveryAead) {
    const AssociationKeys keys = association_keys(aead);
    const Octets cookie = seal(keys, ring_);
    std::set<std::string> distinct{text(cookie)};
    for (int i = 0; i < 100; ++i) {
      const OpenCookieJob job = open(cookie, ring_);
      ASSERT_TRUE(job.renewed);
      const Bytes fresh = Bytes(job.fresh).first(cookie.size());
      distinct.insert(text(fresh));
      const OpenCookieJob again = open(fresh, ring_);
      ASSERT_EQ(again.status, CookieStatus::kOpened);
      ASSERT_EQ(again.keys, keys);
    }
    EXPECT_EQ(distinct.size(), 101U);
  }
}

TEST_F(Cookie, IsRenewedUnderTheCurrentKeyOnly) {
  const AssociationKeys keys = association_keys(AeadId::kAesSivCmac256);
  const KeyRing after = ring_.rotated(master_key(3), 7);
  EXPECT_FALSE(open(seal(keys, ring_), after).renewed);
  EXPECT_FALSE(open(seal(keys, after), ring_).renewed) << "the next key is not current yet";
  EXPECT_TRUE(open(seal(keys, after), after).renewed);
}

TEST_F(Cookie, EmptyRingKnowsNoKey) {
  const Octets cookie = seal(association_keys(AeadId::kAesSivCmac256), ring_);
  EXPECT_EQ(open(cookie, KeyRing()).status, CookieStatus::kUnknownKey);
}

TEST_F(Cookie, EmptyBurstsDoNothing) {
  EXPECT_TRUE(seal_cookies(ring_, engine_, random_, {}));
  open_cookies(ring_, engine_, random_, {});
}

// Bursts of every size around the chunk, algorithms mixed, bad cookies in between.
TEST_F(Cookie, BurstsGiveEachJobItsOwnOutcome) {
  for (const std::size_t count : {1U, 31U, 32U, 33U, 64U, 65U, 512U}) {
    std::vector<AssociationKeys> keys;
    std::vector<Octets> cookies;
    for (std::size_t i = 0; i < count; ++i) {
      keys.push_back(association_keys(kEveryAead[i % 4], static_cast<std::uint8_t>(i)));
      cookies.emplace_back(cookie_length(keys.back().aead));
    }
    std::vector<SealCookieJob> seals(count);
    for (std::size_t i = 0; i < count; ++i) seals[i] = {&keys[i], cookies[i]};
    ASSERT_TRUE(seal_cookies(ring_, engine_, random_, seals));

    std::vector<OpenCookieJob> opens(count);
    for (std::size_t i = 0; i < count; ++i) {
      if (i % 5 == 1) cookies[i].pop_back();
      if (i % 5 == 2) cookies[i].back() ^= 1;
      if (i % 5 == 3) cookies[i].front() ^= 1;
      opens[i].cookie = cookies[i];
    }
    open_cookies(ring_, engine_, random_, opens);
    constexpr std::array kExpected = {CookieStatus::kOpened, CookieStatus::kWrongLength,
                                      CookieStatus::kNotAuthentic, CookieStatus::kUnknownKey,
                                      CookieStatus::kOpened};
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_EQ(opens[i].status, kExpected[i % 5]) << count << " " << i;
      if (opens[i].status == CookieStatus::kOpened) {
        ASSERT_EQ(opens[i].keys, keys[i]);
        ASSERT_TRUE(opens[i].renewed);
        ASSERT_EQ(open(Bytes(opens[i].fresh).first(cookies[i].size()), ring_).keys, keys[i]);
      }
    }
  }
}

}  // namespace
}  // namespace timeball::nts
