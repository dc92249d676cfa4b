#include <gcrypt.h>
#include <gtest/gtest.h>
#include <nettle/siv-cmac.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "common/base/secret.h"
#include "common/crypto/aead.h"
#include "common/crypto/entropy.h"
#include "common/crypto/gcm_siv.h"
#include "common/crypto/random.h"
#include "common/crypto/siv.h"
#include "tests/vectors/rfc5297.h"
#include "tests/vectors/rfc8452.h"

namespace timeball::crypto {
namespace {

using Octets = std::vector<std::uint8_t>;

Octets unhex(std::string_view digits) {
  Octets octets;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    octets.push_back(
        static_cast<std::uint8_t>(std::stoul(std::string(digits.substr(i, 2)), nullptr, 16)));
  }
  return octets;
}

struct Message {
  Octets key, nonce, associated_data, plaintext;
};

Octets seal(Row& row, const Message& m) {
  Octets ciphertext(m.plaintext.size() + kTagLength);
  const SealJob job{m.key, m.nonce, m.associated_data, m.plaintext, ciphertext};
  EXPECT_TRUE(row.seal({&job, 1}));
  return ciphertext;
}

// The plaintext when authentic; otherwise nothing, after a check that it was zeroed.
std::optional<Octets> open(Row& row, const Message& m, const Octets& ciphertext) {
  const std::size_t length = ciphertext.size() < kTagLength ? 0 : ciphertext.size() - kTagLength;
  Octets plaintext(length, 0xee);
  OpenJob job{m.key, m.nonce, m.associated_data, ciphertext, plaintext};
  row.open({&job, 1});
  if (job.authentic) return plaintext;
  EXPECT_EQ(plaintext, Octets(length)) << "the plaintext of a refused message must be zeroed";
  return std::nullopt;
}

class Source {
 public:
  explicit Source(std::uint32_t seed) : engine_(seed) {}
  std::size_t below(std::size_t bound) { return engine_() % bound; }
  Octets octets(std::size_t length) {
    Octets result(length);
    std::generate(result.begin(), result.end(),
                  [this] { return static_cast<std::uint8_t>(engine_()); });
    return result;
  }
  // Lengths as NTS has them, the empty and the long ones (over several chunks) included.
  std::size_t length() {
    constexpr std::array<std::size_t, 6> kBounds = {1, 17, 33, 130, 600, 2100};
    return below(kBounds[below(kBounds.size())]);
  }
  Message message(const AeadParameters& aead) {
    const std::size_t nonce_length =
        aead.nonce_length_fixed || below(2) == 0 ? aead.nonce_length : below(3 * aead.nonce_length);
    return {octets(aead.key_length), octets(nonce_length), octets(length()), octets(length())};
  }

