#include "common/nts/client.h"

#include <algorithm>
#include <cassert>
#include <span>
#include <utility>

#include "common/ntp/extension_field.h"
#include "common/nts/authenticator.h"
#include "common/nts/request.h"

namespace timeball::nts {
namespace {

using ntp::FieldReader;
using ntp::FieldType;

constexpr auto kGcmSiv = static_cast<std::uint16_t>(crypto::AeadId::kAes128GcmSiv);
constexpr auto kSivCmac256 = static_cast<std::uint16_t>(crypto::AeadId::kAesSivCmac256);

// Packets whose AEADs go into one call: enough to fill the widest lanes twice, and little to clear
// for a burst of one.
constexpr std::size_t kGroup = 16;

bool offers(const KeRequestOptions& sent, std::uint16_t aead) {
  return std::ranges::find(sent.aeads, aead) != sent.aeads.end();
}

bool sends_record_1024(const KeRequestOptions& options) {
  return options.compliant_gcm_siv && offers(options, kGcmSiv);
}

// Reads a response record by record.
class ResponseParser {
 public:
  explicit ResponseParser(const KeRequestOptions& sent) : sent_(sent) {}

  // False: failure() says why.
  bool take(const Record& record);
  // After End of Message: what is missing, or the response.
  tl::expected<KeResponse, KeFailure> finish();
  KeFailure failure() const { return failure_; }

 private:
  bool malformed(std::string detail) {
    failure_ = {KeFailure::Kind::kMalformed, std::nullopt, std::move(detail)};
    return false;
  }
  bool take_error(Bytes body);
  bool take_warning(Bytes body);
  bool take_protocol(const Record& record);
  bool take_aead(Bytes body);
  bool take_cookie(Bytes body);
  bool take_server(Bytes body);
  bool take_port(Bytes body);

