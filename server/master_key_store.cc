#include "server/master_key_store.h"

#include <openssl/sha.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <new>
#include <optional>
#include <unordered_set>
#include <utility>
#include <vector>

#include "common/base/hex.h"
#include "server/file.h"

namespace timeball::server {
namespace {

using std::chrono::nanoseconds;

constexpr std::string_view kHeader = "timeball-master-keys 1\n";
constexpr const char* kFollows =
    "this process serves no NTS-KE and only follows the key file: ask the one that does";
constexpr std::string_view kRotated = "rotated ";
constexpr std::size_t kIdDigits = 8;
constexpr std::size_t kKeyDigits = 2 * nts::kMasterKeyLength;
constexpr std::size_t kDigestLineLength =
    sizeof("sha256 ") - 1 + std::size_t{2} * SHA256_DIGEST_LENGTH + 1;

std::string digest_line(std::string_view body) {
  std::array<std::uint8_t, SHA256_DIGEST_LENGTH> digest{};
  if (SHA256(reinterpret_cast<const std::uint8_t*>(body.data()), body.size(), digest.data()) ==
      nullptr) {
    throw std::bad_alloc();
  }
  std::string line = "sha256 ";
  append_hex(line, digest);
  return line += '\n';
}

constexpr std::string_view role(std::size_t generation) {
  return generation == 0 ? "next " : generation == 1 ? "current " : "old ";
}

// Takes the line off the front, without its '\n'; nothing at the end and for an unfinished line.
std::optional<std::string_view> take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  if (end == text.npos) return std::nullopt;
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end + 1);
  return line;
}

std::optional<std::int64_t> parse_rotated(std::optional<std::string_view> line) {
  if (!line || !line->starts_with(kRotated)) return std::nullopt;
  const std::string_view digits = line->substr(kRotated.size());
  std::int64_t seconds = -1;
  std::from_chars(digits.data(), digits.data() + digits.size(), seconds);
  if (seconds < 0 || seconds > kMaxRotatedSeconds || std::to_string(seconds) != digits) {
    return std::nullopt;
  }
  return seconds;
}

std::optional<nts::MasterKey> parse_generation(std::string_view line, std::size_t generation) {
  const std::string_view name = role(generation);
  if (!line.starts_with(name)) return std::nullopt;
  line.remove_prefix(name.size());
  if (line.size() != kIdDigits + 1 + kKeyDigits || line[kIdDigits] != ' ') return std::nullopt;
  std::array<std::uint8_t, 4> id{};
  nts::MasterKey key;
  if (!parse_hex(line.substr(0, kIdDigits), id) ||
      !parse_hex(line.substr(kIdDigits + 1), key.key.resize(nts::kMasterKeyLength))) {
    return std::nullopt;
  }
  key.id = load_be32(id.data());
  return key;
}

bool ids_distinct(const nts::MasterKeys& generations) {
  std::unordered_set<std::uint32_t> seen;
  return std::all_of(generations.begin(), generations.end(),
                     [&](const nts::MasterKey& key) { return seen.insert(key.id).second; });
}

// The keys in the file, or nothing when there is no such file.
Result<std::optional<KeyFile>> load(const std::string& path) {
  const Result<std::optional<SecretText>> content = read_key_file(path, kMaxKeyFileLength);
  if (!content) {
    return fail(fmt::format("master key file {}: {}.", path, content.error().message));
  }
  if (!*content) return std::nullopt;
  Result<KeyFile> file = parse_key_file(**content);
  if (!file) {
    return fail(
        fmt::format("master key file {}: {}. Put a good copy back, or move it away to make "
                    "new keys (clients then fetch new cookies by themselves).",
                    path, file.error().message));
  }
  return *std::move(file);
}

// Under a random identifier, so that another server's cookies meet an unknown one.
Result<nts::KeyRing> random_ring(const EntropySource& entropy) {
  std::array<std::uint8_t, 4> id{};
  if (auto filled = entropy(id); !filled) return fail(filled.error().message);
  return fresh_ring(load_be32(id.data()), entropy);
}

}  // namespace

