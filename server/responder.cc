#include "server/responder.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <optional>
#include <vector>

#include "common/base/secret_memory.h"
#include "common/ntp/extension_field.h"
#include "common/ntp/packet.h"
#include "common/nts/authenticator.h"
#include "common/nts/cookie.h"
#include "common/nts/request.h"

namespace timeball::server {
namespace {

constexpr std::size_t kBatch = net::kBatchCapacity;

// The mode of the reply to this request; nothing: it is not answered.
std::optional<ntp::Mode> reply_mode(const ntp::Header& request, std::uint16_t source_port,
                                    bool symmetric_active) {
  switch (request.mode) {
    case ntp::Mode::kClient:
      return ntp::Mode::kServer;
    case ntp::Mode::kReserved:
      // An NTPv1 client has no mode field. From port 123 it could be a server, and a loop.
      if (request.version == 1 && source_port != ntp::kPort) return ntp::Mode::kServer;
      return std::nullopt;
    case ntp::Mode::kSymmetricActive:
      if (symmetric_active) return ntp::Mode::kSymmetricPassive;
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

// Of a clock that is not synchronised: one second, as its peers say too.
constexpr Duration kUnknownBound = std::chrono::seconds(1);

// What every reply says of the clock; T3 and the root dispersion are written by stamp().
ntp::Header reply_header(const ntp::Header& request, ntp::Mode mode, const ClockState& clock,
                         KernelTime received) {
  ntp::Header reply;
  reply.version = request.version;
  reply.mode = mode;
  reply.poll = request.poll;
  reply.precision = clock.precision;
  reply.root_delay = NtpShort::round_up(clock.root_delay);
  reply.reference = NtpTimestamp::from_utc(clock.utc(clock.reference_time));
  reply.origin = request.transmit;
  reply.receive = NtpTimestamp::from_utc(clock.utc(received));
  if (clock.synchronised()) {
    reply.leap = clock.leap;
    reply.stratum = clock.stratum;
    reply.reference_id = clock.reference_id;
  } else {
    reply.leap = LeapIndicator::kUnknown;
    reply.stratum = 0;
    reply.reference_id = 0;
  }
  return reply;
}

// A Kiss-o'-Death: stratum 0, the code in the reference identifier. The timestamps stay, because
// some clients take a packet without them for a forgery.
ntp::Header kiss_header(ntp::Header reply, std::uint32_t code) {
  reply.leap = LeapIndicator::kUnknown;
  reply.stratum = 0;
  reply.reference_id = code;
  return reply;
}

}  // namespace

// Everything one batch needs, made once.
struct Responder::Work {
  // One request of the batch, as far as it has come.
  struct Slot {
    const nts::AssociationKeys& keys() const { return opened->keys; }

    Verdict verdict = Verdict::kDroppedInternal;
    ntp::Header request;
    ntp::Mode mode = ntp::Mode::kServer;
    nts::ParsedRequest parsed;
    const nts::OpenCookieJob* opened = nullptr;
    std::size_t cookies = 0;  // in the reply
    std::size_t plaintext_length = 0;
    nts::AuthenticatorLayout layout;
    // The request's decrypted fields first, the reply's fields to be encrypted later.
    std::array<std::uint8_t, net::kMaxDatagram> plaintext;
  };

  Work(const ResponderOptions& o, crypto::Engine e, crypto::RandomGenerator& r)
      : options(o),
        engine(std::move(e)),
        random(r),
        limiter(o.rate, (std::uint64_t{r.u32()} << 32) | r.u32()) {}

  Verdict classify(Slot& slot, const net::Datagram& datagram, const World& world,
                   MonotonicTime now);
  Verdict over_limit(const Slot& slot, MonotonicTime now);
  void check_cookies(const nts::KeyRing& keys);
  void verify(std::span<const net::Datagram> batch);
  void choose_cookies(Slot& slot, const net::Datagram& datagram);
  void mint_cookies(const nts::KeyRing& keys);
  void write_reply(Slot& slot, net::Datagram& datagram, MonotonicTime now);

  ResponderOptions options;
  crypto::Engine engine;
  crypto::RandomGenerator& random;
  RateLimiter limiter;
  ClockState clock;
  std::size_t size = 0;  // of the batch
  std::array<Slot, kBatch> slots;
  std::array<Verdict, kBatch> verdicts;
  // The keys of the last batch's associations.
  std::vector<nts::OpenCookieJob, SecretAllocator<nts::OpenCookieJob>> open_cookies{kBatch};
  std::array<crypto::OpenJob, kBatch> open_jobs;
  std::array<crypto::SealJob, kBatch> seal_jobs;
  std::array<std::size_t, kBatch> job_slots;  // which slot a job is for
  std::array<nts::SealCookieJob, kBatch * nts::kMaxCookiesInReply> cookie_jobs;
};

Responder::Responder(const ResponderOptions& options, crypto::Engine engine,
                     crypto::RandomGenerator& random)
    : work_(std::make_unique<Work>(options, std::move(engine), random)) {}
Responder::~Responder() = default;

std::span<const Verdict> Responder::prepare(std::span<net::Datagram> batch, const World& world,
                                            MonotonicTime now) {
  assert(batch.size() <= kBatch);
  Work& w = *work_;
  if (!batch.empty()) w.clock = world.clock.at(batch.front().receive_time);
  w.size = batch.size();
  for (std::size_t i = 0; i < w.size; ++i) {
    w.slots[i].verdict = w.classify(w.slots[i], batch[i], world, now);
  }
  w.check_cookies(world.keys);
  w.verify(batch);
  w.mint_cookies(world.keys);
  for (std::size_t i = 0; i < w.size; ++i) {
    batch[i].reply_length = 0;
    if (answered(w.slots[i].verdict)) w.write_reply(w.slots[i], batch[i], now);
    w.verdicts[i] = w.slots[i].verdict;
  }
  return std::span(w.verdicts).first(w.size);
}

// Refusals that need no cryptography, cheapest first. kAnsweredNts means: not refused so far.
Verdict Responder::Work::classify(Slot& slot, const net::Datagram& datagram, const World& world,
                                  MonotonicTime now) {
  const auto header = ntp::parse_header(datagram.request);
  if (!header) return Verdict::kDroppedShort;
  slot.request = *header;
  if (header->version < 1 || header->version > 4) return Verdict::kDroppedVersion;
  const auto mode = reply_mode(*header, datagram.peer.port, options.symmetric_active);
  if (!mode) return Verdict::kDroppedMode;
  slot.mode = *mode;
  if (!world.access.allows(datagram.peer.address)) return Verdict::kDroppedDenied;

  // NTS is for client mode of version 4 only; older versions have no extension fields.
  const bool has_fields = header->version == 4 && header->mode == ntp::Mode::kClient;
  slot.parsed = has_fields ? nts::parse_request(datagram.request) : nts::ParsedRequest{};
  if (limiter.admit(datagram.peer.address, now, random) == RateLimiter::Answer::kLimit) {
    return over_limit(slot, now);
  }
  switch (slot.parsed.kind) {
    case nts::RequestKind::kMalformed:
      return Verdict::kDroppedMalformed;
    case nts::RequestKind::kPlain:
      return options.require_nts ? Verdict::kDroppedNtsRequired : Verdict::kAnsweredPlain;
    case nts::RequestKind::kNts:
      break;
  }
  return world.keys.empty() ? Verdict::kDroppedNoKeys : Verdict::kAnsweredNts;
}

// NTS clients ignore an unauthenticated RATE: for them it would only be a packet more.
Verdict Responder::Work::over_limit(const Slot& slot, MonotonicTime now) {
  if (!options.rate.kiss || slot.parsed.kind != nts::RequestKind::kPlain || options.require_nts) {
    return Verdict::kDroppedRate;
  }
  return limiter.admit_refusal(now) ? Verdict::kKissRate : Verdict::kDroppedRefusalRate;
}

void Responder::Work::check_cookies(const nts::KeyRing& keys) {
  std::size_t jobs = 0;
  for (std::size_t i = 0; i < size; ++i) {
    if (slots[i].verdict != Verdict::kAnsweredNts) continue;
    open_cookies[jobs].cookie = slots[i].parsed.nts.cookie;
    job_slots[jobs++] = i;
  }
  nts::open_cookies(keys, engine, random, std::span(open_cookies).first(jobs));
  for (std::size_t j = 0; j < jobs; ++j) {
    Slot& slot = slots[job_slots[j]];
    const nts::CookieStatus status = open_cookies[j].status;
    if (status != nts::CookieStatus::kOpened) {
      const bool newer = status == nts::CookieStatus::kNewerKey;
      slot.verdict = newer ? Verdict::kDroppedNewerKey : Verdict::kNak;
      continue;
    }
    slot.opened = &open_cookies[j];
    // A structural rule that needs the algorithm: RFC 8915, section 5.6.
    if (!nts::nonce_room_suffices(slot.parsed.nts.authenticator, slot.keys().aead)) {
      slot.verdict = Verdict::kDroppedMalformed;
    }
  }
}

// Verifies the authenticators, one burst for each algorithm.
void Responder::Work::verify(std::span<const net::Datagram> batch) {
  for (const crypto::AeadParameters& algorithm : crypto::aead_table()) {
    std::size_t jobs = 0;
    for (std::size_t i = 0; i < size; ++i) {
      Slot& slot = slots[i];
      if (slot.verdict != Verdict::kAnsweredNts || slot.keys().aead != algorithm.id) continue;
      const nts::AuthenticatorField& field = slot.parsed.nts.authenticator;
      slot.plaintext_length = field.ciphertext.size() - crypto::kTagLength;
      open_jobs[jobs] = {slot.keys().c2s.bytes(),
                         field.nonce,
                         batch[i].request.first(field.offset),
                         field.ciphertext,
                         MutableBytes(slot.plaintext).first(slot.plaintext_length),
                         false};
      job_slots[jobs++] = i;
    }
    if (jobs == 0) continue;
    engine.row(algorithm.id).open(std::span(open_jobs).first(jobs));
    for (std::size_t j = 0; j < jobs; ++j) {
      Slot& slot = slots[job_slots[j]];
      if (open_jobs[j].authentic) {
        choose_cookies(slot, batch[job_slots[j]]);
      } else {
        slot.verdict = Verdict::kNak;
      }
    }
  }
}

// How many cookies the reply holds: one, one more for each placeholder, at most eight, and never so
// many that the reply outgrows the request.
void Responder::Work::choose_cookies(Slot& slot, const net::Datagram& datagram) {
  const std::size_t length = slot.parsed.nts.cookie.size();
  const auto inner =
      nts::count_inner_placeholders(Bytes(slot.plaintext).first(slot.plaintext_length), length);
  if (!inner) {
    slot.verdict = Verdict::kDroppedMalformed;
    return;
  }
  const std::size_t wanted = 1 + slot.parsed.nts.placeholders + *inner;
  slot.cookies = std::min(wanted, nts::kMaxCookiesInReply);
  const std::size_t fixed =
      ntp::kHeaderLength + ntp::kFieldHeaderLength + slot.parsed.nts.unique_identifier.size();
  const auto reply_length = [&](std::size_t cookies) {
    slot.plaintext_length = cookies * (ntp::kFieldHeaderLength + length);
    return fixed + nts::authenticator_field_length(slot.keys().aead, slot.plaintext_length);
  };
  while (slot.cookies > 0 && reply_length(slot.cookies) > datagram.request.size()) --slot.cookies;
  if (slot.cookies == 0) slot.verdict = Verdict::kDroppedMalformed;
}

// Lays the fields to be encrypted out in each slot's plaintext, with fresh cookies in them: the one
// that was made when the request's was opened, and what else it asks for.
void Responder::Work::mint_cookies(const nts::KeyRing& keys) {
  std::size_t jobs = 0;
  for (std::size_t i = 0; i < size; ++i) {
    Slot& slot = slots[i];
    if (slot.verdict != Verdict::kAnsweredNts) continue;
    ByteWriter fields{MutableBytes(slot.plaintext).first(slot.plaintext_length)};
    const std::size_t length = nts::cookie_length(slot.keys().aead);
    for (std::size_t c = 0; c < slot.cookies; ++c) {
      fields.u16(static_cast<std::uint16_t>(ntp::FieldType::kNtsCookie));
      fields.u16(static_cast<std::uint16_t>(ntp::kFieldHeaderLength + length));
      const MutableBytes cookie = fields.reserve(length);
      if (c == 0 && slot.opened->renewed) {
        std::ranges::copy(Bytes(slot.opened->fresh).first(length), cookie.begin());
      } else {
        cookie_jobs[jobs++] = {&slot.keys(), cookie};
      }
    }
  }
  if (jobs == 0) return;
  if (nts::seal_cookies(keys, engine, random, std::span(cookie_jobs).first(jobs))) return;
  for (std::size_t i = 0; i < size; ++i) {
    if (slots[i].verdict == Verdict::kAnsweredNts) slots[i].verdict = Verdict::kDroppedInternal;
  }
}

void Responder::Work::write_reply(Slot& slot, net::Datagram& datagram, MonotonicTime now) {
  if (slot.verdict == Verdict::kNak && !limiter.admit_refusal(now)) {
    slot.verdict = Verdict::kDroppedRefusalRate;
    return;
  }
  ByteWriter out(datagram.reply_room);
  ntp::Header header = reply_header(slot.request, slot.mode, clock, datagram.receive_time);
  if (slot.verdict == Verdict::kNak) header = kiss_header(header, ntp::kKissNtsNak);
  if (slot.verdict == Verdict::kKissRate) header = kiss_header(header, ntp::kKissRate);
  ntp::write_header(header, out.reserve(ntp::kHeaderLength));

  const bool nts = slot.parsed.kind == nts::RequestKind::kNts;
  const Bytes identifier = nts ? slot.parsed.nts.unique_identifier : slot.parsed.unique_identifier;
  if (!identifier.empty()) ntp::write_field(out, ntp::FieldType::kUniqueIdentifier, identifier);
  if (slot.verdict == Verdict::kAnsweredNts) {
    slot.layout = nts::write_authenticator(out, slot.keys().aead, slot.plaintext_length, random);
  }
  assert(out.ok());
  if (!out.ok()) {
    slot.verdict = Verdict::kDroppedInternal;
    return;
  }
  datagram.reply_length = out.size();
}

void Responder::stamp(std::span<net::Datagram> part, KernelTime transmit) {
  const Work& w = *work_;
  const NtpTimestamp t3 = NtpTimestamp::from_utc(w.clock.utc(transmit));
  const bool known = w.clock.synchronised();
  const Duration bound = known ? w.clock.root_dispersion(transmit) : kUnknownBound;
  const NtpShort usual = NtpShort::round_up(bound);
  for (const net::Datagram& d : part) {
    if (d.reply_length == 0) continue;
    std::uint8_t* const reply = d.reply_room.data();
    store_be64(reply + ntp::kTransmitOffset, t3.bits);
    const bool late = known && d.receive_late != Duration{};
    const NtpShort dispersion = late ? NtpShort::round_up(bound + d.receive_late) : usual;
    store_be32(reply + ntp::kRootDispersionOffset, dispersion.bits);
  }
}

std::size_t Responder::seal(std::span<net::Datagram> part, std::size_t first) {
  Work& w = *work_;
  std::size_t failures = 0;
  for (const crypto::AeadParameters& algorithm : crypto::aead_table()) {
    std::size_t jobs = 0;
    for (std::size_t i = 0; i < part.size(); ++i) {
      const Work::Slot& slot = w.slots[first + i];
      if (slot.verdict != Verdict::kAnsweredNts || slot.keys().aead != algorithm.id) continue;
      w.seal_jobs[jobs] = {slot.keys().s2c.bytes(), slot.layout.nonce, slot.layout.associated_data,
                           Bytes(slot.plaintext).first(slot.plaintext_length),
                           slot.layout.ciphertext};
      w.job_slots[jobs++] = i;
    }
    if (jobs == 0 || w.engine.row(algorithm.id).seal(std::span(w.seal_jobs).first(jobs))) continue;
    for (std::size_t j = 0; j < jobs; ++j) {
      part[w.job_slots[j]].reply_length = 0;
      w.verdicts[first + w.job_slots[j]] = Verdict::kDroppedInternal;
    }
    failures += jobs;
  }
  return failures;
}

}  // namespace timeball::server
