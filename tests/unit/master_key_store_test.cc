#include "server/master_key_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "common/base/log.h"

namespace timeball::server {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr KernelTime kWall{1'750'000'000LL * 1'000'000'000};
constexpr MonotonicTime kStart{5'000'000'000};

// Octets that count up, so that no two keys are alike and every run is the same.
EntropySource counting_entropy(std::uint8_t first = 1) {
  return [value = first](MutableBytes out) mutable -> Result<void> {
    for (std::uint8_t& octet : out) octet = value++;
    return {};
  };
}

Result<void> no_entropy(MutableBytes) {
  return fail("the kernel's pool is on strike");
}

nts::MasterKeySecret key_of(std::uint8_t octet) {
  return nts::MasterKeySecret(std::vector<std::uint8_t>(nts::kMasterKeyLength, octet));
}

KeyFile example_file() {
  nts::KeyRing ring = nts::KeyRing::create(0xfffffffe, key_of(1), key_of(2));
  for (std::uint8_t i = 3; i < 6; ++i) ring = ring.rotated(key_of(i), 7);
  return {1'750'000'000, ring};
}

std::string message_of(const Result<KeyFile>& result) {
  return result ? "accepted" : result.error().message;
}

constexpr std::size_t kDigestLine = 72;

// `body` with the digest line that fits it.
std::string sealed(std::string body) {
  std::array<std::uint8_t, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const std::uint8_t*>(body.data()), body.size(), digest.data());
  body += "sha256 ";
  for (const std::uint8_t octet : digest) {
    std::array<char, 3> hex{};
    std::snprintf(hex.data(), hex.size(), "%02x", octet);
    body += hex.data();
  }
  return body + "\n";
}

// The example file with one piece of its text replaced, and a digest that fits.
std::string resealed(const std::string& from, const std::string& to) {
  std::string text(format_key_file(example_file()));
  text.resize(text.size() - kDigestLine);
  const std::size_t at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  return sealed(text.replace(at, from.size(), to));
}

TEST(KeyFileFormat, IsTheDocumentedText) {
  std::string body = "timeball-master-keys 1\nrotated 17\nnext 000000ac ";
  for (int i = 0; i < 32; ++i) body += "f0";
  body += "\ncurrent 000000ab ";
  for (int i = 0; i < 32; ++i) body += "0f";
  body += "\n";
  EXPECT_EQ(std::string_view(
                format_key_file({17, nts::KeyRing::create(0xab, key_of(0x0f), key_of(0xf0))})),
            sealed(body));
}

TEST(KeyFileFormat, SurvivesARoundTripAcrossTheIdentifiersWrap) {
  const KeyFile file = example_file();
  EXPECT_EQ(file.ring.current().id, 1u);  // three rotations after 0xfffffffe
  const Result<KeyFile> read = parse_key_file(format_key_file(file));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->rotated_s, file.rotated_s);
  EXPECT_EQ(read->ring.generations(), file.ring.generations());
}

TEST(KeyFileFormat, EveryFlippedBitIsRefused) {
  const std::string good(format_key_file(example_file()));
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      EXPECT_FALSE(parse_key_file(bad)) << "octet " << i << " bit " << bit;
    }
  }
}

TEST(KeyFileFormat, EveryTruncationAndEveryAdditionIsRefused) {
  const std::string good(format_key_file(example_file()));
  for (std::size_t n = 0; n < good.size(); ++n) {
    EXPECT_FALSE(parse_key_file(good.substr(0, n))) << n;
  }
  EXPECT_FALSE(parse_key_file(good + "\n"));
  EXPECT_FALSE(parse_key_file(good + good));
  EXPECT_FALSE(parse_key_file(std::string(kMaxKeyFileLength + 1, 'x')));
}

