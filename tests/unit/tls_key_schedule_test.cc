// Against RFC 8448, and against OpenSSL's own key schedule.
#include "server/tls_key_schedule.h"

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/provider.h>

#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/hex.h"
#include "common/base/openssl_handle.h"

namespace timeball::server {
namespace {

using Octets = std::vector<std::uint8_t>;

Octets hex(std::string_view text) {
  Octets octets(text.size() / 2);
  EXPECT_TRUE(parse_hex(text, octets)) << text;
  return octets;
}

struct Derivation {
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  std::string digest = "SHA256";
  std::optional<Octets> key = {};
  std::optional<Octets> salt = {};
  std::string label = {};
  Octets data = {};
  std::string prefix = "tls13 ";
};

// Nothing: refused.
std::optional<Octets> derive(const char* properties, Derivation what, std::size_t size) {
  const OpenSsl<EVP_KDF, EVP_KDF_free> kdf(EVP_KDF_fetch(nullptr, "TLS13-KDF", properties));
  if (!kdf) return std::nullopt;
  const OpenSsl<EVP_KDF_CTX, EVP_KDF_CTX_free> context(EVP_KDF_CTX_new(kdf.get()));
  std::vector<OSSL_PARAM> given{
      OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &what.mode),
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, what.digest.data(), 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, what.prefix.data(),
                                        what.prefix.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, what.label.data(),
                                        what.label.size())};
  const auto add = [&](const char* name, Octets& octets) {
    given.push_back(OSSL_PARAM_construct_octet_string(name, octets.data(), octets.size()));
  };
  if (what.key) add(OSSL_KDF_PARAM_KEY, *what.key);
  if (what.salt) add(OSSL_KDF_PARAM_SALT, *what.salt);
  if (!what.data.empty()) add(OSSL_KDF_PARAM_DATA, what.data);
  given.push_back(OSSL_PARAM_construct_end());
  Octets out(size);
  if (EVP_KDF_derive(context.get(), out.data(), size, given.data()) != 1) return std::nullopt;
  return out;
}

std::optional<Octets> ours(const Derivation& what, std::size_t size) {
  return derive("provider=timeball", what, size);
}

class KeySchedule : public testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(prefer_key_schedule(), nullptr); }
};

// RFC 8448, section 3: the simple handshake.
TEST_F(KeySchedule, IsThatOfRfc8448) {
  constexpr int kExtract = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
  const auto early = ours({.mode = kExtract, .label = "derived"}, 32);
  ASSERT_EQ(early, hex("33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a"));
  const auto handshake =
      ours({.mode = kExtract,
            .key = hex("8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d"),
            .salt = early,
            .label = "derived"},
           32);
  ASSERT_EQ(handshake, hex("1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac"));
  EXPECT_EQ(ours({.mode = kExtract, .salt = handshake, .label = "derived"}, 32),
            hex("18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919"));
  // Of the server's handshake traffic secret.
  const auto traffic = hex("b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38");
  EXPECT_EQ(ours({.key = traffic, .label = "key"}, 16), hex("3fce516009c21727d0f2e4e86ee403bc"));
  EXPECT_EQ(ours({.key = traffic, .label = "iv"}, 12), hex("5d313eb2671276ee13000b30"));
}

// Whatever is asked, the answer is OpenSSL's own.
TEST_F(KeySchedule, IsThatOfOpenSsl) {
  std::mt19937_64 random(8446);
  const auto up_to = [&](std::size_t most) { return random() % (most + 1); };
  const auto octets = [&](std::size_t size) {
    Octets made(size);
    for (auto& octet : made) octet = static_cast<std::uint8_t>(random());
    return made;
  };
  for (int i = 0; i < 4000; ++i) {
    const std::size_t hash = i % 2 == 0 ? 32 : 48;
    Derivation what{.digest = i % 2 == 0 ? "SHA2-256" : "SHA384",
                    .label = std::string(1 + up_to(20), 'l')};
    std::size_t size = hash;
    if (i % 3 == 0) {
      what.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
      if (up_to(2) != 0) what.key = octets(1 + up_to(100));
      if (up_to(2) != 0) what.salt = octets(hash);
    } else {
      what.key = octets(hash);
      what.data = octets(up_to(64));
      size = 1 + up_to(i % 100 == 1 ? 255 * hash - 1 : 100);
    }
    const auto expected = derive("provider=default", what, size);
    ASSERT_TRUE(expected.has_value()) << i;
    ASSERT_EQ(ours(what, size), expected) << i;
  }
}

TEST_F(KeySchedule, WhatCannotBeDerivedIsRefused) {
  const Derivation good{.key = Octets(32), .label = "key"};
  ASSERT_TRUE(ours(good, 16).has_value());
  const auto refused = [&](auto change, std::size_t size = 16) {
    Derivation bad = good;
    change(bad);
    return !ours(bad, size).has_value();
  };
  EXPECT_TRUE(refused([](Derivation&) {}, 255 * 32 + 1)) << "HKDF's longest";
  EXPECT_TRUE(refused([](Derivation& d) { d.digest = "SHA512"; }));
  EXPECT_TRUE(refused([](Derivation& d) { d.digest = ""; }));
  EXPECT_TRUE(refused([](Derivation& d) { d.mode = EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND; }));
  EXPECT_TRUE(refused([](Derivation& d) { d.key = Octets(65); })) << "more than a block";
  EXPECT_TRUE(refused([](Derivation& d) { d.label = std::string(250, 'l'); }));
  EXPECT_TRUE(refused([](Derivation& d) { d.data = Octets(256); }));
  EXPECT_TRUE(refused([](Derivation& d) { d.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY; }, 31));
}

TEST_F(KeySchedule, OpenSslPrefersItButNotWhereSomethingElseIsDemanded) {
  const auto provider = [](const std::string& properties) {
    const OpenSsl<EVP_KDF, EVP_KDF_free> kdf(
        EVP_KDF_fetch(nullptr, "TLS13-KDF", properties.c_str()));
    return kdf ? OSSL_PROVIDER_get0_name(EVP_KDF_get0_provider(kdf.get())) : "nobody's";
  };
  EXPECT_STREQ(provider(prefer_key_schedule()), "timeball");
  EXPECT_STREQ(provider(prefer_key_schedule() + std::string(",fips=yes")), "nobody's");
  EXPECT_STREQ(provider("provider=default"), "default");
  // Everything else is where it was.
  const OpenSsl<EVP_MD, EVP_MD_free> digest(
      EVP_MD_fetch(nullptr, "SHA2-256", prefer_key_schedule()));
  ASSERT_TRUE(digest);
  EXPECT_STREQ(OSSL_PROVIDER_get0_name(EVP_MD_get0_provider(digest.get())), "default");
}

}  // namespace
}  // namespace timeball::server
