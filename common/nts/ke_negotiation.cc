#include "common/nts/ke_negotiation.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <tl/expected.hpp>

namespace timeball::nts {
namespace {

// The records of a request that matter to us.
struct KeRequest {
  std::optional<Bytes> protocols;
  std::optional<Bytes> aeads;
  std::optional<std::string_view> server;
  bool port = false;
  bool record_1024 = false;
};

std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Takes the only occurrence of a list of identifiers; false when it is not that.
bool take_list(std::optional<Bytes>& list, Bytes body) {
  if (list || !is_identifier_list(body)) return false;
  list = body;
  return true;
}

// Takes one record, End of Message excepted. Returns its fault, if any.
std::optional<KeError> take_record(KeRequest& request, const Record& record) {
  bool good = true;
  switch (static_cast<RecordType>(record.type)) {
    case RecordType::kNextProtocol:
      good = record.critical && take_list(request.protocols, record.body);
      break;
    case RecordType::kAead:
      good = take_list(request.aeads, record.body);
      break;
    case RecordType::kServer:
      good = !request.server && is_server_name(as_text(record.body));
      request.server = as_text(record.body);
      break;
    case RecordType::kPort:
      good = !request.port && record.body.size() == 2;
      request.port = true;
      break;
    case RecordType::kCompliant128GcmSivExporterContext:
      good = record.body.empty();
      request.record_1024 = true;
      break;
    case RecordType::kEndOfMessage:
    case RecordType::kError:
    case RecordType::kWarning:
    case RecordType::kNewCookie:
      good = false;
      break;
    default:
      if (record.critical) return KeError::kUnrecognizedCriticalRecord;
  }
  if (!good) return KeError::kBadRequest;
  return std::nullopt;
}

// Reads up to End of Message; what follows it is not looked at.
tl::expected<KeRequest, KeError> parse_ke_request(Bytes message) {
  KeRequest request;
  ByteReader reader(message);
  while (const auto record = read_record(reader)) {
    if (record->is(RecordType::kEndOfMessage)) {
      if (!record->critical || !record->body.empty()) break;
      return request;
    }
    if (const auto fault = take_record(request, *record)) return tl::unexpected(*fault);
  }
  return tl::unexpected(KeError::kBadRequest);
}

// Domain names are the same in either case, and with their last dot or without.
bool same_name(std::string_view a, std::string_view b) {
  const auto lower = [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c; };
  if (a.ends_with('.')) a.remove_suffix(1);
  if (b.ends_with('.')) b.remove_suffix(1);
  return std::ranges::equal(a, b, {}, lower, lower);
}

std::optional<std::size_t> find_server(const KePolicy& policy, std::string_view wish) {
  const auto found = std::ranges::find_if(
      policy.servers, [&](const NtpServer& server) { return same_name(server.name, wish); });
  if (found == policy.servers.end()) return std::nullopt;
  return found - policy.servers.begin();
}

// By weight; random: any number, all equally likely. servers: at least one.
const NtpServer& choose_server(std::span<const NtpServer> servers, std::uint32_t random) {
  std::uint64_t total = 0;
  for (const NtpServer& server : servers) total += server.weight;
  std::uint64_t point = random * total >> 32;  // below total, which is far below 2^32
  for (const NtpServer& server : servers) {
    if (point < server.weight) return server;
    point -= server.weight;
  }
  return servers.back();
}

KeDecision choose_aead(const KeRequest& request, const KePolicy& policy) {
  for (const crypto::AeadId aead : policy.aeads) {
    const auto id = static_cast<std::uint16_t>(aead);
    if (!lists(*request.aeads, id)) continue;
    if (aead != crypto::AeadId::kAes128GcmSiv) return KeAgreement{aead, id, false};
    if (request.record_1024) return KeAgreement{aead, id, true};
    if (policy.gcm_siv_without_record_1024) {
      return KeAgreement{aead, static_cast<std::uint16_t>(crypto::AeadId::kAesSivCmac256), false};
    }
  }
  return KeNoCommonAead{};
}

void write_cookie_records(ByteWriter& out,
                          std::span<const std::array<std::uint8_t, kMaxCookieLength>> cookies,
                          std::size_t length) {
  for (const auto& cookie : cookies) {
    write_record(out, false, RecordType::kNewCookie, Bytes(cookie).first(length));
  }
}

// Everything between record 1 and End of Message. False: no keys, or the library failed.
bool write_agreement(ByteWriter& out, const KeAgreement& agreement, const KePolicy& policy,
                     const AssociationKeys& keys, const KeyRing& ring, crypto::Engine& engine,
                     crypto::RandomGenerator& random) {
  assert(keys.aead == agreement.aead);
  if (ring.empty()) return false;
  const std::size_t length = cookie_length(agreement.aead);
  std::array<std::array<std::uint8_t, kMaxCookieLength>, kCookiesInResponse> cookies;
  std::array<SealCookieJob, kCookiesInResponse> jobs;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    jobs[i] = {&keys, MutableBytes(cookies[i]).first(length)};
  }
  if (!seal_cookies(ring, engine, random, jobs)) return false;