TEST(KeyFileFormat, AFittingDigestDoesNotExcuseTheRest) {
  const std::string key(64, '0');
  ASSERT_TRUE(parse_key_file(resealed("rotated", "rotated")));
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"keys 1\n", "keys 2\n"},
           {"rotated 1750000000\n", ""},
           {"rotated 1750000000\n", "rotated \n"},
           {"rotated 1750000000\n", "rotated -5\n"},
           {"rotated 1750000000\n", "rotated 007\n"},
           {"rotated 1750000000\n", "rotated 7 \n"},
           {"rotated 1750000000\n", "rotated 9223372037\n"},
           {"rotated 1750000000\n", "rotated 99999999999999999999\n"},
           {"next ", "newer "},
           {"next ", "current "},
           {"current ", "old "},
           {"old ", "current "},
           {"old 00000000 ", "old 00000001 "},  // twice
           {"old 00000000 ", "old 0000000G "},
           {"old 00000000 ", "old 000000000 "},
           {"old 00000000 ", "old 00000000"},
           {"0303", "030"},
           {"0303", "0A03"},
           {"0303", "03030"},
           {"old", "\nold"},
           {"old", "# comment\nold"}}) {
    EXPECT_FALSE(parse_key_file(resealed(from, to))) << from << " -> " << to;
  }
  const std::string head = "timeball-master-keys 1\nrotated 1\n";
  EXPECT_FALSE(parse_key_file(sealed(head)));
  EXPECT_FALSE(parse_key_file(sealed(head + "next 00000001 " + key + "\n")));
  EXPECT_FALSE(parse_key_file(
      sealed(head + "next 00000001 " + key + "\ncurrent 00000000 " + key)));  // unfinished line
}

TEST(KeyFileFormat, SaysWhatIsWrong) {
  EXPECT_NE(message_of(parse_key_file("")).find("does not begin"), std::string::npos);
  EXPECT_NE(message_of(parse_key_file("timeball-master-keys 1\n")).find("cut short"),
            std::string::npos);
  std::string damaged(format_key_file(example_file()));
  damaged[40] ^= 1;
  EXPECT_NE(message_of(parse_key_file(damaged)).find("checksum"), std::string::npos);
  EXPECT_NE(message_of(parse_key_file(resealed("old ", "odd "))).find("key line 3"),
            std::string::npos);
}

