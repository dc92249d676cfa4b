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
template <std::size_t kCapacity>
class Plaintexts {
 public:
  ~Plaintexts() { wipe(MutableBytes(octets_).first(used_)); }
  MutableBytes add(std::size_t length) {
    assert(used_ + length <= octets_.size());
    used_ += length;
    return MutableBytes(octets_).subspan(used_ - length, length);
  }

 private:
  std::array<std::uint8_t, kCapacity * kMaxCookiePlaintext> octets_;
  std::size_t used_ = 0;
};

Bytes key_id_of(Bytes cookie) {
  return cookie.first(kCookieKeyIdLength);
}
Bytes nonce_of(Bytes cookie) {
  return cookie.subspan(kCookieKeyIdLength, kCookieNonceLength);
}
// What stands in clear in front of a new cookie.
void begin_cookie(MutableBytes cookie, std::uint32_t key_id, crypto::RandomGenerator& random) {
  store_be32(cookie.data(), key_id);
  random.fill(cookie.subspan(kCookieKeyIdLength, kCookieNonceLength));
}

bool seal_chunk(const MasterKey& master, crypto::Row& row, crypto::RandomGenerator& random,
                std::span<const SealCookieJob> chunk) {
  Plaintexts<kChunk> plaintexts;
  std::array<crypto::SealJob, kChunk> seals;
  for (std::size_t i = 0; i < chunk.size(); ++i) {
    const AssociationKeys& keys = *chunk[i].keys;
    const MutableBytes cookie = chunk[i].cookie;
    assert(cookie.size() == cookie_length(keys.aead));
    assert(keys.c2s.size() == keys.s2c.size() && cookie.size() == cookie_length(keys.c2s.size()));
    const MutableBytes plaintext = plaintexts.add(keys.c2s.size() + keys.s2c.size());
    std::ranges::copy(keys.s2c.bytes(), std::ranges::copy(keys.c2s.bytes(), plaintext.begin()).out);
    begin_cookie(cookie, master.id, random);
    seals[i] = {master.key.bytes(), nonce_of(cookie), key_id_of(cookie), plaintext,
                cookie.subspan(kSealedOffset)};
  }
  return row.seal(std::span(seals).first(chunk.size()));
}

// The cookies that have a key and a length of ours, their openings, and the algorithms their keys
// are for.
template <std::size_t kCapacity>
struct Opening {
  Plaintexts<kCapacity> plaintexts;
  std::array<OpenCookieJob*, kCapacity> jobs;
  std::array<crypto::AeadId, kCapacity> aeads;
  std::array<crypto::ResealJob, kCapacity> reseals;
  std::size_t count = 0;
};

template <std::size_t kCapacity>
void begin_open(const KeyRing& ring, crypto::RandomGenerator& random, OpenCookieJob& job,
                Opening<kCapacity>& opening) {
  const auto aead = aead_of_cookie_length(job.cookie.size());
  if (!aead) {
    job.status = CookieStatus::kWrongLength;
    return;
  }
  const std::uint32_t id = cookie_key_id(job.cookie);
  const MasterKey* master = ring.find(id);
  if (master == nullptr) {
    job.status = ring.may_lack(id) ? CookieStatus::kNewerKey : CookieStatus::kUnknownKey;
    return;
  }
  const std::size_t n = opening.count++;
  opening.jobs[n] = &job;
  opening.aeads[n] = *aead;
  // Under a retired key the fresh one comes out too, of no use: too seldom for a burst of its own.
  job.renewed = master->id == ring.current().id;
  const MutableBytes fresh = MutableBytes(job.fresh).first(job.cookie.size());
  begin_cookie(fresh, master->id, random);
  opening.reseals[n] = {{master->key.bytes(), nonce_of(job.cookie), key_id_of(job.cookie),
                         job.cookie.subspan(kSealedOffset),
                         opening.plaintexts.add(2 * crypto::parameters(*aead).key_length)},
                        nonce_of(fresh),
                        fresh.subspan(kSealedOffset)};
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

template <std::size_t kCapacity>
void open_chunk(const KeyRing& ring, crypto::Row& row, crypto::RandomGenerator& random,
                std::span<OpenCookieJob> chunk) {
  Opening<kCapacity> opening;
  for (OpenCookieJob& job : chunk) {
    job.renewed = false;
    begin_open(ring, random, job, opening);
  }
  const bool renewed = row.reseal(std::span(opening.reseals).first(opening.count));
  for (std::size_t i = 0; i < opening.count; ++i) {
    finish_open(*opening.jobs[i], opening.aeads[i], opening.reseals[i]);
    if (!renewed) opening.jobs[i]->renewed = false;
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

void open_cookies(const KeyRing& ring, crypto::Engine& engine, crypto::RandomGenerator& random,
                  std::span<OpenCookieJob> burst) {
  crypto::Row& row = engine.row(kCookieAead);
  // To clear a whole chunk's jobs would be a tenth of all that a lone request takes.
  if (burst.size() == 1) return open_chunk<1>(ring, row, random, burst);
  while (!burst.empty()) {
    const auto chunk = burst.first(std::min(burst.size(), kChunk));
    open_chunk<kChunk>(ring, row, random, chunk);
    burst = burst.subspan(chunk.size());
  }
}

}  // namespace timeball::nts