  write_record_u16(out, true, RecordType::kAead, static_cast<std::uint16_t>(agreement.aead));
  if (agreement.confirm_record_1024) {
    write_record(out, false, RecordType::kCompliant128GcmSivExporterContext, {});
  }
  write_cookie_records(out, cookies, length);
  if (!policy.servers.empty()) {
    const NtpServer& server = agreement.server ? policy.servers[*agreement.server]
                                               : choose_server(policy.servers, random.u32());
    const auto* text = reinterpret_cast<const std::uint8_t*>(server.name.data());
    write_record(out, true, RecordType::kServer, {text, server.name.size()});
  }
  if (policy.port != 0) write_record_u16(out, true, RecordType::kPort, policy.port);
  return true;
}

std::vector<std::uint8_t> finish(ByteWriter& out) {
  write_record(out, true, RecordType::kEndOfMessage, {});
  assert(out.ok());
  return {out.written().begin(), out.written().end()};
}

}  // namespace

KeDecision negotiate(Bytes message, const KePolicy& policy) {
  const auto request = parse_ke_request(message);
  if (!request) return request.error();
  if (!request->protocols) return KeError::kBadRequest;
  if (!lists(*request->protocols, kProtocolNtpv4)) return KeNoCommonProtocol{};
  if (!request->aeads) return KeError::kBadRequest;
  KeDecision decision = choose_aead(*request, policy);
  if (auto* agreement = std::get_if<KeAgreement>(&decision); agreement && request->server) {
    agreement->server = find_server(policy, *request->server);
  }
  return decision;
}

std::vector<std::uint8_t> make_response(const KeDecision& decision, const KePolicy& policy,
                                        const AssociationKeys& keys, const KeyRing& ring,
                                        crypto::Engine& engine, crypto::RandomGenerator& random) {
  if (const auto* error = std::get_if<KeError>(&decision)) return make_error_response(*error);
  std::array<std::uint8_t, kMaxKeResponseLength> buffer;
  ByteWriter out(buffer);
  if (std::holds_alternative<KeNoCommonProtocol>(decision)) {
    write_record(out, true, RecordType::kNextProtocol, {});
    return finish(out);
  }
  write_record_u16(out, true, RecordType::kNextProtocol, kProtocolNtpv4);
  if (std::holds_alternative<KeNoCommonAead>(decision)) {
    write_record(out, true, RecordType::kAead, {});
    return finish(out);
  }
  const auto& agreement = std::get<KeAgreement>(decision);
  if (!write_agreement(out, agreement, policy, keys, ring, engine, random)) {
    return make_error_response(KeError::kInternalServerError);
  }
  return finish(out);
}

std::vector<std::uint8_t> make_error_response(KeError error) {
  std::array<std::uint8_t, 16> buffer;
  ByteWriter out(buffer);
  write_record_u16(out, true, RecordType::kError, static_cast<std::uint16_t>(error));
  return finish(out);
}

}  // namespace timeball::nts