class MasterKeyStoreTest : public testing::Test {
 protected:
  MasterKeyStoreTest() {
    set_up_log("off", LogFormat::kText);
    std::string name = (fs::temp_directory_path() / "timeball-keys-XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
    config_ = {.file = (directory_ / "master-keys").string(), .rotation = 24h, .keep = 3};
  }
  ~MasterKeyStoreTest() override { fs::remove_all(directory_); }

  std::unique_ptr<MasterKeyStore> open(MonotonicTime now = kStart, KernelTime wall = kWall) {
    auto store = MasterKeyStore::open(config_, counting_entropy(), now, wall);
    EXPECT_TRUE(store) << store.error().message;
    return store ? *std::move(store) : nullptr;
  }
  std::string open_error() {
    auto store = MasterKeyStore::open(config_, counting_entropy(), kStart, kWall);
    return store ? "opened" : store.error().message;
  }
  std::string content() const {
    std::ifstream file(config_.file, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void put(std::string_view text, mode_t mode = 0600) {
    std::ofstream(config_.file, std::ios::binary) << text;
    ASSERT_EQ(::chmod(config_.file.c_str(), mode), 0);
  }
  mode_t mode() const {
    struct stat status {};
    return ::stat(config_.file.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
  }
  static nts::MasterKeys ring_of(const MasterKeyStore& store) {
    return store.keys().current()->generations();
  }
  nts::MasterKeys ring_in_file() const {
    const Result<KeyFile> file = parse_key_file(content());
    EXPECT_TRUE(file) << file.error().message;
    return file ? file->ring.generations() : nts::MasterKeys{};
  }

  fs::path directory_;
  KeysConfig config_;
};

TEST_F(MasterKeyStoreTest, AMissingFileMakesKeysAndWritesThem) {
  const auto store = open();
  EXPECT_EQ(store->status().current_id, 0x01020304u);  // from the entropy: no fixed first number
  EXPECT_EQ(store->status().generations, 2u);
  EXPECT_EQ(mode(), 0600u);
  EXPECT_EQ(ring_in_file(), ring_of(*store));
  EXPECT_EQ(store->status().next_rotation, kStart + 24h);
}

TEST_F(MasterKeyStoreTest, ARestartKeepsTheKeys) {
  const auto before = ring_of(*open());
  const auto store = MasterKeyStore::open(config_, counting_entropy(99), kStart, kWall + 1h);
  ASSERT_TRUE(store);
  EXPECT_EQ(ring_of(**store), before);
  EXPECT_EQ((*store)->status().next_rotation, kStart + 23h);
}

TEST_F(MasterKeyStoreTest, WithoutAFileNothingIsWritten) {
  config_.file.clear();
  const auto store = open();
  store->tick(kStart + 24h, kWall + 24h);
  EXPECT_EQ(store->status().generations, 3u);
  EXPECT_TRUE(fs::is_empty(directory_));
  EXPECT_FALSE(store->reload(kStart, kWall));
}

TEST_F(MasterKeyStoreTest, NoEntropyIsAnErrorAtStartAndKeepsTheKeysLater) {
  EXPECT_FALSE(MasterKeyStore::open(config_, no_entropy, kStart, kWall));
  EXPECT_FALSE(fs::exists(config_.file));
  const auto before = ring_of(*open());
  const auto store = MasterKeyStore::open(config_, no_entropy, kStart, kWall);
  ASSERT_TRUE(store);
  (*store)->tick(kStart + 25h, kWall);
  EXPECT_FALSE((*store)->rekey(kStart + 25h, kWall));
  EXPECT_EQ(ring_of(**store), before);
}

TEST_F(MasterKeyStoreTest, RotatesAndErasesTheOldest) {
  const auto store = open();
  const auto first = ring_of(*store);
  for (int day = 1; day <= 6; ++day) {
    const auto before = ring_of(*store);
    store->tick(kStart + day * 24h - 1s, kWall + day * 24h - 1s);
    EXPECT_EQ(ring_of(*store), before) << "too early on day " << day;
    store->tick(kStart + day * 24h, kWall + day * 24h);
    const auto after = ring_of(*store);
    ASSERT_EQ(after.size(), std::min(2 + day, 5)) << "next, current, three old";
    EXPECT_EQ(after[1], before[0]) << "next becomes current";
    EXPECT_EQ(after[2], before[1]) << "current becomes old";
    EXPECT_EQ(after[0].id, before[0].id + 1);
    EXPECT_EQ(ring_in_file(), after);
    EXPECT_EQ(mode(), 0600u);
  }
  EXPECT_EQ(store->keys().current()->find(first[1].id), nullptr);
  // The erased key is not left in the file under any identifier.
  const SecretText erased = format_key_file({0, nts::KeyRing({first[0], first[1]})});
  const std::string digits(erased.substr(erased.find("current ") + 17, 64));
  EXPECT_EQ(content().find(digits), std::string::npos);
}

TEST_F(MasterKeyStoreTest, TheIdentifierWraps) {
  put(format_key_file(
      {kWall.ns / 1'000'000'000, nts::KeyRing::create(0xfffffffe, key_of(1), key_of(2))}));
  const auto store = open();
  store->tick(kStart + 24h, kWall + 24h);
  store->tick(kStart + 48h, kWall + 48h);
  EXPECT_EQ(store->status().current_id, 0u);
  EXPECT_EQ(ring_of(*open())[0].id, 1u);
  EXPECT_NE(store->keys().current()->find(0xfffffffe), nullptr);
}

TEST_F(MasterKeyStoreTest, StepsOfTheClockDoNotMoveARunningDaemonsRotation) {
  const auto store = open();
  store->tick(kStart + 1s, KernelTime{0});           // 1970
  store->tick(kStart + 2s, kWall + 24h * 365 * 50);  // far future
  EXPECT_EQ(store->status().generations, 2u);
  store->tick(kStart + 24h, KernelTime{0});
  EXPECT_EQ(store->status().generations, 3u);
}

TEST_F(MasterKeyStoreTest, ARestartInTheFarFutureRotatesOnce) {
  open();
  const KernelTime future = kWall + 24h * 365 * 50;
  const auto store = open(kStart, future);
  EXPECT_EQ(store->status().generations, 2u);
  EXPECT_EQ(store->status().current_since, kStart - 24h) << "older than one rotation says nothing";
  for (int s = 0; s < 100; ++s) store->tick(kStart + s * 1s, future + s * 1s);
  EXPECT_EQ(store->status().generations, 3u);
  EXPECT_EQ(store->status().next_rotation, kStart + 24h);
  // And again, with the stored time now far ahead of a corrected clock: not at once, yet in time.
  const auto corrected = open(kStart, kWall);
  for (int h = 0; h < 24; ++h) corrected->tick(kStart + h * 1h, kWall + h * 1h);
  EXPECT_EQ(corrected->status().generations, 3u);
  corrected->tick(kStart + 24h, kWall + 24h);
  EXPECT_EQ(corrected->status().generations, 4u);
}

TEST_F(MasterKeyStoreTest, AStoredTimeInTheFutureDoesNotPutRotationOffForEver) {
  open(kStart, kWall + 24h * 365 * 50);
  // The daemon restarts every twelve hours; the clock is right throughout.
  int rotated_at_restart = 0;
  for (int restart = 1; restart <= 6 && rotated_at_restart == 0; ++restart) {
    const KernelTime wall = kWall + restart * 12h;
    const auto store = open(kStart, wall);
    for (int m = 0; m < 12 * 60; ++m) store->tick(kStart + m * 1min, wall + m * 1min);
    if (store->status().generations > 2) rotated_at_restart = restart;
  }
  EXPECT_EQ(rotated_at_restart, 3);
}

TEST_F(MasterKeyStoreTest, ABootIn1970TakesTheAgeOnceTheClockIsSet) {
  open();
  const auto store = open(kStart, KernelTime{0});
  store->tick(kStart + 1min, KernelTime{60'000'000'000});
  EXPECT_EQ(store->status().next_rotation, kStart + 24h);
  // GNSS sets the clock: twenty hours have passed since the last rotation.
  store->tick(kStart + 2min, kWall + 20h);
  EXPECT_EQ(store->status().next_rotation, kStart + 2min + 4h);
  EXPECT_EQ(store->status().generations, 2u);
  // From here on only the monotonic clock counts.
  store->tick(kStart + 3min, kWall + 24h * 365);
  EXPECT_EQ(store->status().generations, 2u);
  store->tick(kStart + 2min + 4h, kWall + 24h * 365);
  EXPECT_EQ(store->status().generations, 3u);
}

TEST_F(MasterKeyStoreTest, AFailedWriteKeepsTheRunningKeysAndIsTriedAgain) {
  const auto store = open();
  const auto before = ring_of(*store);
  fs::rename(directory_, directory_.string() + "-away");
  const MonotonicTime due = kStart + 24h;
  store->tick(due, kWall + 24h);
  EXPECT_EQ(ring_of(*store), before);
  EXPECT_EQ(store->status().write_failures, 1u);
  store->tick(due + 1s, kWall + 24h);
  EXPECT_EQ(store->status().write_failures, 1u) << "tried again too soon";
  EXPECT_FALSE(store->rekey(due + 2s, kWall + 24h));
  EXPECT_EQ(ring_of(*store), before);
  fs::rename(directory_.string() + "-away", directory_);
  EXPECT_EQ(ring_in_file(), before);
  store->tick(due + MasterKeyStore::kRetryInterval, kWall + 24h);
  EXPECT_EQ(store->status().generations, 3u);
  EXPECT_EQ(ring_in_file(), ring_of(*store));
}

TEST_F(MasterKeyStoreTest, ADamagedFileStopsTheStartAndSaysWhatToDo) {
  open();
  const std::string good = content();
  put(good.substr(0, good.size() / 2));
  EXPECT_NE(open_error().find(config_.file), std::string::npos);
  EXPECT_NE(open_error().find("move it away to make new keys"), std::string::npos);
  EXPECT_EQ(content(), good.substr(0, good.size() / 2)) << "the evidence stays";
  put("");
  EXPECT_NE(open_error().find("move it away"), std::string::npos);
}

TEST_F(MasterKeyStoreTest, AFileOpenToOthersIsRefused) {
  open();
  const std::string good = content();
  for (const mode_t bad : {0640, 0604, 0620, 0602, 0610, 0601}) {
    put(good, bad);
    EXPECT_NE(open_error().find("others may use it"), std::string::npos) << bad;
  }
  for (const mode_t fine : {0600, 0400}) {
    put(good, fine);
    EXPECT_EQ(open_error(), "opened") << fine;
  }
}

TEST_F(MasterKeyStoreTest, LinksDirectoriesAndPipesAreRefused) {
  open();
  const std::string target = config_.file;
  config_.file = (directory_ / "link").string();
  fs::create_symlink(target, config_.file);
  EXPECT_NE(open_error().find("symbolic link"), std::string::npos);
  config_.file = (directory_ / "pipe").string();
  ASSERT_EQ(::mkfifo(config_.file.c_str(), 0600), 0);
  EXPECT_NE(open_error().find("not a regular file"), std::string::npos);
  config_.file = directory_.string();
  EXPECT_NE(open_error().find("not a regular file"), std::string::npos);
  config_.file = "/proc/self/nowhere/keys";
  EXPECT_NE(open_error().find("cannot be written"), std::string::npos);
}

TEST_F(MasterKeyStoreTest, SomebodyElsesFileIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  open();
  ASSERT_EQ(::chown(config_.file.c_str(), 12345, 0), 0);
  EXPECT_NE(open_error().find("belongs to user 12345"), std::string::npos);
}

TEST_F(MasterKeyStoreTest, AnInterruptedWriteLeavesTheOldFileInForce) {
  const auto before = ring_of(*open());
  const std::string temporary = config_.file + ".tmp";
  std::ofstream(temporary) << content().substr(0, 50);  // killed in the middle of a write
  auto store = open();
  EXPECT_EQ(ring_of(*store), before);
  EXPECT_FALSE(fs::exists(temporary)) << "keys must not lie about";
  // A link planted in the temporary file's place is not followed.
  const fs::path victim = directory_ / "victim";
  std::ofstream(victim) << "untouched";
  fs::create_symlink(victim, temporary);
  store->tick(kStart + 24h, kWall + 24h);
  EXPECT_EQ(store->status().generations, 3u);
  EXPECT_EQ(fs::file_size(victim), 9u);
  EXPECT_EQ(ring_in_file(), ring_of(*store));
  EXPECT_FALSE(fs::is_symlink(config_.file));
}

TEST_F(MasterKeyStoreTest, AnInterruptedFirstWriteMakesNewKeys) {
  std::ofstream(config_.file + ".tmp") << "timeball-master-keys 1\nrota";
  EXPECT_EQ(open()->status().generations, 2u);
}

TEST_F(MasterKeyStoreTest, ReloadTakesAGoodFileAndNoOther) {
  const auto store = open();
  const auto running = ring_of(*store);
  const std::string good = content();
  put(good.substr(1));
  EXPECT_FALSE(store->reload(kStart, kWall));
  put(good, 0644);
  EXPECT_FALSE(store->reload(kStart, kWall));
  fs::remove(config_.file);
  EXPECT_FALSE(store->reload(kStart, kWall));
  EXPECT_EQ(ring_of(*store), running);

  const KeyFile other{kWall.ns / 1'000'000'000 - 3600,
                      nts::KeyRing::create(7, key_of(1), key_of(2))};
  put(format_key_file(other));
  ASSERT_TRUE(store->reload(kStart + 5s, kWall));
  EXPECT_EQ(ring_of(*store), other.ring.generations());
  EXPECT_EQ(store->status().next_rotation, kStart + 5s + 23h);
}

TEST_F(MasterKeyStoreTest, ReloadOfTheSameKeysDoesNotMoveTheRotation) {
  const auto store = open();
  const std::uint64_t version = store->keys().version();
  ASSERT_TRUE(store->reload(kStart + 10h, kWall + 24h * 365));
  EXPECT_EQ(store->status().next_rotation, kStart + 24h);
  EXPECT_EQ(store->keys().version(), version);
}

TEST_F(MasterKeyStoreTest, AFileDeletedUnderTheDaemonComesBackWithTheNextRotation) {
  const auto store = open();
  fs::remove(config_.file);
  store->tick(kStart + 1h, kWall + 1h);
  EXPECT_FALSE(fs::exists(config_.file));
  store->tick(kStart + 24h, kWall + 24h);
  EXPECT_EQ(ring_in_file(), ring_of(*store));
}

TEST_F(MasterKeyStoreTest, RekeyDropsEveryGeneration) {
  const auto store = open();
  store->tick(kStart + 24h, kWall + 24h);
  const auto before = ring_of(*store);
  ASSERT_TRUE(store->rekey(kStart + 30h, kWall + 30h));
  const auto after = ring_of(*store);
  EXPECT_EQ(after.size(), 2u);
  for (const nts::MasterKey& old : before) {
    for (const nts::MasterKey& fresh : after) {
      EXPECT_NE(old.id, fresh.id);
      EXPECT_FALSE(old.key == fresh.key);
    }
  }
  EXPECT_EQ(ring_in_file(), after);
  EXPECT_EQ(store->status().next_rotation, kStart + 54h);
}

TEST_F(MasterKeyStoreTest, TheMostGenerationsFitTheFile) {
  nts::MasterKeys many;
  for (std::uint32_t id = 0; many.size() < kMaxKeep + 2; --id) many.push_back({id, key_of(1)});
  put(format_key_file({0, nts::KeyRing(many)}));
  EXPECT_EQ(open()->status().generations, kMaxKeep + 2);
}

}  // namespace
}  // namespace timeball::server
