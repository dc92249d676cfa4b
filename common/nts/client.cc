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

// The header of every request: nothing in it but the mode, the version and a random timestamp.
ntp::Header request_header(crypto::RandomGenerator& random) {
  std::array<std::uint8_t, 8> transmit;
  random.fill(transmit);
  ntp::Header header;
  header.transmit = {load_be64(transmit.data())};
  return header;
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

// The decrypted fields, or nothing: forged.
std::optional<std::vector<std::uint8_t>> open_reply(Bytes packet,
                                                    const ntp::ExtensionField& authenticator,
                                                    const AssociationKeys& keys,
                                                    crypto::Engine& engine) {
  const auto field = parse_authenticator(authenticator.body, authenticator.offset);
  if (!field) return std::nullopt;
  std::vector<std::uint8_t> plaintext(field->ciphertext.size() - crypto::kTagLength);
  crypto::OpenJob job = {keys.s2c.bytes(), field->nonce, packet.first(field->offset),
                         field->ciphertext, plaintext};
  engine.row(keys.aead).open({&job, 1});
  if (!job.authentic) return std::nullopt;
  return plaintext;
}

std::size_t take_cookies(Bytes plaintext, ClientAssociation& association) {
  FieldReader fields(plaintext, 0, ntp::kFieldHeaderLength);
  std::size_t taken = 0;
  while (const auto field = fields.next()) {
    if (!field->is(FieldType::kNtsCookie) || field->body.empty()) continue;
    association.cookies.emplace_back(field->body.begin(), field->body.end());
    ++taken;
  }
  return taken;
}

ReplyStatus unauthenticated_status(const ntp::Header& header, ReplyStatus otherwise) {
  return header.stratum == 0 && header.reference_id != 0 ? ReplyStatus::kKissCode : otherwise;
}

NtpReply accept_nts_reply(Bytes packet, const ntp::Header& header, const SentRequest& sent,
                          ClientAssociation& association, crypto::Engine& engine) {
  const ReplyFields fields = read_reply_fields(packet);
  if (fields.unique_identifiers != 1 || !equal(fields.unique_identifier, sent.unique_identifier)) {
    return {ReplyStatus::kNotForThisRequest, header, 0};
  }
  if (packet.size() > sent.packet.size()) return {ReplyStatus::kLongerThanRequest, header, 0};
  if (!fields.authenticator) {
    if (header.stratum == 0 && header.reference_id == ntp::kKissNtsNak) {
      return {ReplyStatus::kNtsNak, header, 0};
    }
    return {unauthenticated_status(header, ReplyStatus::kMissingAuthenticator), header, 0};
  }
  const auto plaintext = open_reply(packet, *fields.authenticator, association.keys, engine);
  if (!plaintext) return {ReplyStatus::kForged, header, 0};
  return {ReplyStatus::kAuthentic, header, take_cookies(*plaintext, association)};
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

Result<SentRequest> make_nts_request(ClientAssociation& association,
                                     const NtpRequestOptions& options, crypto::Engine& engine,
                                     crypto::RandomGenerator& random) {
  assert(options.unique_identifier_length >= kMinUniqueIdentifierLength);
  assert(options.unique_identifier_length % 4 == 0);
  if (association.cookies.empty()) return fail("no cookie left: run NTS-KE again");
  const std::vector<std::uint8_t> cookie = std::move(association.cookies.front());
  association.cookies.pop_front();

  const std::size_t cookie_room = padded4(cookie.size());
  const std::size_t cookie_field = ntp::kFieldHeaderLength + cookie_room;
  const crypto::AeadId aead = association.keys.aead;
  SentRequest sent;
  sent.nts = true;
  sent.unique_identifier.resize(options.unique_identifier_length);
  random.fill(sent.unique_identifier);
  sent.packet.resize(ntp::kHeaderLength + ntp::kFieldHeaderLength + sent.unique_identifier.size() +
                     (1 + options.placeholders) * cookie_field +
                     authenticator_field_length(aead, 0));

  const ntp::Header header = request_header(random);
  sent.transmit = header.transmit;
  ByteWriter out(sent.packet);
  ntp::write_header(header, out.reserve(ntp::kHeaderLength));
  ntp::write_field(out, FieldType::kUniqueIdentifier, sent.unique_identifier);
  ntp::write_field(out, FieldType::kNtsCookie, cookie);
  for (std::size_t i = 0; i < options.placeholders; ++i) {
    const MutableBytes zeros =
        ntp::reserve_field(out, FieldType::kNtsCookiePlaceholder, cookie_room);
    std::ranges::fill(zeros, std::uint8_t{0});
  }
  const AuthenticatorLayout layout = write_authenticator(out, aead, 0, random);
  assert(out.ok() && out.room() == 0);
  const crypto::SealJob job = {
      association.keys.c2s.bytes(), layout.nonce, layout.associated_data, {}, layout.ciphertext};
  if (!engine.row(aead).seal({&job, 1})) return fail("the cryptographic library failed to seal");
  return sent;
}

SentRequest make_plain_request(crypto::RandomGenerator& random) {
  const ntp::Header header = request_header(random);
  SentRequest sent;
  sent.transmit = header.transmit;
  sent.packet.resize(ntp::kHeaderLength);
  ntp::write_header(header, sent.packet);
  return sent;
}

NtpReply accept_reply(Bytes packet, const SentRequest& sent, ClientAssociation* association,
                      crypto::Engine& engine) {
  const auto header = ntp::parse_header(packet);
  if (!header) return {};
  if (header->mode != ntp::Mode::kServer || header->version != 4 ||
      header->origin != sent.transmit) {
    return {ReplyStatus::kNotForThisRequest, *header, 0};
  }
  if (!sent.nts) return {unauthenticated_status(*header, ReplyStatus::kAuthentic), *header, 0};
  assert(association != nullptr);
  return accept_nts_reply(packet, *header, sent, *association, engine);
}

}  // namespace timeball::nts
