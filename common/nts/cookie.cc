#include "common/nts/cookie.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace timeball::nts {
namespace {

constexpr crypto::AeadId kCookieAead = crypto::AeadId::kAesSivCmac256;
constexpr std::size_t kSealedOffset = kCookieKeyIdLength + kCookieNonceLength;
constexpr std::size_t kMaxCookiePlaintext = 2 * crypto::kMaxKeyLength;
static_assert(cookie_length(crypto::kMaxKeyLength) == kMaxCookieLength);

// How many cookies go to the cryptographic row at once: four lockstep groups of eight, and a stack
// frame of some 8 KiB.
constexpr std::size_t kChunk = 32;

// The key pairs of one chunk, on their way into or out of cookies. Wipes what was used.
class Plaintexts {
 public:
  ~Plaintexts() { wipe(MutableBytes(octets_).first(used_)); }
  MutableBytes add(std::size_t length) {
    assert(used_ + length <= octets_.size());
    used_ += length;
    return MutableBytes(octets_).subspan(used_ - length, length);
  }

 private:
  std::array<std::uint8_t, kChunk * kMaxCookiePlaintext> octets_;
  std::size_t used_ = 0;
};

bool seal_chunk(const MasterKey& master, crypto::Row& row, crypto::RandomGenerator& random,
                std::span<const SealCookieJob> chunk) {
  Plaintexts plaintexts;
  std::array<crypto::SealJob, kChunk> seals;
  for (std::size_t i = 0; i < chunk.size(); ++i) {
    const AssociationKeys& keys = *chunk[i].keys;
    const MutableBytes cookie = chunk[i].cookie;
    assert(cookie.size() == cookie_length(keys.aead));
    assert(keys.c2s.size() == keys.s2c.size() && cookie.size() == cookie_length(keys.c2s.size()));
    const MutableBytes plaintext = plaintexts.add(keys.c2s.size() + keys.s2c.size());
    std::ranges::copy(keys.s2c.bytes(), std::ranges::copy(keys.c2s.bytes(), plaintext.begin()).out);
    const MutableBytes key_id = cookie.first(kCookieKeyIdLength);
    const MutableBytes nonce = cookie.subspan(kCookieKeyIdLength, kCookieNonceLength);
    store_be32(key_id.data(), master.id);
    random.fill(nonce);
    seals[i] = {master.key.bytes(), nonce, key_id, plaintext, cookie.subspan(kSealedOffset)};
  }
  return row.seal(std::span(seals).first(chunk.size()));
}

// A cookie that has a key and a length of ours, its opening, and the algorithm its keys are for.
struct Opening {
  std::array<OpenCookieJob*, kChunk> jobs;
  std::array<crypto::AeadId, kChunk> aeads;
  std::array<crypto::OpenJob, kChunk> opens;
  std::size_t count = 0;
};

void begin_open(const KeyRing& ring, OpenCookieJob& job, Plaintexts& plaintexts, Opening& opening) {
  const auto aead = aead_of_cookie_length(job.cookie.size());
  if (!aead) {
    job.status = CookieStatus::kWrongLength;
    return;
  }
  const MasterKey* master = ring.find(cookie_key_id(job.cookie));
  if (master == nullptr) {
    job.status = CookieStatus::kUnknownKey;
    return;
  }
  const std::size_t n = opening.count++;
  opening.jobs[n] = &job;
  opening.aeads[n] = *aead;
  opening.opens[n] = {master->key.bytes(),
                      job.cookie.subspan(kCookieKeyIdLength, kCookieNonceLength),
                      job.cookie.first(kCookieKeyIdLength), job.cookie.subspan(kSealedOffset),
                      plaintexts.add(2 * crypto::parameters(*aead).key_length)};
}

void finish_open(OpenCookieJob& job, crypto::AeadId aead, const crypto::OpenJob& open) {
  if (!open.authentic) {
    job.status = CookieStatus::kNotAuthentic;
    return;
  }
  const std::size_t key_length = open.plaintext.size() / 2;
  job.keys.aead = aead;
  std::ranges::copy(open.plaintext.first(key_length), job.keys.c2s.resize(key_length).begin());
  std::ranges::copy(open.plaintext.last(key_length), job.keys.s2c.resize(key_length).begin());
  job.status = CookieStatus::kOpened;
}

void open_chunk(const KeyRing& ring, crypto::Row& row, std::span<OpenCookieJob> chunk) {
  Plaintexts plaintexts;
  Opening opening;
  for (OpenCookieJob& job : chunk) begin_open(ring, job, plaintexts, opening);
  row.open(std::span(opening.opens).first(opening.count));
  for (std::size_t i = 0; i < opening.count; ++i) {
    finish_open(*opening.jobs[i], opening.aeads[i], opening.opens[i]);
  }
}

}  // namespace

std::size_t cookie_length(crypto::AeadId aead) {
  return cookie_length(crypto::parameters(aead).key_length);
}

std::optional<crypto::AeadId> aead_of_cookie_length(std::size_t length) {
  for (const crypto::AeadParameters& aead : crypto::aead_table()) {
    if (cookie_length(aead.key_length) == length) return aead.id;
  }
  return std::nullopt;
}

std::uint32_t cookie_key_id(Bytes cookie) {
  assert(cookie.size() >= kCookieKeyIdLength);
  return load_be32(cookie.data());
}

bool seal_cookies(const KeyRing& ring, crypto::Engine& engine, crypto::RandomGenerator& random,
                  std::span<SealCookieJob> burst) {
  crypto::Row& row = engine.row(kCookieAead);
  while (!burst.empty()) {
    const auto chunk = burst.first(std::min(burst.size(), kChunk));
    if (!seal_chunk(ring.current(), row, random, chunk)) return false;
    burst = burst.subspan(chunk.size());
  }
  return true;
}

void open_cookies(const KeyRing& ring, crypto::Engine& engine, std::span<OpenCookieJob> burst) {
  crypto::Row& row = engine.row(kCookieAead);
  while (!burst.empty()) {
    const auto chunk = burst.first(std::min(burst.size(), kChunk));
    open_chunk(ring, row, chunk);
    burst = burst.subspan(chunk.size());
  }
}

}  // namespace timeball::nts