 private:
  std::mt19937 engine_;
};

// --- Vectors -------------------------------------------------------------------------------------

TEST(Rfc5297, A1DeterministicThroughTheTable) {
  using namespace vectors::rfc5297::a1;
  Engine engine;
  Row& row = engine.row(AeadId::kAesSivCmac256);
  const Message message{unhex(kKey), {}, unhex(kAssociatedData), unhex(kPlaintext)};
  EXPECT_EQ(seal(row, message), unhex(kOutput));
  EXPECT_EQ(open(row, message, unhex(kOutput)), message.plaintext);
}

TEST(Rfc5297, A2NonceBasedWithTwoComponentsOfAssociatedData) {
  using namespace vectors::rfc5297::a2;
  const Octets key = unhex(kKey), ad1 = unhex(kAssociatedData1), ad2 = unhex(kAssociatedData2);
  const Octets nonce = unhex(kNonce), plaintext = unhex(kPlaintext), output = unhex(kOutput);
  const std::array<Bytes, 3> components = {ad1, ad2, nonce};
  Siv siv(key.size());
  Octets ciphertext(output.size());
  ASSERT_TRUE(siv.seal(key, components, plaintext, ciphertext));
  EXPECT_EQ(ciphertext, output);
  Octets opened(plaintext.size());
  EXPECT_TRUE(siv.open(key, components, output, opened));
  EXPECT_EQ(opened, plaintext);
  const std::array<Bytes, 3> swapped = {ad2, ad1, nonce};
  EXPECT_FALSE(siv.open(key, swapped, output, opened));
}

void expect_gcm_siv_vectors(std::span<const vectors::rfc8452::Vector> table) {
  Engine engine;
  Row& row = engine.row(AeadId::kAes128GcmSiv);
  for (const auto& v : table) {
    const Message message{unhex(v.key), unhex(v.nonce), unhex(v.associated_data),
                          unhex(v.plaintext)};
    EXPECT_EQ(seal(row, message), unhex(v.result)) << v.result;
    EXPECT_EQ(open(row, message, unhex(v.result)), message.plaintext) << v.result;
  }
}

TEST(Rfc8452, AppendixC1) {
  ASSERT_EQ(std::size(vectors::rfc8452::kAppendixC1), 24U);
  expect_gcm_siv_vectors(vectors::rfc8452::kAppendixC1);
}

TEST(Rfc8452, CounterIsThirtyTwoBitsAndWraps) {
  expect_gcm_siv_vectors(vectors::rfc8452::kCounterWrap);
}

TEST(Rfc8452, AppendixAPolyval) {
  Block key;
  const Octets key_octets = unhex(vectors::rfc8452::kPolyvalKey);
  std::copy(key_octets.begin(), key_octets.end(), key.begin());
  Polyval polyval(key);
  polyval.update(unhex(vectors::rfc8452::kPolyvalInput));
  EXPECT_TRUE(equal(polyval.result(), unhex(vectors::rfc8452::kPolyvalResult)));
}

// --- Second implementations ----------------------------------------------------------------------

// nettle's generic SIV-CMAC, which takes AES-192 as well as the two key lengths it names.
template <class Context>
Octets nettle_siv(const nettle_cipher& cipher, const Message& m) {
  cmac128_key cmac_key;
  Context cmac_cipher, ctr_cipher;
  siv_cmac_set_key(&cmac_key, &cmac_cipher, &ctr_cipher, &cipher, m.key.data());
  Octets out(m.plaintext.size() + kTagLength);
  siv_cmac_encrypt_message(&cmac_key, &cmac_cipher, &cipher, &ctr_cipher, m.nonce.size(),
                           m.nonce.data(), m.associated_data.size(), m.associated_data.data(),
                           out.size(), out.data(), m.plaintext.data());
  return out;
}

// libgcrypt refuses a null pointer, even to nothing.
const std::uint8_t* not_null(const Octets& octets) {
  static constexpr std::uint8_t kNothing = 0;
  return octets.empty() ? &kNothing : octets.data();
}

Octets libgcrypt(int cipher, int mode, const Message& m) {
  gcry_cipher_hd_t handle = nullptr;
  const auto must = [](gcry_error_t error) { ASSERT_EQ(error, 0U) << gcry_strerror(error); };
  must(gcry_cipher_open(&handle, cipher, mode, 0));
  must(gcry_cipher_setkey(handle, m.key.data(), m.key.size()));
  const auto nonce = [&] {
    if (!m.nonce.empty()) must(gcry_cipher_setiv(handle, m.nonce.data(), m.nonce.size()));
  };
  // In SIV the nonce is the last component, so it follows the associated data.
  if (mode == GCRY_CIPHER_MODE_GCM_SIV) nonce();
  must(gcry_cipher_authenticate(handle, not_null(m.associated_data), m.associated_data.size()));
  if (mode == GCRY_CIPHER_MODE_SIV) nonce();
  Octets body(m.plaintext.size());
  body.reserve(1);
  must(gcry_cipher_encrypt(handle, body.data(), body.size(), not_null(m.plaintext), body.size()));
  Octets tag(kTagLength);
  must(gcry_cipher_gettag(handle, tag.data(), tag.size()));
  gcry_cipher_close(handle);
  Octets& first = mode == GCRY_CIPHER_MODE_SIV ? tag : body;
  const Octets& second = mode == GCRY_CIPHER_MODE_SIV ? body : tag;
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

Octets reference(AeadId id, const Message& m) {
  if (id == AeadId::kAes128GcmSiv) {
    return libgcrypt(GCRY_CIPHER_AES128, GCRY_CIPHER_MODE_GCM_SIV, m);
  }
  if (m.nonce.empty()) {  // nettle asks for a nonce
    const int cipher = id == AeadId::kAesSivCmac256   ? GCRY_CIPHER_AES128
                       : id == AeadId::kAesSivCmac384 ? GCRY_CIPHER_AES192
                                                      : GCRY_CIPHER_AES256;
    return libgcrypt(cipher, GCRY_CIPHER_MODE_SIV, m);
  }
  if (id == AeadId::kAesSivCmac256) return nettle_siv<aes128_ctx>(nettle_aes128, m);
  if (id == AeadId::kAesSivCmac384) return nettle_siv<aes192_ctx>(nettle_aes192, m);
  return nettle_siv<aes256_ctx>(nettle_aes256, m);
}

// --- Every algorithm, every implementation -------------------------------------------------------

struct Case {
  AeadParameters aead;
  Implementation implementation;
  std::string name;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

class Aead : public testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() {
    ASSERT_NE(gcry_check_version(GCRYPT_VERSION), nullptr);
    gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
  }

  const AeadParameters& aead() const { return GetParam().aead; }
  Row& row() { return engine_.row(aead().id); }

  Engine engine_{GetParam().implementation};
  Source source_{20'260'101};
};

TEST_P(Aead, TenThousandRandomSealsAndOpensAgreeWithASecondImplementation) {
  for (int i = 0; i < 10'000; ++i) {
    const Message message = source_.message(aead());
    const Octets expected = reference(aead().id, message);
    ASSERT_EQ(seal(row(), message), expected) << "message " << i;
    ASSERT_EQ(open(row(), message, expected), message.plaintext) << "message " << i;
  }
}

// Every length around the block and chunk boundaries, for each of the three inputs.
TEST_P(Aead, EveryLengthAgreesWithASecondImplementation) {
  for (std::size_t length = 0; length <= 1100; ++length) {
    Message message = source_.message(aead());
    message.associated_data = source_.octets(length % 551);
    message.plaintext = source_.octets(length);
    if (!aead().nonce_length_fixed) message.nonce = source_.octets(length % 65);
    const Octets expected = reference(aead().id, message);
    ASSERT_EQ(seal(row(), message), expected) << "length " << length;
    ASSERT_EQ(open(row(), message, expected), message.plaintext) << "length " << length;
  }
}

// The shape of every NTS request without encrypted extension fields.
TEST_P(Aead, EmptyPlaintextIsAuthenticatedByItsTagAlone) {
  Message message{source_.octets(aead().key_length),
                  source_.octets(aead().nonce_length),
                  source_.octets(48),
                  {}};
  const Octets tag = seal(row(), message);
  EXPECT_EQ(tag.size(), kTagLength);
  EXPECT_EQ(open(row(), message, tag), Octets{});
  message.associated_data[0] ^= 1;
  EXPECT_EQ(open(row(), message, tag), std::nullopt);
}

TEST_P(Aead, EverySingleBitCorruptionIsRefusedAndThePlaintextZeroed) {
  Message message{source_.octets(aead().key_length), source_.octets(aead().nonce_length),
                  source_.octets(100), source_.octets(104)};
  Octets ciphertext = seal(row(), message);
  for (Octets* part : {&message.nonce, &message.associated_data, &ciphertext}) {
    for (std::size_t bit = 0; bit < part->size() * 8; ++bit) {
      const auto mask = static_cast<std::uint8_t>(1 << (bit % 8));
      (*part)[bit / 8] ^= mask;
      EXPECT_EQ(open(row(), message, ciphertext), std::nullopt) << "bit " << bit;
      (*part)[bit / 8] ^= mask;
    }
  }
  EXPECT_EQ(open(row(), message, ciphertext), message.plaintext) << "all bits were put back";
}

TEST_P(Aead, AnotherKeyIsRefused) {
  Message message = source_.message(aead());
  const Octets ciphertext = seal(row(), message);
  for (std::size_t i = 0; i < message.key.size(); ++i) {  // either half of a SIV key
    message.key[i] ^= 0x10;
    const bool ctr_half_of_nothing = message.plaintext.empty() &&
                                     aead().id != AeadId::kAes128GcmSiv &&
                                     i >= message.key.size() / 2;
    if (!ctr_half_of_nothing) {
      EXPECT_EQ(open(row(), message, ciphertext), std::nullopt) << "octet " << i;
    }
    message.key[i] ^= 0x10;
  }
}

// An octet must not be able to move from one input to the next one.
TEST_P(Aead, BoundariesBetweenInputsAreAuthenticated) {
  Message message{source_.octets(aead().key_length), source_.octets(aead().nonce_length),
                  source_.octets(40), source_.octets(24)};
  const Octets ciphertext = seal(row(), message);
  message.associated_data.push_back(0);
  EXPECT_EQ(open(row(), message, ciphertext), std::nullopt) << "a zero appended";
  message.associated_data.resize(39);
  EXPECT_EQ(open(row(), message, ciphertext), std::nullopt) << "an octet taken away";
  if (aead().nonce_length_fixed) return;
  message.associated_data = source_.octets(40);
  const Octets other = seal(row(), message);
  std::swap(message.associated_data, message.nonce);
  EXPECT_EQ(open(row(), message, other), std::nullopt) << "nonce and associated data exchanged";
}

TEST_P(Aead, TruncationToEveryLengthIsRefused) {
  const Message message{source_.octets(aead().key_length), source_.octets(aead().nonce_length),
                        source_.octets(20), source_.octets(40)};
  const Octets ciphertext = seal(row(), message);
  for (std::size_t length = 0; length < ciphertext.size(); ++length) {
    const Octets shorter(ciphertext.begin(), ciphertext.begin() + length);
    EXPECT_EQ(open(row(), message, shorter), std::nullopt) << "length " << length;
  }
}

TEST_P(Aead, ACiphertextShorterThanATagZeroesWhateverPlaintextIsGiven) {
  const Octets key(aead().key_length), nonce(aead().nonce_length), ciphertext(kTagLength - 1);
  Octets plaintext(8, 0xee);
  OpenJob job{key, nonce, {}, ciphertext, plaintext, true};
  row().open({&job, 1});
  EXPECT_FALSE(job.authentic);
  EXPECT_EQ(plaintext, Octets(8));
}

TEST_P(Aead, ANonceOfEveryLengthOpensOrIsRefusedAsTheTableSays) {
  for (std::size_t length = 0; length <= 40; ++length) {
    Message message = source_.message(aead());
    message.nonce = source_.octets(length);
    if (!aead().nonce_length_fixed) {
      EXPECT_EQ(open(row(), message, seal(row(), message)), message.plaintext) << length;
    } else if (length != aead().nonce_length) {
      EXPECT_EQ(open(row(), message, source_.octets(48)), std::nullopt) << length;
    }
  }
}

TEST_P(Aead, AnAbsentNonceIsNotANonceOfZeros) {
  if (aead().nonce_length_fixed) return;
  Message message = source_.message(aead());
  message.nonce.clear();
  const Octets absent = seal(row(), message);
  message.nonce.assign(1, 0);
  EXPECT_NE(seal(row(), message), absent);
}

TEST_P(Aead, EmptySpansMayBeNull) {
  const Octets key = source_.octets(aead().key_length), nonce = source_.octets(aead().nonce_length);
  Octets ciphertext(kTagLength);
  const SealJob job{key, nonce, Bytes(), Bytes(), ciphertext};
  ASSERT_TRUE(row().seal({&job, 1}));
  EXPECT_EQ(ciphertext, reference(aead().id, {key, nonce, {}, {}}));
  OpenJob opened{key, nonce, Bytes(), ciphertext, MutableBytes()};
  OpenJob refused{key, nonce, Bytes(), Bytes(), MutableBytes()};
  row().open({&opened, 1});
  row().open({&refused, 1});
  EXPECT_TRUE(opened.authentic);
  EXPECT_FALSE(refused.authentic);
  EXPECT_TRUE(row().seal({}));
  row().open({});
}

TEST_P(Aead, ABurstOfMixedShapesGivesTheSameOctetsAsJobsOneByOne) {
  for (const std::size_t size : {2U, 3U, 8U, 17U, 64U}) {
    std::vector<Message> messages(size);
    for (Message& m : messages) m = source_.message(aead());
    std::vector<Octets> ciphertexts, plaintexts;
    for (const Message& m : messages) {
      ciphertexts.emplace_back(m.plaintext.size() + kTagLength);
      plaintexts.emplace_back(m.plaintext.size(), 0xee);
    }
    std::vector<SealJob> seals;
    for (std::size_t i = 0; i < size; ++i) {
      const Message& m = messages[i];
      seals.push_back({m.key, m.nonce, m.associated_data, m.plaintext, ciphertexts[i]});
    }
    ASSERT_TRUE(row().seal(seals));
    for (std::size_t i = 0; i < size; ++i) EXPECT_EQ(ciphertexts[i], seal(row(), messages[i])) << i;

    for (std::size_t i = 0; i < size; i += 3) ciphertexts[i].back() ^= 0x80;  // every third is bad
    std::vector<OpenJob> opens;
    for (std::size_t i = 0; i < size; ++i) {
      const Message& m = messages[i];
      opens.push_back({m.key, m.nonce, m.associated_data, ciphertexts[i], plaintexts[i]});
    }
    row().open(opens);
    for (std::size_t i = 0; i < size; ++i) {
      const bool bad = i % 3 == 0;
      EXPECT_EQ(opens[i].authentic, !bad) << i;
      EXPECT_EQ(plaintexts[i], bad ? Octets(plaintexts[i].size()) : messages[i].plaintext) << i;
    }
  }
}

TEST_P(Aead, AMovedEngineKeepsItsRows) {
  const Message message = source_.message(aead());
  const Octets expected = seal(row(), message);
  Engine moved = std::move(engine_);
  EXPECT_EQ(seal(moved.row(aead().id), message), expected);
  engine_ = std::move(moved);
  EXPECT_EQ(seal(row(), message), expected);
}

std::vector<Case> every_case() {
  std::vector<Case> cases;
  for (const auto& [implementation, name] : implementations()) {
    if (implementation == Implementation::kAuto || !available(implementation)) continue;
    for (const AeadParameters& aead : aead_table()) {
      cases.push_back({aead, implementation, std::string(name)});
    }
  }
  return cases;
}

std::string case_name(const testing::TestParamInfo<Case>& test) {
  return std::to_string(static_cast<int>(test.param.aead.id)) + test.param.name;
}

INSTANTIATE_TEST_SUITE_P(EveryRow, Aead, testing::ValuesIn(every_case()), case_name);

TEST(AeadTable, HasTheRegistryNumbersKeyAndNonceLengths) {
  ASSERT_EQ(aead_table().size(), 4U);
  const auto expect = [](std::uint16_t id, std::size_t key, std::size_t nonce, const char* name) {
    const AeadParameters* aead = find_aead(id);
    ASSERT_NE(aead, nullptr);
    EXPECT_EQ(aead->key_length, key);
    EXPECT_EQ(aead->nonce_length, nonce);
    EXPECT_EQ(aead->name, name);
    EXPECT_EQ(&parameters(aead->id), aead);
    EXPECT_LE(aead->key_length, kMaxKeyLength);
  };
  expect(15, 32, 16, "AEAD_AES_SIV_CMAC_256");
  expect(16, 48, 16, "AEAD_AES_SIV_CMAC_384");
  expect(17, 64, 16, "AEAD_AES_SIV_CMAC_512");
  expect(30, 16, 12, "AEAD_AES_128_GCM_SIV");
  for (const int id : {0, 1, 14, 18, 29, 31, 65535}) {
    EXPECT_EQ(find_aead(static_cast<std::uint16_t>(id)), nullptr);
  }
}

// --- Random octets -------------------------------------------------------------------------------

Octets draw(RandomGenerator& random, std::size_t length) {
  Octets octets(length);
  random.fill(octets);
  return octets;
}

class Random : public testing::Test {
 protected:
  Octets seed_ = Octets(kSeedLength, 0x5a);
  RandomGenerator random_{seed_};
};

TEST_F(Random, TheSameSeedGivesTheSameOctetsHoweverTheyAreDrawn) {
  RandomGenerator other(seed_);
  const Octets whole = draw(random_, 20'000);
  Octets pieces;
  for (std::size_t length = 0; pieces.size() < whole.size(); length = (length + 1) % 5000) {
    const Octets piece = draw(other, std::min(length, whole.size() - pieces.size()));
    pieces.insert(pieces.end(), piece.begin(), piece.end());
  }
  EXPECT_EQ(whole, pieces);
}

TEST_F(Random, EveryBitOfTheSeedMatters) {
  const Octets first = draw(random_, 32);
  for (std::size_t bit = 0; bit < kSeedLength * 8; ++bit) {
    Octets seed = seed_;
    seed[bit / 8] ^= static_cast<std::uint8_t>(1 << (bit % 8));
    RandomGenerator other(seed);
    EXPECT_NE(draw(other, 32), first) << "bit " << bit;
  }
}

// AES-256-CTR of zeros under the seed (by libgcrypt), without the octets that became the next key.
TEST_F(Random, TheKeystreamIsAes256CtrAndItsFirstOctetsReplaceTheKey) {
  Octets key = seed_;
  for (int refill = 0; refill < 3; ++refill) {
    gcry_cipher_hd_t handle = nullptr;
    ASSERT_EQ(gcry_cipher_open(&handle, GCRY_CIPHER_AES256, GCRY_CIPHER_MODE_CTR, 0), 0U);
    ASSERT_EQ(gcry_cipher_setkey(handle, key.data(), key.size()), 0U);
    Octets stream(4096);
    ASSERT_EQ(gcry_cipher_encrypt(handle, stream.data(), stream.size(), nullptr, 0), 0U);
    gcry_cipher_close(handle);
    key.assign(stream.begin(), stream.begin() + kSeedLength);
    const Octets drawn = draw(random_, stream.size() - kSeedLength);
    EXPECT_TRUE(std::equal(drawn.begin(), drawn.end(), stream.begin() + kSeedLength)) << refill;
  }
}

TEST_F(Random, NothingRepeatsOverManyRefills) {
  std::set<Octets> seen;
  for (int i = 0; i < 20'000; ++i) {
    EXPECT_TRUE(seen.insert(draw(random_, 16)).second) << "drawing " << i;
  }
}

TEST_F(Random, OctetsAreBalanced) {
  const Octets octets = draw(random_, 1 << 20);
  std::array<int, 256> counts{};
  for (const std::uint8_t octet : octets) ++counts[octet];
  for (const int count : counts) EXPECT_NEAR(count, 4096, 6 * 64) << "six standard deviations";
}

TEST_F(Random, ReseedDependsOnTheSeedAndOnTheStateBefore) {
  RandomGenerator same(seed_), other_seed(seed_), other_state(Octets(kSeedLength, 0x77)),
      not_reseeded(seed_);
  const Octets fresh(kSeedLength, 0x11), different(kSeedLength, 0x12);
  random_.reseed(fresh);
  same.reseed(fresh);
  other_seed.reseed(different);
  other_state.reseed(fresh);
  const Octets drawn = draw(random_, 64);
  EXPECT_EQ(draw(same, 64), drawn);
  EXPECT_NE(draw(other_seed, 64), drawn);
  EXPECT_NE(draw(other_state, 64), drawn);
  EXPECT_NE(draw(not_reseeded, 64), drawn);
}

TEST_F(Random, AReseedTakesEffectAtOnceInTheMiddleOfABuffer) {
  RandomGenerator other(seed_);
  EXPECT_EQ(draw(random_, 100), draw(other, 100));
  random_.reseed(Octets(kSeedLength, 0x11));
  EXPECT_NE(draw(random_, 100), draw(other, 100));
}

TEST_F(Random, AReseedIsDueAfterTenMinutesFromTheFirstQuestion) {
  constexpr std::int64_t kStart = 5'000'000'000'000;
  EXPECT_FALSE(random_.reseed_due(kStart));
  EXPECT_FALSE(random_.reseed_due(kStart + kReseedInterval_ns - 1));
  EXPECT_TRUE(random_.reseed_due(kStart + kReseedInterval_ns));
  random_.reseed(Octets(kSeedLength, 0x11));
  EXPECT_FALSE(random_.reseed_due(kStart + kReseedInterval_ns));
  EXPECT_FALSE(random_.reseed_due(kStart + 2 * kReseedInterval_ns - 1));
  EXPECT_TRUE(random_.reseed_due(kStart + 2 * kReseedInterval_ns));
}

TEST_F(Random, AReseedIsDueWhenMuchHasBeenDrawn) {
  Octets octets(1 << 20);
  for (std::uint64_t drawn = octets.size(); drawn < kReseedOctets; drawn += octets.size()) {
    random_.fill(octets);
    ASSERT_FALSE(random_.reseed_due(0)) << drawn;
  }
  random_.fill(octets);
  EXPECT_TRUE(random_.reseed_due(0));
  random_.reseed(Octets(kSeedLength, 0x11));
  EXPECT_FALSE(random_.reseed_due(0));
}

TEST_F(Random, ReseedIfDueDoesNothingBeforeAndAlwaysDiffersAfter) {
  RandomGenerator other(seed_), again(seed_);
  for (RandomGenerator* random : {&random_, &other}) ASSERT_TRUE(reseed_if_due(*random, 0));
  EXPECT_EQ(draw(random_, 64), draw(again, 64));
  for (RandomGenerator* random : {&random_, &other}) {
    ASSERT_TRUE(reseed_if_due(*random, kReseedInterval_ns));
    EXPECT_FALSE(random->reseed_due(kReseedInterval_ns));
  }
  EXPECT_NE(draw(random_, 64), draw(other, 64));
}

TEST_F(Random, U32IsTheNextFourOctetsInNetworkOrder) {
  RandomGenerator other(seed_);
  const Octets next = draw(other, 4);
  EXPECT_EQ(random_.u32(), load_be32(next.data()));
  random_.fill({});
  EXPECT_EQ(draw(random_, 8), draw(other, 8)) << "an empty drawing takes nothing";
}

TEST(Entropy, FillsEveryOctetAndNeverTheSameTwice) {
  // 300 octets: over 256, which is as much as the kernel promises in one call.
  Octets first(300), second(300);
  ASSERT_TRUE(read_entropy(first));
  ASSERT_TRUE(read_entropy(second));
  EXPECT_NE(first, second);
  EXPECT_FALSE(std::all_of(first.end() - 16, first.end(), [](auto octet) { return octet == 0; }));
  EXPECT_TRUE(read_entropy({}));
}

}  // namespace
}  // namespace timeball::crypto