std::int64_t rotation_second(KernelTime wall) {
  return std::clamp<std::int64_t>(wall.ns / 1'000'000'000, 0, kMaxRotatedSeconds);
}

Result<nts::MasterKeySecret> fresh_key(const EntropySource& entropy) {
  nts::MasterKeySecret key;
  if (auto filled = entropy(key.resize(nts::kMasterKeyLength)); !filled) {
    return fail(filled.error().message);
  }
  return key;
}

Result<nts::KeyRing> fresh_ring(std::uint32_t first_id, const EntropySource& entropy) {
  const Result<nts::MasterKeySecret> current = fresh_key(entropy);
  if (!current) return fail(current.error().message);
  const Result<nts::MasterKeySecret> next = fresh_key(entropy);
  if (!next) return fail(next.error().message);
  return nts::KeyRing::create(first_id, *current, *next);
}

SecretText format_key_file(const KeyFile& file) {
  SecretText text;
  // Reserved whole: growing would take pages again and again.
  text.reserve(128 + file.ring.generations().size() * (16 + kIdDigits + kKeyDigits) +
               kDigestLineLength);
  text += kHeader;
  text += kRotated;
  text += std::to_string(file.rotated_s);
  text += '\n';
  for (std::size_t i = 0; i < file.ring.generations().size(); ++i) {
    const nts::MasterKey& key = file.ring.generations()[i];
    std::array<std::uint8_t, 4> id{};
    store_be32(id.data(), key.id);
    text += role(i);
    append_hex(text, id);
    text += ' ';
    append_hex(text, key.key.bytes());
    text += '\n';
  }
  text += digest_line(text);
  return text;
}

Result<KeyFile> parse_key_file(std::string_view text) {
  if (text.size() > kMaxKeyFileLength) return fail("it is too long for a key file");
  if (!text.starts_with(kHeader)) {
    return fail("it does not begin with \"timeball-master-keys 1\"");
  }
  if (text.size() < kHeader.size() + kDigestLineLength) return fail("it is cut short");
  const std::string_view body = text.substr(0, text.size() - kDigestLineLength);
  if (text.substr(body.size()) != digest_line(body)) {
    return fail("its checksum does not match, so it is damaged or cut short");
  }
  std::string_view rest = body.substr(kHeader.size());
  const std::optional<std::int64_t> rotated = parse_rotated(take_line(rest));
  if (!rotated) return fail("it has no readable \"rotated\" line");
  nts::MasterKeys generations;
  generations.reserve(body.size() / (kIdDigits + kKeyDigits));
  while (!rest.empty()) {
    const auto line = take_line(rest);
    const auto key = line ? parse_generation(*line, generations.size()) : std::nullopt;
    if (!key) return fail(fmt::format("its key line {} is malformed", generations.size() + 1));
    generations.push_back(*key);
  }
  if (generations.size() < 2) return fail("it lacks a next or a current key");
  if (!ids_distinct(generations)) return fail("it holds one key identifier twice");
  return KeyFile{*rotated, nts::KeyRing(std::move(generations))};
}

Result<std::unique_ptr<MasterKeyStore>> MasterKeyStore::open(const KeysConfig& config,
                                                             EntropySource entropy,
                                                             MonotonicTime now, KernelTime wall,
                                                             bool follows) {
  assert(config.rotation.count() > 0 && config.keep <= kMaxKeep);
  std::optional<KeyFile> file;
  if (!config.file.empty()) {
    ::unlink(temporary_name(config.file).c_str());  // keys that a crash left behind
    Result<std::optional<KeyFile>> loaded = load(config.file);
    if (!loaded) return fail(loaded.error().message);
    file = *std::move(loaded);
  }
  const bool made = !file;
  if (made) {
    Result<nts::KeyRing> ring = random_ring(entropy);
    if (!ring) return fail("no master keys could be made: " + ring.error().message);
    file = KeyFile{rotation_second(wall), *std::move(ring)};
  }
  std::unique_ptr<MasterKeyStore> store(
      new MasterKeyStore(config, std::move(entropy), *file, now, wall));
  store->follows_ = follows;
  if (made) {
    if (auto written = store->write(*file); !written) return fail(written.error().message);
    spdlog::info("new master keys: current {:08x}{}", file->ring.current().id,
                 config.file.empty() ? ", in memory only" : " in " + config.file);
  }
  return store;
}

MasterKeyStore::MasterKeyStore(const KeysConfig& config, EntropySource entropy, const KeyFile& file,
                               MonotonicTime now, KernelTime wall)
    : config_(config),
      entropy_(std::move(entropy)),
      keys_(std::make_shared<const nts::KeyRing>(file.ring)),
      status_(MasterKeyStatus{}) {
  adopt(file, now, wall);
}

// Takes the time of the last rotation from a file that was read or written elsewhere.
void MasterKeyStore::adopt(const KeyFile& file, MonotonicTime now, KernelTime wall) {
  rotated_s_ = file.rotated_s;
  current_.current_since = now;
  adopted_at_ = now;
  retry_at_ = now;
  age_settled_ = false;
  settle_age(now, wall);
  publish_status();
}

void MasterKeyStore::settle_age(MonotonicTime now, KernelTime wall) {
  if (age_settled_) return;
  const std::chrono::seconds age(rotation_second(wall) - rotated_s_);
  if (age >= age.zero()) {
    const auto held = std::min<nanoseconds>(age, config_.rotation);
    current_.current_since = std::min(current_.current_since, now - held);
    age_settled_ = true;
  } else if (now - adopted_at_ >= kClockPatience) {
    rotated_s_ = rotation_second(wall - (now - current_.current_since));
    age_settled_ = true;
    if (auto written = write({rotated_s_, *keys_.current()}); !written) {
      spdlog::error("{}", written.error().message);
    }
  }
  publish_status();
}

void MasterKeyStore::follow(MonotonicTime now, KernelTime wall) {
  const Result<void> read = reload(now, wall);
  const std::string trouble = read ? std::string() : read.error().message;
  if (std::exchange(trouble_, trouble) == trouble || read) return;
  spdlog::error("{} The master keys in use stay.", trouble);
}

void MasterKeyStore::tick(MonotonicTime now, KernelTime wall) {
  if (follows_) return follow(now, wall);
  settle_age(now, wall);
  if (now < current_.next_rotation || now < retry_at_) return;
  if (const Result<void> done = rotate(now, wall); !done) {
    retry_at_ = now + kRetryInterval;
    spdlog::error("master keys were not rotated, {:08x} stays in use: {}", current_.current_id,
                  done.error().message);
  }
}

Result<void> MasterKeyStore::rotate(MonotonicTime now, KernelTime wall) {
  if (follows_) return fail(kFollows);
  const Result<nts::MasterKeySecret> fresh = fresh_key(entropy_);
  if (!fresh) return fail(fresh.error().message);
  if (auto done = replace(keys_.current()->rotated(*fresh, config_.keep), now, wall); !done) {
    return done;
  }
  spdlog::info("master keys rotated: current {:08x}, {} generations", current_.current_id,
               current_.generations);
  return {};
}

Result<void> MasterKeyStore::verify() const {
  const Result<KeyFile> file = read();
  if (!file) return fail(file.error().message);
  if (file->ring.generations() == keys_.current()->generations()) return {};
  return fail(
      fmt::format("master key file {} holds other keys than those in use. Restart to use them, or "
                  "rotate to write those in use.",
                  config_.file));
}

Result<KeyFile> MasterKeyStore::read() const {
  if (config_.file.empty()) return fail("the master keys are in memory only");
  Result<std::optional<KeyFile>> loaded = load(config_.file);
  if (!loaded) return fail(loaded.error().message);
  if (!*loaded) return fail(fmt::format("master key file {} is not there.", config_.file));
  return **std::move(loaded);
}

Result<void> MasterKeyStore::reload(MonotonicTime now, KernelTime wall) {
  const Result<KeyFile> file = read();
  if (!file) return fail(file.error().message);
  if (file->ring.generations() == keys_.current()->generations()) return {};
  keys_.publish(std::make_shared<const nts::KeyRing>(file->ring));
  adopt(*file, now, wall);
  spdlog::info("master keys read again: current {:08x}, {} generations", current_.current_id,
               current_.generations);
  return {};
}

Result<void> MasterKeyStore::rekey(MonotonicTime now, KernelTime wall) {
  if (follows_) return fail(kFollows);
  Result<nts::KeyRing> ring = random_ring(entropy_);
  if (!ring) return fail("no master keys could be made: " + ring.error().message);
  if (auto done = replace(*std::move(ring), now, wall); !done) return done;
  spdlog::warn("master keys replaced, all older ones dropped: current {:08x}", current_.current_id);
  return {};
}

// File first, then the threads: what seals cookies is always on the disk.
Result<void> MasterKeyStore::replace(nts::KeyRing ring, MonotonicTime now, KernelTime wall) {
  const KeyFile file{rotation_second(wall), std::move(ring)};
  if (auto written = write(file); !written) return written;
  keys_.publish(std::make_shared<const nts::KeyRing>(file.ring));
  rotated_s_ = file.rotated_s;
  age_settled_ = true;
  current_.current_since = now;
  publish_status();
  return {};
}

Result<void> MasterKeyStore::write(const KeyFile& file) {
  if (config_.file.empty()) return {};
  const SecretText content = format_key_file(file);
  Result<void> done = replace_file(config_.file, content, 0600);
  if (done) return done;
  ++current_.write_failures;
  publish_status();
  return fail(
      fmt::format("master key file {} cannot be written: {}. Check that its directory is "
                  "there, has room and belongs to this user.",
                  config_.file, done.error().message));
}

void MasterKeyStore::publish_status() {
  const std::shared_ptr<const nts::KeyRing> ring = keys_.current();
  current_.current_id = ring->current().id;
  current_.generations = static_cast<std::uint32_t>(ring->generations().size());
  current_.next_rotation = current_.current_since + config_.rotation;
  status_.store(current_);
}

}  // namespace timeball::server