  const KeRequestOptions& sent_;
  KeResponse response_;
  KeFailure failure_{};
  std::optional<bool> ntpv4_;          // record 1 seen; whether it names NTPv4
  std::optional<std::uint16_t> aead_;  // record 4 seen; 0 (reserved): it was empty
  bool record_1024_ = false;
};

bool ResponseParser::take(const Record& record) {
  switch (static_cast<RecordType>(record.type)) {
    case RecordType::kEndOfMessage:
      if (record.critical && record.body.empty()) return true;
      return malformed("End of Message record is not critical, or has a body");
    case RecordType::kNextProtocol:
      return take_protocol(record);
    case RecordType::kError:
      return take_error(record.body);
    case RecordType::kWarning:
      return take_warning(record.body);
    case RecordType::kAead:
      return take_aead(record.body);
    case RecordType::kNewCookie:
      return take_cookie(record.body);
    case RecordType::kServer:
      return take_server(record.body);
    case RecordType::kPort:
      return take_port(record.body);
    case RecordType::kCompliant128GcmSivExporterContext:
      if (!record.body.empty()) return malformed("record 1024 has a body");
      record_1024_ = true;
      return true;
    default:
      if (!record.critical) return true;
      return malformed("unknown critical record " + std::to_string(record.type));
  }
}

bool ResponseParser::take_error(Bytes body) {
  if (body.size() != 2) return malformed("Error record is not 2 octets long");
  const std::uint16_t code = load_be16(body.data());
  failure_ = {KeFailure::Kind::kErrorRecord, code,
              "the server answered with error " + std::to_string(code)};
  return false;
}

bool ResponseParser::take_warning(Bytes body) {
  if (body.size() != 2) return malformed("Warning record is not 2 octets long");
  response_.warnings.push_back(load_be16(body.data()));
  return true;
}

bool ResponseParser::take_protocol(const Record& record) {
  if (ntpv4_) return malformed("more than one Next Protocol record");
  if (!record.critical) return malformed("Next Protocol record is not critical");
  if (record.body.empty()) {
    ntpv4_ = false;
    return true;
  }
  if (record.body.size() != 2 || load_be16(record.body.data()) != kProtocolNtpv4) {
    return malformed("Next Protocol record names a protocol that was not offered");
  }
  ntpv4_ = true;
  return true;
}

bool ResponseParser::take_aead(Bytes body) {
  if (aead_) return malformed("more than one AEAD record");
  if (body.empty()) {
    aead_ = 0;
    return true;
  }
  if (body.size() != 2) return malformed("AEAD record names more than one algorithm");
  const std::uint16_t aead = load_be16(body.data());
  if (!offers(sent_, aead) || crypto::find_aead(aead) == nullptr) {
    return malformed("AEAD record names algorithm " + std::to_string(aead) +
                     ", which was not offered");
  }
  aead_ = aead;
  return true;
}

bool ResponseParser::take_cookie(Bytes body) {
  if (body.empty() || body.size() > kMaxForeignCookieLength) {
    return malformed("cookie of " + std::to_string(body.size()) + " octets");
  }
  response_.cookies.emplace_back(body.begin(), body.end());
  return true;
}

bool ResponseParser::take_server(Bytes body) {
  if (response_.server) return malformed("more than one Server record");
  std::string name(body.begin(), body.end());
  if (!is_server_name(name)) return malformed("Server record holds neither an address nor a name");
  response_.server = std::move(name);
  return true;
}

bool ResponseParser::take_port(Bytes body) {
  if (response_.port) return malformed("more than one Port record");
  if (body.size() != 2) return malformed("Port record is not 2 octets long");
  response_.port = load_be16(body.data());
  return true;
}

tl::expected<KeResponse, KeFailure> ResponseParser::finish() {
  using Kind = KeFailure::Kind;
  const auto failure = [](Kind kind, const char* detail) {
    return tl::unexpected(KeFailure{kind, std::nullopt, detail});
  };
  if (!ntpv4_) return failure(Kind::kMalformed, "no Next Protocol record");
  if (!*ntpv4_) return failure(Kind::kNoCommonProtocol, "the server does not offer NTPv4");
  if (!aead_) return failure(Kind::kMalformed, "no AEAD record");
  if (*aead_ == 0)
    return failure(Kind::kNoCommonAead, "the server has no AEAD algorithm in common");
  if (response_.cookies.empty()) return failure(Kind::kMalformed, "no cookies");
  response_.aead = crypto::find_aead(*aead_)->id;
  const bool compliant = record_1024_ && sends_record_1024(sent_);
  response_.exporter_aead = *aead_ == kGcmSiv && !compliant ? kSivCmac256 : *aead_;
  return std::move(response_);
}

NtpTimestamp random_timestamp(crypto::RandomGenerator& random) {
  std::array<std::uint8_t, 8> octets;
  random.fill(octets);
  return {load_be64(octets.data())};
}

bool uses(const AssociationKeys* keys, crypto::AeadId aead) {
  return keys != nullptr && keys->aead == aead;
}

// The header of every request: nothing in it but the mode, the version and a random timestamp.
void write_request_header(const RequestJob& job, ByteWriter& out) {
  assert(job.packet.size() == request_length(job));
  ntp::Header header;
  header.transmit = job.transmit;
  ntp::write_header(header, out.reserve(ntp::kHeaderLength));
}

void write_plain_request(RequestJob& job) {
  ByteWriter out(job.packet);
  write_request_header(job, out);
  job.unique_identifier = {};
}

// All but the seal.
crypto::SealJob write_nts_request(RequestJob& job, crypto::RandomGenerator& random) {
  assert(job.options.unique_identifier_length >= kMinUniqueIdentifierLength);
  assert(job.options.unique_identifier_length % 4 == 0);
  ByteWriter out(job.packet);
  write_request_header(job, out);
  const MutableBytes identifier =
      ntp::reserve_field(out, FieldType::kUniqueIdentifier, job.options.unique_identifier_length);
  random.fill(identifier);
  job.unique_identifier = identifier;
  ntp::write_field(out, FieldType::kNtsCookie, job.cookie);
  for (std::size_t i = 0; i < job.options.placeholders; ++i) {
    const MutableBytes zeros =
        ntp::reserve_field(out, FieldType::kNtsCookiePlaceholder, padded4(job.cookie.size()));
    std::ranges::fill(zeros, std::uint8_t{0});
  }
  const AuthenticatorLayout layout = write_authenticator(out, job.keys->aead, 0, random);
  assert(out.ok() && out.room() == 0);
  return {job.keys->c2s.bytes(), layout.nonce, layout.associated_data, {}, layout.ciphertext};
}

// Fields of a reply up to its authenticator.
struct ReplyFields {
  Bytes unique_identifier;
  std::size_t unique_identifiers = 0;
  std::optional<ntp::ExtensionField> authenticator;
};

ReplyFields read_reply_fields(Bytes packet) {
  ReplyFields seen;
  FieldReader fields(packet.subspan(ntp::kHeaderLength), ntp::kHeaderLength, ntp::kMinFieldLength);
  while (const auto field = fields.next()) {
    if (field->is(FieldType::kUniqueIdentifier)) {
      seen.unique_identifier = field->body;
      ++seen.unique_identifiers;
    }
    if (field->is(FieldType::kNtsAuthenticator)) {
      seen.authenticator = field;
      break;
    }
  }
  return seen;
}

ReplyStatus unauthenticated_status(const ntp::Header& header, ReplyStatus otherwise) {
  return header.stratum == 0 && header.reference_id != 0 ? ReplyStatus::kKissCode : otherwise;
}

// Forgets what an earlier check set. Whether the header alone answers the request.
bool take_header(ReplyJob& job) {
  job.nonce = {};
  job.decrypted_fields = {};
  const auto header = ntp::parse_header(job.packet);
  job.header = header.value_or(ntp::Header{});
  return header && header->mode == ntp::Mode::kServer && header->version == 4 &&
         header->origin == job.transmit;
}

ReplyStatus check_plain_reply(ReplyJob& job) {
  if (!take_header(job)) return ReplyStatus::kNotForThisRequest;
  return unauthenticated_status(job.header, ReplyStatus::kAuthentic);
}

// kNotVerified: only what `open` will do is left to check.
ReplyStatus check_but_for_tag(ReplyJob& job, crypto::OpenJob& open) {
  if (!take_header(job)) return ReplyStatus::kNotForThisRequest;
  const ReplyFields fields = read_reply_fields(job.packet);
  if (fields.unique_identifiers != 1 || !equal(fields.unique_identifier, job.unique_identifier)) {
    return ReplyStatus::kNotForThisRequest;
  }
  if (job.packet.size() > job.request_length) return ReplyStatus::kLongerThanRequest;
  if (!fields.authenticator) {
    if (job.header.stratum == 0 && job.header.reference_id == ntp::kKissNtsNak) {
      return ReplyStatus::kNtsNak;
    }
    return unauthenticated_status(job.header, ReplyStatus::kMissingAuthenticator);
  }
  const auto field = parse_authenticator(fields.authenticator->body, fields.authenticator->offset);
  if (!field) return ReplyStatus::kForged;
  assert(job.room.size() >= job.packet.size());
  job.nonce = field->nonce;
  open = {job.keys->s2c.bytes(), field->nonce, job.packet.first(field->offset), field->ciphertext,
          job.room.first(field->ciphertext.size() - crypto::kTagLength)};
  return ReplyStatus::kNotVerified;
}

}  // namespace

std::vector<std::uint8_t> make_ke_request(const KeRequestOptions& options) {
  std::vector<std::uint8_t> identifiers(2 * options.aeads.size());
  ByteWriter list(identifiers);
  for (const std::uint16_t aead : options.aeads) list.u16(aead);

  std::vector<std::uint8_t> message(4 * kRecordHeaderLength + 2 + identifiers.size());
  ByteWriter out(message);
  write_record_u16(out, true, RecordType::kNextProtocol, kProtocolNtpv4);
  write_record(out, true, RecordType::kAead, identifiers);
  if (sends_record_1024(options)) {
    write_record(out, false, RecordType::kCompliant128GcmSivExporterContext, {});
  }
  write_record(out, true, RecordType::kEndOfMessage, {});
  message.resize(out.size());
  return message;
}

tl::expected<KeResponse, KeFailure> parse_ke_response(Bytes message, const KeRequestOptions& sent) {
  ResponseParser parser(sent);
  ByteReader reader(message);
  while (const auto record = read_record(reader)) {
    if (!parser.take(*record)) return tl::unexpected(parser.failure());
    if (record->is(RecordType::kEndOfMessage)) return parser.finish();
  }
  return tl::unexpected(
      KeFailure{KeFailure::Kind::kMalformed, std::nullopt, "it ends before End of Message"});
}

std::size_t request_length(const RequestJob& job) {
  if (job.keys == nullptr) return ntp::kHeaderLength;
  return ntp::kHeaderLength + ntp::kFieldHeaderLength + job.options.unique_identifier_length +
         (1 + job.options.placeholders) * (ntp::kFieldHeaderLength + padded4(job.cookie.size())) +
         authenticator_field_length(job.keys->aead, 0);
}

bool make_requests(std::span<RequestJob> burst, crypto::Engine& engine,
                   crypto::RandomGenerator& random) {
  for (RequestJob& job : burst) {
    if (job.keys == nullptr) write_plain_request(job);
  }
  bool sealed = true;
  std::array<crypto::SealJob, kGroup> seals;
  for (const crypto::AeadParameters& aead : crypto::aead_table()) {
    std::size_t count = 0;
    const auto seal = [&] {
      sealed = engine.row(aead.id).seal(std::span(seals).first(count)) && sealed;
      count = 0;
    };
    for (RequestJob& job : burst) {
      if (uses(job.keys, aead.id)) seals[count++] = write_nts_request(job, random);
      if (count == kGroup) seal();
    }
    if (count > 0) seal();
  }
  return sealed;
}

void check_replies(std::span<ReplyJob> burst, crypto::Engine& engine) {
  for (ReplyJob& job : burst) {
    if (job.keys == nullptr) job.status = check_plain_reply(job);
  }
  std::array<crypto::OpenJob, kGroup> opens;
  std::array<ReplyJob*, kGroup> opened;
  for (const crypto::AeadParameters& aead : crypto::aead_table()) {
    std::size_t count = 0;
    const auto open = [&] {
      engine.row(aead.id).open(std::span(opens).first(count));
      for (std::size_t i = 0; i < count; ++i) {
        opened[i]->status = opens[i].authentic ? ReplyStatus::kAuthentic : ReplyStatus::kForged;
        if (opens[i].authentic) opened[i]->decrypted_fields = opens[i].plaintext;
      }
      count = 0;
    };
    for (ReplyJob& job : burst) {
      if (!uses(job.keys, aead.id)) continue;
      job.status = check_but_for_tag(job, opens[count]);
      if (job.status == ReplyStatus::kNotVerified && job.verify) opened[count++] = &job;
      if (count == kGroup) open();
    }
    if (count > 0) open();
  }
}

CookieReader::CookieReader(Bytes decrypted_fields)
    : fields_(decrypted_fields, 0, ntp::kFieldHeaderLength) {}

std::optional<Bytes> CookieReader::next() {
  while (const auto field = fields_.next()) {
    if (field->is(FieldType::kNtsCookie) && !field->body.empty()) return field->body;
  }
  return std::nullopt;
}

Result<SentRequest> make_nts_request(ClientAssociation& association,
                                     const NtpRequestOptions& options, crypto::Engine& engine,
                                     crypto::RandomGenerator& random) {
  if (association.cookies.empty()) return fail("no cookie left: run NTS-KE again");
  const std::vector<std::uint8_t> cookie = std::move(association.cookies.front());
  association.cookies.pop_front();

  RequestJob job = {&association.keys, cookie, options, random_timestamp(random), {}, {}};
  SentRequest sent;
  sent.packet.resize(request_length(job));
  job.packet = sent.packet;
  if (!make_requests({&job, 1}, engine, random)) {
    return fail("the cryptographic library failed to seal");
  }
  sent.unique_identifier.assign(job.unique_identifier.begin(), job.unique_identifier.end());
  sent.transmit = job.transmit;
  sent.nts = true;
  return sent;
}

SentRequest make_plain_request(crypto::RandomGenerator& random) {
  SentRequest sent;
  sent.transmit = random_timestamp(random);
  sent.packet.resize(ntp::kHeaderLength);
  RequestJob job;
  job.transmit = sent.transmit;
  job.packet = sent.packet;
  write_plain_request(job);
  return sent;
}

NtpReply accept_reply(Bytes packet, const SentRequest& sent, ClientAssociation* association,
                      crypto::Engine& engine) {
  assert(!sent.nts || association != nullptr);
  std::vector<std::uint8_t> room(sent.nts ? packet.size() : 0);
  ReplyJob job;
  job.packet = packet;
  job.transmit = sent.transmit;
  job.request_length = sent.packet.size();
  job.unique_identifier = sent.unique_identifier;
  job.keys = sent.nts ? &association->keys : nullptr;
  job.room = room;
  check_replies({&job, 1}, engine);

  NtpReply reply = {job.status, job.header, 0};
  CookieReader cookies(job.decrypted_fields);
  while (const auto cookie = cookies.next()) {
    association->cookies.emplace_back(cookie->begin(), cookie->end());
    ++reply.new_cookies;
  }
  return reply;
}

}  // namespace timeball::nts
