#!/usr/bin/env python3
"""Puts one-line faults into the daemon and asks the conformance suite whether it sees them.

Usage: tests/mutants.py [--line N]... [--jobs N] [DIR]

DIR: scratch, kept for the next call (default: /tmp/timeball-mutants). HEAD is cloned there and built once; then,
fault by fault: apply, build the daemon, run the tests of the line, of which one must fail, revert. Ends with a table
and the tests that saw no fault; exit status 1 when a fault escaped, 2 when the table of faults is wrong (text not
found once, no compilation). A test that hangs has not failed: what came before it counts.
"""
import argparse
import collections
import contextlib
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTHON = "/usr/bin/python3"
EXEMPT = {33}  # of lines 1 to 63: pool records, later work
TIMEOUT_S = 60  # for the tests of one line

Fault = collections.namedtuple("Fault", "lines file old new breaks")


def of(file, *faults):
    """file: a pattern; exactly one file holds the old text, once. faults: (line or lines, old, new, what it breaks)."""
    return [Fault((lines,) if isinstance(lines, int) else lines, file, old, new, breaks)
            for lines, old, new, breaks in faults]


TLS = of(
    "server/tls_context.cc",
    (2, "SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION)",
     "SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION)", "TLS 1.2 is taken"),
    (2, '"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:', '"TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:',
     "another cipher suite is preferred"),
    (2, " ||\n      !offers_tls13(ssl)) {", ") {", "old TLS without ALPN: the wrong alert"),
    (3, "*alert = SSL_AD_NO_APPLICATION_PROTOCOL;", "*alert = SSL_AD_HANDSHAKE_FAILURE;",
     "no ALPN: another alert"),
    (3, "return SSL_CLIENT_HELLO_ERROR;", "return SSL_CLIENT_HELLO_SUCCESS;", "no ALPN is taken"),
    (3, "{kNtsKeName, SSL_TLSEXT_ERR_ALERT_FATAL}", "{kNtsKeName, SSL_TLSEXT_ERR_NOACK}",
     "wrong ALPN is taken"),
    (3, "static_cast<unsigned>(name.size()), in, in_size);",
     "static_cast<unsigned>(name.size()), in, std::min(in_size, 1U + in[0]));",
     "only the first name of the list counts"),
    (4, "SSL_CTX_set_num_tickets(context, 0)", "SSL_CTX_set_num_tickets(context, 2)", "session tickets are sent"),
    (4, "SSL_CTX_set_num_tickets(context, 0)",
     "SSL_CTX_clear_options(context, SSL_OP_NO_TICKET) != 0 && SSL_CTX_set_num_tickets(context, 2)",
     "sessions are resumed by tickets"),
    (4, "SSL_CTX_set_max_early_data(context, 0) == 1;",
     "SSL_CTX_set_recv_max_early_data(context, 0) == 1;", "a client that tries early data is thrown out"),
    (8, "if (session) SSL_set_accept_state(session.get());",
     "if (session) SSL_set_accept_state(session.get()), SSL_set_max_send_fragment(session.get(), 512);",
     "the response in several TLS records"),
    (10, "SSL_CTX_set_alpn_select_cb(context, select_alpn, const_cast<Protocol*>(&protocol));",
     "SSL_CTX_set_alpn_select_cb(context, select_alpn, const_cast<Protocol*>(&protocol));"
     "SSL_CTX_set_tlsext_servername_callback(context, +[](SSL* s, int*, void*) -> int { return "
     "SSL_get_servername(s, TLSEXT_NAMETYPE_host_name) ? SSL_TLSEXT_ERR_ALERT_FATAL : SSL_TLSEXT_ERR_OK; });",
     "a client that names the server is refused"),
)

KE_SERVICE = of(
    "server/ke_*.cc",
    (1, "impl_->workers) endpoint = worker->listen(endpoint);",
     "impl_->workers) if (endpoint.address.is_v4()) endpoint = worker->listen(endpoint);", "no IPv6 listener"),
    (5, "if (error == SSL_ERROR_ZERO_RETURN) co_return",
     "if (error == SSL_ERROR_ZERO_RETURN || !request_.empty()) co_return", "the request must come at once"),
    (5, "request_.insert(request_.end(), chunk.begin(), chunk.begin() + size);",
     "request_.assign(chunk.begin(), chunk.begin() + size);", "only the last TLS record is kept"),
    (5, "request_.insert(request_.end(), chunk.begin(), chunk.begin() + size);",
     "request_.insert(request_.end(), chunk.begin(), chunk.begin() + size); return SSL_ERROR_WANT_READ;",
     "a second TLS record in the same TCP segment waits for a third"),
    (6, "if (request_.size() >= nts::kMaxKeRequestLength) co_return",
     "if (request_.size() >= 1000) co_return", "1000 octets are too long where more must come"),
    (6, "co_return RequestEnd::kTooLong;", "co_return RequestEnd::kGone;", "too long: no Error"),
    (7, "  SSL_shutdown(ssl_.get());\n",
     "  SSL_write(ssl_.get(), response.data(), static_cast<int>(response.size())); SSL_shutdown(ssl_.get());\n",
     "two responses"),
    (8, "  SSL_shutdown(ssl_.get());\n", "", "no close_notify"),
    (8, "if (error || time_up_) co_return Arrival::kGone;",
     "if (error && !time_up_) std::terminate();\n  if (time_up_) co_return Arrival::kGone;",
     "a client's reset ends the daemon"),
    (9, "co_return time_up_ ? RequestEnd::kTimeUp : RequestEnd::kGone;", "co_return RequestEnd::kGone;",
     "deadline: no Error"),
    (9, "    acknowledge();\n    // OpenSSL may", "    arm(worker_.shared().config.deadline);\n    // OpenSSL may",
     "every octet puts the deadline off"),
    (9, "  arm(worker_.shared().config.deadline);\n"
     "  if (const auto failure = co_await handshake()) co_return *failure;",
     "  if (const auto failure = co_await handshake()) co_return *failure;\n"
     "  arm(worker_.shared().config.deadline);", "no deadline in the handshake"),
    (9, "    if (co_await fill() != Arrival::kOctets) co_return gone();",
     "    if (co_await fill() != Arrival::kOctets) {\n"
     "      co_await asio::async_write(socket_, asio::buffer(\"\\x15\\x03\\x03\\0\\2\\2\\x5a\", 7), kAwait);\n"
     "      co_return gone();\n    }", "deadline in the handshake: an alert"),
    (11, "if (error == SSL_ERROR_ZERO_RETURN) co_return RequestEnd::kCutShort;",
     "if (error == SSL_ERROR_ZERO_RETURN) co_return RequestEnd::kGone;", "close_notify too early: no Error"),
    (11, "if (arrival == Arrival::kEnd) co_return RequestEnd::kCutShort;",
     "if (arrival == Arrival::kEnd) co_return RequestEnd::kGone;", "TCP end too early: no Error"),
    (25, "return address && address->is_v4() != v4;", "return false;",
     "record 6 with an address of the other family"),
    (29, "!export_keys(*agreement, keys)) {\n    decision = nts::KeError::kInternalServerError;",
     "!export_keys(*agreement, keys)) {\n    decision = nts::KeError::kBadRequest;", "the exporter fails: Error 1"),
    (29, "!export_keys(*agreement, keys)) {", "!(export_keys(*agreement, keys), true)) {",
     "the exporter fails: cookies all the same"),
    (30, "nts::kExporterLabel.size(),", "nts::kExporterLabel.size() - 1,", "another exporter label"),
    (30, "context.data(), context.size(), 1) == 1;", "context.data(), context.size(), 0) == 1;",
     "exported without context"),
    (30, "export_one(true, keys.s2c.resize(length))", "export_one(false, keys.s2c.resize(length))",
     "one key for both directions"),
    (30, "= crypto::parameters(agreement.aead).key_length;", "= 32;", "every key 32 octets long"),
    (5, "if (error != SSL_ERROR_WANT_READ) co_return RequestEnd::kTlsFailure;",
     "if (error != SSL_ERROR_WANT_READ || SSL_has_pending(ssl_.get())) co_return RequestEnd::kTlsFailure;",
     "a TCP segment that ends inside a TLS record ends the session"),
    (7, "  SSL_shutdown(ssl_.get());\n",
     "  co_await flush(); request_.clear();\n"
     "  if (co_await read_request() == RequestEnd::kWhole)\n"
     "    SSL_write(ssl_.get(), response.data(), static_cast<int>(response.size()));\n"
     "  SSL_shutdown(ssl_.get());\n", "a second request is answered too"),
    (8, "  arm(kLinger);\n  ERR_clear_error();",
     "  char octet;\n"
     "  if (::recv(socket_.native_handle(), &octet, 1, MSG_PEEK | MSG_DONTWAIT) == 0) co_return gone();\n"
     "  arm(kLinger);\n  ERR_clear_error();", "a client that has closed its half gets no answer"),
    (9, "if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ) {",
     "if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ) {\n      std::terminate();",
     "what is not TLS ends the daemon"),
)

KE_NEGOTIATION = of(
    "common/nts/ke_negotiation.cc",
    (13, "if (record.critical) return KeError", "return KeError", "unknown record refused though not critical"),
    (13, "if (record.critical) return KeError", "if (record.critical || record.body.size() > 1000) return KeError",
     "long unknown record refused"),
    (13, "if (record.critical) return KeError::kUnrecognizedCriticalRecord;", "break;",
     "unknown critical record ignored"),
    (13, "return KeError::kUnrecognizedCriticalRecord;", "return KeError::kBadRequest;",
     "unknown critical record: Error 1"),
    (14, "if (!record->critical || !record->body.empty()) break;", "if (!record->body.empty()) break;",
     "End of Message may be not critical"),
    (14, "if (!record->critical || !record->body.empty()) break;", "if (!record->critical) break;",
     "End of Message may have a body"),
    (14, "write_record(out, true, RecordType::kEndOfMessage, {});",
     "write_record(out, false, RecordType::kEndOfMessage, {});", "our End of Message is not critical"),
    ((15, 19), "if (list || !is_identifier_list(body))", "if (!is_identifier_list(body))", "record 1 or 4 twice"),
    (15, "good = record.critical && take_list(request.protocols", "good = take_list(request.protocols",
     "record 1 may be not critical"),
    ((14, 15), "if (!request->protocols) return KeError::kBadRequest;",
     "if (!request->protocols) return KeNoCommonProtocol{};", "no record 1: no Error"),
    (15, "write_record_u16(out, true, RecordType::kNextProtocol",
     "write_record_u16(out, false, RecordType::kNextProtocol", "our record 1 is not critical"),
    (16, "good = record.critical && take_list(request.protocols, record.body);",
     "good = record.critical && record.body.size() == 2 && take_list(request.protocols, record.body);",
     "more than one protocol: Error 1"),
    (17, "return KeNoCommonProtocol{};", "return KeError::kBadRequest;", "no common protocol: Error 1"),
    (17, "    write_record(out, true, RecordType::kNextProtocol, {});\n",
     "    write_record(out, true, RecordType::kNextProtocol, {});\n"
     "    write_record(out, true, RecordType::kAead, {});\n", "no common protocol: record 4 all the same"),
    (17, "if (!request->protocols) return", "if (!request->protocols || !request->aeads) return",
     "no common protocol: record 4 asked for"),
    (18, "    case RecordType::kError:\n", "", "Error from a client passes"),
    (18, "    case RecordType::kWarning:\n", "", "Warning from a client passes"),
    (18, "    case RecordType::kNewCookie:\n      good = false;", "      good = false;", "cookie from a client passes"),
    ((14, 19), "if (!request->aeads) return KeError::kBadRequest;", "if (!request->aeads) return KeNoCommonAead{};",
     "no record 4: no Error"),
    (19, "good = take_list(request.aeads, record.body);",
     "good = record.critical && take_list(request.aeads, record.body);", "record 4 must be critical"),
    (20, "if (!lists(*request.aeads, id)) continue;", "if (id != 15 && !lists(*request.aeads, id)) continue;",
     "15 chosen though not offered"),
    (20, "if (!lists(*request.aeads, id)) continue;", "if (id == 15 || !lists(*request.aeads, id)) continue;",
     "15 never chosen"),
    (20, "  write_record_u16(out, true, RecordType::kAead, static_cast<std::uint16_t>(agreement.aead));\n",
     "  write_record_u16(out, true, RecordType::kAead, static_cast<std::uint16_t>(agreement.aead));\n"
     "  write_record_u16(out, true, RecordType::kAead, static_cast<std::uint16_t>(agreement.aead));\n",
     "record 4 twice in the response"),
    (21, "return KeNoCommonAead{};\n}\n\nvoid", "return KeError::kBadRequest;\n}\n\nvoid", "no common AEAD: Error 1"),
    (21, "    write_record(out, true, RecordType::kAead, {});\n", "", "no common AEAD: no record 4"),
    (22, "if (!lists(*request.aeads, id)) continue;", "if (load_be16(request.aeads->data()) != id) continue;",
     "the client's first choice alone"),
    (22, "good = take_list(request.aeads, record.body);",
     "good = take_list(request.aeads, record.body) &&\n"
     "             (record.body.size() < 4 || load_be16(record.body.data()) != load_be16(record.body.data() + 2));",
     "an algorithm twice: Error 1"),
    (23, "write_cookie_records(out, cookies, length);",
     "write_cookie_records(out, std::span(cookies).first(7), length);", "seven cookies"),
    (23, "write_record(out, false, RecordType::kNewCookie", "write_record(out, true, RecordType::kNewCookie",
     "cookies are critical"),
    (23, "Bytes(cookie).first(length)", "Bytes(cookies[0]).first(length)", "one cookie eight times"),
    (24, "good = !request.server && is_server_name(", "good = is_server_name(", "record 6 twice"),
    (24, "good = !request.server && is_server_name(", "good = !record.critical && !request.server && is_server_name(",
     "record 6 refused when critical"),
    (24, "good = !request.server && is_server_name(as_text(record.body));",
     "if (!is_server_name(as_text(record.body))) return KeError::kInternalServerError;\n"
     "      good = !request.server;", "malformed record 6: Error 2"),
    ((24, 25), "if (!policy.servers.empty()) {", "if (false) {", "record 6 never sent"),
    (25, "  if (policy.port != 0) write_record_u16", "  if (policy.servers.empty()) write_record(out, true, "
     "RecordType::kServer, {});\n  if (policy.port != 0) write_record_u16", "record 6 always sent"),
    (25, "    write_record(out, true, RecordType::kServer, {text, server.name.size()});\n",
     "    write_record(out, true, RecordType::kServer, {text, server.name.size()});\n"
     "    write_record(out, true, RecordType::kServer, {text, server.name.size()});\n", "record 6 sent twice"),
    ((24, 25), "agreement->server = find_server(policy, *request->server);", "", "the client's wish is ignored"),
    (26, "write_record_u16(out, true, RecordType::kPort, policy.port)",
     "write_record(out, true, RecordType::kPort, std::array<std::uint8_t, 4>{})", "record 7 of four octets"),
    (27, "good = take_list(request.aeads, record.body);",
     "good = request.protocols && take_list(request.aeads, record.body);", "record 4 must follow record 1"),
    (27, "good = record.body.empty();", "good = record.body.empty() && request.aeads;",
     "record 1024 must follow record 4"),
    (28, "write_record_u16(out, true, RecordType::kError", "write_record_u16(out, false, RecordType::kError",
     "Error is not critical"),
    (28, "  write_record_u16(out, true, RecordType::kError",
     "  write_record_u16(out, true, RecordType::kNextProtocol, kProtocolNtpv4);\n"
     "  write_record_u16(out, true, RecordType::kError", "record 1 with the Error"),
    (29, "return make_error_response(KeError::kInternalServerError);",
     "return make_error_response(KeError::kBadRequest);", "cookies cannot be made: Error 1"),
    (31, "good = record.body.empty();", "good = true;", "record 1024 may have a body"),
    (31, "good = record.body.empty();", "good = record.body.empty() && !record.critical;",
     "record 1024 refused when critical"),
    (31, "if (policy.gcm_siv_without_record_1024) {", "if (true) {", "30 chosen without record 1024"),
    (31, "if (policy.gcm_siv_without_record_1024) {", "if (false) {", "30 never chosen without record 1024"),
    (31, "if (agreement.confirm_record_1024) {", "if (false) {", "record 1024 not confirmed"),
    (31, "return KeAgreement{aead, id, false};", "return KeAgreement{aead, id, request.record_1024};",
     "record 1024 confirmed for other algorithms"),
    (31, "return KeAgreement{aead, id, true};", "return KeAgreement{aead, 15, true};",
     "record 1024, but exporter context 15"),
    (31, "return KeAgreement{aead, static_cast<std::uint16_t>(crypto::AeadId::kAesSivCmac256), false};",
     "return KeAgreement{aead, id, false};", "old chrony: exporter context 30"),
    (31, "write_record(out, false, RecordType::kCompliant128GcmSivExporterContext",
     "write_record(out, true, RecordType::kCompliant128GcmSivExporterContext", "record 1024 confirmed critically"),
    (32, "if (record.critical) return KeError", "if (record.critical || record.type >= 0x4000) return KeError",
     "private record refused"),
    (32, "if (record.critical) return KeError", "if (record.critical && record.type < 0x4000) return KeError",
     "critical private record ignored"),
)

LIMIT = of(
    "common/nts/ke_negotiation.h",
    (6, "kMaxKeRequestLength = 16384;", "kMaxKeRequestLength = 1024;", "1025 octets are too long"),
)

KE_RECORD = of(
    "common/nts/ke_record.cc",
    (7, "if (record->is(RecordType::kEndOfMessage)) return",
     "if (record->is(RecordType::kEndOfMessage) && reader.remaining() == 0) return",
     "octets after End of Message keep the request open"),
    (12, "reader.take(length);", "reader.take((length + 1U) & ~1U);", "odd bodies are taken for padded ones"),
    (12, "reader.take(length);", "reader.take(length & 0xffU);", "body length of 8 bits"),
    (12, "out.u16(static_cast<std::uint16_t>(body.size()));", "out.u16(static_cast<std::uint16_t>(body.size() + 1));",
     "our records say an octet too many"),
    ((15, 19), "return !body.empty() && body.size() % 2 == 0;", "return !body.empty();", "odd list"),
    ((15, 19), "return !body.empty() && body.size() % 2 == 0;", "return body.size() % 2 == 0;", "empty list"),
    ((16, 20), "if (in.u16() == id) return true;", "return in.u16() == id;", "only the first of a list counts"),
    (24, "::inet_pton(AF_INET6, terminated", "::inet_pton(AF_INET, terminated", "IPv6 address in record 6 refused"),
    (30, "context[4] = server_to_client ? 1 : 0;", "context[4] = server_to_client ? 0 : 1;", "keys swapped"),
    (30, "store_be16(context.data() + 2, context_aead);", "store_be16(context.data() + 2, 15);",
     "exporter context always 15"),
    (30, "store_be16(context.data(), kProtocolNtpv4);", "store_be16(context.data(), 1);",
     "another protocol in the exporter context"),
)

SETTINGS = of(
    "server/settings_table.cc",
    (1, '"[::]:4460"])"', '"[::]:4461"])"', "another default port"),
    (22, '"[30, 15, 17, 16]"', '"[15, 30, 17, 16]"', "another default order of algorithms"),
    (35, '"ntp.symmetric_active", "false"', '"ntp.symmetric_active", "true"', "mode 1 answered by default"),
    (57, '"ntp.require_nts", "false"', '"ntp.require_nts", "true"', "NTS required by default"),
    (61, '"keys.rotation", R"("24h")"', '"keys.rotation", R"("7d")"', "weekly rotation by default"),
    (61, '"keys.keep", "7"', '"keys.keep", "6"', "six generations kept by default"),
) + of(
    "server/settings_check.cc",
    (20, "if (!has_mandatory) {", "if (false) {", "a configuration without 15 passes"),
) + of(
    "server/daemon.cc",
    (22, "  policy.aeads = config.nts_ke.aeads;\n", "", "configured order of algorithms ignored"),
    (26, "  policy.port = config.nts_ke.port;\n", "", "configured port ignored"),
    (26, "if (port != ntp::kPort) policy.port = port;", "policy.port = port;", "record 7 though NTP is on 123"),
    (26, "if (port != ntp::kPort) policy.port = port;", "if (port == ntp::kPort) policy.port = port;",
     "no record 7 though NTP is not on 123"),
    (61, "key_provider->tick(read_monotonic_time(), read_kernel_time());",
     "key_provider->tick(MonotonicTime{read_kernel_time().ns}, read_kernel_time());", "rotation by the wall clock"),
)

FIELDS = of(
    "common/ntp/extension_field.cc",
    (34, "length < min_length_ ||", "length < kFieldHeaderLength ||", "fields shorter than 16 octets"),
    (34, "length % 4 != 0", "length % 2 != 0", "fields of 18 octets"),
    (34, "if (length < min_length_ || length % 4 != 0 || length > rest_.size()) {",
     "if (length < min_length_ || length % 4 != 0) std::terminate();\n  if (length > rest_.size()) {",
     "a field of a wrong length ends the daemon"),
)

REQUEST = of(
    "common/nts/request.cc",
    (34, "FieldReader fields(plaintext, 0, ntp::kFieldHeaderLength);",
     "FieldReader fields(plaintext, 0, ntp::kMinFieldLength);", "short inner fields refused"),
    (34, "  if (fields.malformed()) return std::nullopt;\n", "", "faulty inner fields served"),
    (36, "seen.unique_identifiers == 1 &&", "seen.unique_identifiers >= 1 &&", "two identifiers"),
    (36, "seen.unique_identifier.size() >= kMinUniqueIdentifierLength;", "seen.unique_identifier.size() >= 28;",
     "identifiers of 28 octets"),
    ((36, 53), "seen.cookies != 1 || !identified) return", "seen.cookies != 1) return", "no identifier needed"),
    (37, "    if (identified) parsed.unique_identifier = seen.unique_identifier;\n", "",
     "identifier of a plain request not echoed"),
    (37, "  }\n  return seen;\n}", "  }\n  return fields.legacy_mac() ? Survey{} : seen;\n}",
     "no identifier echoed before a legacy MAC"),
    (38, "seen.cookies != 1 ||", "seen.cookies == 0 ||", "two cookies"),
    (38, "    if (field->is(FieldType::kNtsCookie)) return std::nullopt;\n", "", "encrypted cookie tolerated"),
    ((34, 38), "if (!seen.authenticator && seen.cookies == 0) {", "if (!seen.authenticator) {",
     "cookie without authenticator: plain NTP"),
    ((38, 39), "seen.cookies != 1 ||", "seen.cookies > 1 ||", "no cookie: NAK"),
    (39, "break;\n    if (field->is(FieldType::kNtsCookiePlaceholder) && field->body.size() == cookie_length) ++count;",
     "break;\n    if (field->is(FieldType::kNtsCookiePlaceholder)) ++count;", "placeholders of any length"),
    (39, "std::nullopt;\n    if (field->is(FieldType::kNtsCookiePlaceholder) && field->body.size() == cookie_length)",
     "std::nullopt;\n    if (field->is(FieldType::kNtsCookiePlaceholder))",
     "encrypted placeholders of any length"),
    (39, "break;\n    if (field->is(FieldType::kNtsCookiePlaceholder) && field->body.size() == cookie_length) ++count;",
     "break;\n    if (field->is(FieldType::kNtsCookiePlaceholder) && field->body.size() == cookie_length && "
     "field->body[0] == 0) ++count;", "placeholders must hold zeros"),
    (39, "seen.placeholders = true;", "seen.placeholders = seen.cookies > 0;",
     "placeholders before the cookie do not count"),
    (40, "if (!in.ok() || ciphertext_length", "if (ciphertext_length", "lengths beyond the field believed"),
    (40, " || ciphertext_length < crypto::kTagLength) return", ") return", "ciphertext shorter than a tag"),
    (40, "if (!authenticator) return parsed;", "if (!authenticator) return {};", "faulty authenticator: plain NTP"),
    ((40, 43), "nonce.first(nonce_length)", "nonce", "the nonce's padding is taken for nonce"),
    (42, "return field.nonce_room >= padded4(needed.nonce_length);", "return true;", "any nonce and padding"),
    (42, "return field.nonce_room >= padded4(needed.nonce_length);", "return field.nonce_room >= 12;",
     "12 octets are enough"),
    (43, "nonce.size() + in.remaining()}", "nonce.size()}", "additional padding does not count"),
    (43, "in.take(padded4(nonce_length));", "in.take(nonce_length);", "nonces are not padded"),
    (43, "return field.nonce_room >= padded4(needed.nonce_length);",
     "return field.nonce_room == padded4(needed.nonce_length);", "more padding refused"),
    (43, "if (needed.nonce_length_fixed && field.nonce.size()", "if (needed.nonce_length_fixed && field.nonce_room",
     "more padding refused with GCM-SIV"),
    (43, "if (needed.nonce_length_fixed &&",
     "if (field.nonce.empty()) return false;\n  if (needed.nonce_length_fixed &&", "SIV without a nonce refused"),
    (44, "field.nonce.size() != needed.nonce_length) return", "field.nonce.size() < needed.nonce_length) return",
     "GCM-SIV: longer nonces pass"),
    (44, "field.nonce.size() != needed.nonce_length) return", "field.nonce.size() > needed.nonce_length) return",
     "GCM-SIV: shorter nonces pass"),
    (45, "        seen.placeholders = true;\n        break;\n",
     "        seen.placeholders = true;\n        break;\n      default:\n        return seen;\n",
     "an unknown field ends the reading"),
    (46, "        seen.authenticator = field;\n        return seen;\n",
     "        seen.authenticator = field;\n        break;\n", "fields behind the authenticator are read"),
    (46, "if (!authenticator) return parsed;",
     "if (!authenticator || seen.authenticator->offset + 4 + seen.authenticator->body.size() != packet.size()) "
     "return parsed;", "what follows the authenticator: dropped"),
    (46, "    if (field->is(FieldType::kNtsAuthenticator)) break;\n", "",
     "placeholders behind the authenticator count"),
    (58, "padded4(plaintext_length + crypto::kTagLength);", "padded4(plaintext_length + crypto::kTagLength) + 4;",
     "reply four octets longer"),
)

AUTHENTICATOR = of(
    "common/nts/authenticator.cc",
    (49, "const Bytes associated_data = out.written();", "const Bytes associated_data = out.written().subspan(4);",
     "the reply's first octets are not authenticated"),
    (50, "random.fill(nonce);", "std::fill(nonce.begin(), nonce.end(), std::uint8_t{7});", "one nonce for every reply"),
)

COOKIE = of(
    "common/nts/cookie.cc",
    (50, "random.fill(cookie.subspan(kCookieKeyIdLength, kCookieNonceLength));",
     "std::fill_n(cookie.begin() + kCookieKeyIdLength, kCookieNonceLength, std::uint8_t{7});",
     "one nonce for every cookie"),
    (51, "if (!open.authentic) {", "if (false) {", "cookies are not authenticated"),
    (54, "if (cookie_length(aead.key_length) == length) return",
     "if (aead.id == crypto::AeadId::kAesSivCmac256 && cookie_length(aead.key_length) == length) return",
     "cookies for other algorithms than 15 do not open"),
    (55, "seal_chunk(ring.current(),", "seal_chunk(ring.generations().back(),", "cookies under the oldest key"),
    (55, "seal_chunk(ring.current(),", "seal_chunk(ring.next(),", "cookies under the next key"),
) + of(
    "common/nts/key_ring.cc",
    (55, "std::find_if(generations_.begin(), generations_.end(),",
     "std::find_if(generations_.begin(), generations_.begin() + 2,", "older keys are not found"),
    (55, "std::min(generations_.size(), 1 + keep);", "std::min(generations_.size(), keep);",
     "one generation less kept"),
    (55, "std::min(generations_.size(), 1 + keep);", "std::min(generations_.size(), 2 + keep);",
     "one generation more kept"),
    (56, "std::find_if(generations_.begin(), generations_.end(),",
     "std::find_if(generations_.begin() + 1, generations_.end(),", "the next key is not found"),
    (62, "std::min(generations_.size(), 1 + keep);", "generations_.size();", "retired keys stay"),
) + of(
    "common/crypto/entropy.cc",
    (50, "return RandomGenerator(seed.bytes());", "return RandomGenerator(std::array<std::uint8_t, kSeedLength>{});",
     "every thread draws the same octets"),
) + of(
    "common/crypto/aead.cc",
    (43, '"AEAD_AES_SIV_CMAC_256", 32, 16, false', '"AEAD_AES_SIV_CMAC_256", 32, 16, true',
     "SIV nonces of 16 octets only"),
)

RESPONDER = of(
    "server/responder.cc",
    (34, "fields.u16(static_cast<std::uint16_t>(ntp::FieldType::kNtsCookie));",
     "fields.u16(static_cast<std::uint16_t>(ntp::FieldType::kNtsCookiePlaceholder));",
     "cookies under another field type"),
    (35, "    case ntp::Mode::kClient:\n", "    case ntp::Mode::kClient:\n    case ntp::Mode::kServer:\n",
     "mode 4 answered"),
    (35, "    case ntp::Mode::kClient:\n", "    case ntp::Mode::kClient:\n    case ntp::Mode::kPrivate:\n",
     "mode 7 answered"),
    (35, "if (symmetric_active) return", "return", "mode 1 always answered"),
    (35, "return ntp::Mode::kSymmetricPassive;", "return ntp::Mode::kServer;", "mode 1 answered with mode 4"),
    (35, "header->version > 4)", "header->version > 5)", "version 5 answered"),
    (35, "header->version < 1 || ", "", "version 0 answered"),
    (35, "if (request.version == 1 && source_port != ntp::kPort) return", "if (request.version == 1) return",
     "version 1, mode 0 from port 123 answered"),
    (35, "if (request.version == 1 && source_port != ntp::kPort) return", "if (false) return",
     "version 1, mode 0 not answered"),
    (35, "if (request.version == 1 && source_port != ntp::kPort) return", "if (source_port != ntp::kPort) return",
     "mode 0 of later versions answered"),
    (35, "header->version == 4 && header->mode", "header->version >= 3 && header->mode", "NTS in version 3"),
    (35, "reply.version = request.version;", "reply.version = 4;", "replies always of version 4"),
    (36, "nts ? slot.parsed.nts.unique_identifier :", "nts ? slot.parsed.nts.unique_identifier.first(32) :",
     "identifiers are cut to 32 octets"),
    ((34, 36), "    case nts::RequestKind::kPlain:\n",
     "    case nts::RequestKind::kPlain:\n"
     "      if (datagram.request.size() > ntp::kHeaderLength && slot.parsed.unique_identifier.empty()) "
     "return Verdict::kNak;\n", "fields that cannot be read: NAK"),
    (39, "1 + slot.parsed.nts.placeholders + *inner;", "1 + slot.parsed.nts.placeholders;",
     "encrypted placeholders do not count"),
    (41, "batch[i].request.first(field.offset),", "batch[i].request.first(ntp::kHeaderLength),",
     "associated data: the header alone"),
    ((41, 45, 52), "if (open_jobs[j].authentic) {", "if (true) {", "requests are not authenticated"),
    (42, "slot.keys().aead)) {\n      slot.verdict = Verdict::kDroppedMalformed;",
     "slot.keys().aead)) {\n      slot.verdict = Verdict::kNak;", "too little room: NAK"),
    ((47, 58), "std::min(wanted, nts::kMaxCookiesInReply);", "std::min(wanted, std::size_t{7});",
     "seven cookies at most"),
    (47, "if (!identifier.empty()) ntp::write_field", "if (!nts && !identifier.empty()) ntp::write_field",
     "no identifier in NTS replies"),
    (47, "w.seal_jobs[jobs] = {slot.keys().s2c.bytes()", "w.seal_jobs[jobs] = {slot.keys().c2s.bytes()",
     "replies under the C2S key"),
    (47, "random, std::span(cookie_jobs).first(jobs))) return;",
     "random, std::span(cookie_jobs).first(jobs - 1))) return;", "the last cookie is garbage"),
    (48, "ntp::kHeaderLength + ntp::kFieldHeaderLength + slot",
     "4 + ntp::kHeaderLength + ntp::kFieldHeaderLength + slot", "replies reckoned four octets too long"),
    (49, "    store_be64(reply + ntp::kTransmitOffset, t3.bits);\n", "", "no transmit timestamp"),
    (51, "newer ? Verdict::kDroppedNewerKey : Verdict::kNak;",
     "newer ? Verdict::kDroppedNewerKey : Verdict::kDroppedMalformed;", "cookie does not open: silence"),
    (51, "  reply.leap = LeapIndicator::kUnknown;\n  reply.stratum = 0;\n  reply.reference_id = code;",
     "  reply.stratum = 0;\n  reply.reference_id = code;", "NAK without leap indicator 3"),
    (51, "  reply.stratum = 0;\n  reply.reference_id = code;", "  reply.reference_id = code;", "NAK without stratum 0"),
    (51, "kiss_header(header, ntp::kKissNtsNak)", "kiss_header(header, ntp::kKissDeny)", "another kiss code"),
    ((51, 57), "reply.origin = request.transmit;", "reply.origin = request.receive;", "another origin timestamp"),
    (51, "  if (slot.verdict == Verdict::kAnsweredNts) {\n    slot.layout",
     "  if (nts && slot.verdict != Verdict::kKissRate) {\n    slot.layout", "NAK with an authenticator"),
    (51, "if (!identifier.empty()) ntp::write_field",
     "if (slot.verdict != Verdict::kNak && !identifier.empty()) ntp::write_field", "NAK without identifier"),
    (52, "} else {\n        slot.verdict = Verdict::kNak;",
     "} else {\n        slot.verdict = Verdict::kDroppedMalformed;", "authenticator does not verify: silence"),
    (52, "case nts::RequestKind::kMalformed:\n      return Verdict::kDroppedMalformed;",
     "case nts::RequestKind::kMalformed:\n      return Verdict::kNak;", "structural fault: NAK"),
    (53, "if (slot.verdict == Verdict::kNak && !limiter.admit_refusal(now)) {", "if (false) {", "NAKs are not limited"),
    (53, "return limiter.admit_refusal(now) ? Verdict::kKissRate : Verdict::kDroppedRefusalRate;",
     "return Verdict::kKissRate;", "kisses are not limited"),
    ((53, 60), "slot.parsed.kind != nts::RequestKind::kPlain ||", "false ||", "RATE to NTS requests"),
    ((53, 60), "if (limiter.admit(", "if (slot.parsed.kind != nts::RequestKind::kNts && limiter.admit(",
     "no rate limit for NTS"),
    (57, "options.require_nts ? Verdict::kDroppedNtsRequired : Verdict::kAnsweredPlain", "Verdict::kAnsweredPlain",
     "require_nts has no effect"),
    (57, "NtpTimestamp::from_utc(clock.utc(received));", "NtpTimestamp::from_utc(clock.utc(clock.reference_time));",
     "another receive timestamp"),
    (57, "  reply.poll = request.poll;\n", "", "poll not echoed"),
    (57, "    store_be32(reply + ntp::kRootDispersionOffset, dispersion.bits);\n", "", "no root dispersion"),
    (57, "    reply.leap = LeapIndicator::kUnknown;\n    reply.stratum = 0;\n    reply.reference_id = 0;",
     "    reply.stratum = 0;\n    reply.reference_id = 0;", "unsynchronised, but leap indicator 0"),
    (59, "    slot.opened = &open_cookies[j];\n",
     "    static thread_local std::uint64_t last = 0;\n"
     "    const std::uint64_t id = load_be64(open_cookies[j].cookie.data() + 4);\n"
     "    if (std::exchange(last, id) == id) {\n      slot.verdict = Verdict::kNak;\n      continue;\n    }\n"
     "    slot.opened = &open_cookies[j];\n", "a cookie used twice: NAK"),
    (59, "if (open_jobs[j].authentic) {",
     "if (static const net::IpAddress first = batch[job_slots[j]].source.address; open_jobs[j].authentic && "
     "batch[job_slots[j]].source.address == first) {", "the first client alone is served"),
    (60, "kiss_header(header, ntp::kKissRate)", "kiss_header(header, ntp::kKissDeny)", "another kiss code than RATE"),
) + of(
    "server/rate_limiter.cc",
    (60, "random.u32() % limits_.let_through == 0;", "random.u32() % limits_.let_through != 0;",
     "three in four are let through"),
    (60, "random.u32() % limits_.let_through == 0;", "false;", "nobody is let through"),
    (60, "> interval * burst) return false;", "> interval) return false;", "a burst of one"),
) + of(
    "server/shard.cc",
    (49, "      stamp(listener, part);\n      responder.seal(part, first);\n",
     "      responder.seal(part, first);\n      stamp(listener, part);\n", "sealed, then stamped"),
    (51, "counters.verdicts[static_cast<std::size_t>(verdicts[i])]",
     "if (verdicts[i] != Verdict::kNak) counters.verdicts[static_cast<std::size_t>(verdicts[i])]",
     "NAKs are not counted"),
    (57, "responder.stamp({&d, 1}, leaves);", "responder.stamp({&d, 1}, d.receive_time);",
     "the receive timestamp is sent as transmit timestamp"),
) + of(
    "common/net/udp_message.cc",
    (48, "vector_ = {octets_.data(), datagram.reply_length};", "vector_ = {octets_.data(), datagram.reply_length + 4};",
     "replies sent four octets longer than made"),
    (57, "      info.ipi_ifindex = 0;\n      set_packet_info(IPPROTO_IP, IP_PKTINFO, info);\n", "",
     "replies from any IPv4 address"),
)

PACKET = of(
    "common/ntp/packet.cc",
    (35, "if (packet.size() < kHeaderLength) return", "if (packet.empty()) return", "short packets are read"),
)

KEY_STORE = of(
    "server/master_key_store.cc",
    (55, "    file = *std::move(loaded);\n", "", "new keys at each start"),
    (61, "age(rotation_second(wall) - rotated_s_);", "age(std::abs(rotation_second(wall) - rotated_s_));",
     "a clock in 1970 makes keys old"),
    (63, "replace_file(config_.file, content, 0600);", "replace_file(config_.file, content, 0644);",
     "file for all to read"),
    (63, "  settle_age(now, wall);\n  if (now <",
     "  if (!load(config_.file)) std::terminate();\n  settle_age(now, wall);\n  if (now <",
     "a damaged file ends a running daemon"),
    (63, "file = KeyFile{rotation_second(wall), ", "file = KeyFile{0, ", "a new file has no time of rotation"),
    (63, "if (text.substr(body.size()) != digest_line(body)) {", "if (false) {", "no checksum"),
    (63, "if (!loaded) return fail(loaded.error().message);\n    file =",
     "if (!loaded) loaded = std::optional<KeyFile>{};\n    file =", "damaged file: new keys in its place"),
    (63, "  if (auto written = write(file); !written) return written;\n", "  (void)write(file);\n",
     "rotation though the file cannot be written"),
    (63, '    spdlog::error("master keys were not rotated', '    spdlog::debug("master keys were not rotated',
     "no alarm when the file cannot be written"),
) + of(
    "server/file.cc",
    (63, "  if (::fsync(file.get()) != 0) return fail_errno();\n", "", "no fsync of the file"),
    (63, " || ::fsync(directory.get()) != 0) return", ") return", "no fsync of the directory"),
    (63, "const fs::path temporary = temporary_name(path);", "const fs::path temporary = path;", "no temporary file"),
    (63, "  ::unlink(path.c_str());\n  const Descriptor file(", "  const Descriptor file(",
     "a link in the temporary file's place ends rotation"),
) + of(
    "common/base/secret_memory.h",
    (62, "std::basic_string<char, std::char_traits<char>, SecretAllocator<char>>;", "std::string;",
     "the file's text stays in memory"),
) + of(
    "server/shard.cc",
    (62, "kIdle_ms = 1000;", "kIdle_ms = -1;", "a shard that nobody asks keeps retired keys"),
) + of(
    "common/base/secret.h",
    (62, "~Secret() { wipe(bytes_); }", "~Secret() {}", "retired keys stay in memory"),
) + of(
    "server/file.cc",
    (63, "if (status.st_uid != ::geteuid()) {", "if (false) {", "somebody else's file"),
    (63, "if ((status.st_mode & 077) == 0) return", "if ((status.st_mode & 007) == 0) return", "file open to the group"),
    (63, "if ((status.st_mode & 077) == 0) return", "if ((status.st_mode & 044) == 0) return",
     "file that others may write"),
    (63, "O_RDONLY | O_NOFOLLOW |", "O_RDONLY |", "a link is followed"),
)

CERTIFICATE = of(
    "server/tls_certificate.cc",
    (10, "for (std::size_t i = 1; i < chain_.size(); ++i) {", "for (std::size_t i = 1; i < 1; ++i) {",
     "intermediate not sent"),
)

FAULTS = (TLS + CERTIFICATE + KE_SERVICE + KE_NEGOTIATION + LIMIT + KE_RECORD + SETTINGS + FIELDS + REQUEST + AUTHENTICATOR + COOKIE +
          RESPONDER + PACKET + KEY_STORE)


class TableError(Exception):
    """A fault that cannot be put in, or does not compile."""


class Scratch:
    """A clone of HEAD and its build, into which faults are put one at a time."""

    def __init__(self, directory, jobs):
        self.source, self.build = os.path.join(directory, "source"), os.path.join(directory, "build")
        self.jobs = jobs
        os.makedirs(directory, exist_ok=True)
        if os.path.exists(self.source):
            run("git", "-C", self.source, "fetch", "-q", ROOT, "HEAD")
            run("git", "-C", self.source, "reset", "-q", "--hard", "FETCH_HEAD")
        else:
            run("git", "clone", "-q", "--local", ROOT, self.source)
        if not os.path.exists(os.path.join(self.build, "build.ninja")):
            shutil.rmtree(self.build, ignore_errors=True)
            run("meson", "setup", self.build, self.source, "-Dbuildtype=plain", "-Doptimization=0", "-Dwerror=false",
                "-Dtests=disabled", "-Dbench=disabled", env={**os.environ, "CXX": compiler()})

    def make(self):
        run("ninja", "-C", self.build, f"-j{self.jobs}", "server/timeballd")

    def with_fault(self, fault, action):
        """Puts the fault in, builds, acts, takes it out."""
        texts = {path: read(path) for path in glob.glob(os.path.join(self.source, fault.file))}
        if (count := sum(text.count(fault.old) for text in texts.values())) != 1:
            raise TableError(f"{fault.file}: {count} places have the old text {fault.old!r}")
        path, original = next(item for item in texts.items() if fault.old in item[1])
        try:
            write(path, original.replace(fault.old, fault.new))
            self.make()
            return action()
        except subprocess.CalledProcessError as error:
            raise TableError(f"{fault.file}: does not compile: {fault.new!r}\n{error.output}") from None
        finally:
            write(path, original)

    def outcomes(self, expression, timeout):
        """{"PASSED", "FAILED" or "ERROR": names of tests, without parameters} of the tests chosen."""
        log = os.path.join(self.build, "mutants.log")
        command = [PYTHON, "-m", "pytest", "-v", "--tb=no", "-p", "no:cacheprovider", "-k", expression, "tests/e2e"]
        environment = {**os.environ, "TIMEBALL_BUILD": self.build, "PYTHONUNBUFFERED": "1"}
        with open(log, "w", encoding="utf-8") as out, subprocess.Popen(
                command, cwd=self.source, env=environment, stdout=out, stderr=out, start_new_session=True) as process:
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # its daemons too
        found = collections.defaultdict(set)
        for name, result in re.findall(r"::(test_line_\w+)\S* (PASSED|FAILED|ERROR)", read(log)):
            found[result].add(name)
        if not found:
            raise TableError(f"no test of {expression!r} ended")
        return found


def run(*command, **options):
    subprocess.run(["nice", "-n", "5", *command], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                   text=True, **options)


def compiler():
    return "ccache g++" if shutil.which("ccache") else "g++"


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def seen_by(scratch, fault, line):
    """The tests of this line that saw the fault, and in words what became of it."""
    found = scratch.outcomes(f"line_{line:02}_", TIMEOUT_S)
    names = sorted(name for name in found["FAILED"] if name.startswith(f"test_line_{line:02}_"))
    if names:
        return names, "seen"
    return names, "ESCAPED (its setup failed)" if found["ERROR"] else "ESCAPED"


def conformance_tests(scratch, lines):
    """The names of the tests of these lines, or of all."""
    texts = [read(path) for path in glob.glob(os.path.join(scratch.source, "tests/e2e/test_conformance_*.py"))]
    tests = re.findall(r"^def (test_line_(\d+)_\w+)", "\n".join(texts), re.M)
    return {name for name, line in tests if not lines or int(line) in lines}


def check_table():
    lines = {line for fault in FAULTS for line in fault.lines}
    if missing := set(range(1, 64)) - EXEMPT - lines:
        sys.exit(f"no fault for lines {sorted(missing)}")


def campaign(scratch, faults, wanted):
    """Rows: line, fault, tests that saw it, result. And what is wrong with the table."""
    rows, wrong = [], []
    for number, fault in enumerate(faults, 1):
        lines = [line for line in fault.lines if not wanted or line in wanted]
        try:
            results = scratch.with_fault(fault, lambda: [seen_by(scratch, fault, line) for line in lines])  # noqa: B023
        except TableError as error:
            wrong.append(str(error))
            print(f"{number}/{len(faults)} WRONG {error}", flush=True)
            continue
        for line, (tests, result) in zip(lines, results):
            rows.append((line, fault.breaks, tests, result))
            print(f"{number}/{len(faults)} line {line}: {fault.breaks}: {result} {', '.join(tests)}", flush=True)
    return sorted(rows, key=lambda row: row[0]), wrong


def report(rows, tests):
    """Prints the table, and the tests that saw nothing. Returns how many faults escaped."""
    print(f"\n{'line':>4} | {'fault':<60} | tests that saw it | result")
    for line, breaks, names, result in rows:
        print(f"{line:>4} | {breaks:<60} | {', '.join(n[len('test_line_00_'):] for n in names)} | {result}")
    blind = tests - {name for row in rows for name in row[2]}
    summary = f"{len(tests) - len(blind)} of {len(tests)} tests saw a fault" + (", but not" if blind else "")
    print(summary, *sorted(blind), sep="\n  ")
    return sum(1 for row in rows if row[3] != "seen")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--line", type=int, action="append", default=[], help="faults for this line only")
    parser.add_argument("--jobs", type=int, default=2, help="compilers at once")
    parser.add_argument("directory", nargs="?", default="/tmp/timeball-mutants", metavar="DIR")
    options = parser.parse_args()
    check_table()
    began = time.monotonic()
    scratch = Scratch(os.path.abspath(options.directory), options.jobs)
    scratch.make()
    chosen = " or ".join(f"line_{n:02}_" for n in options.line) or "line_"
    without = scratch.outcomes(chosen, 900)
    if bad := without["FAILED"] | without["ERROR"]:
        sys.exit(f"fail without a fault: {', '.join(sorted(bad))}")
    faults = [f for f in FAULTS if not options.line or set(f.lines) & set(options.line)]
    rows, wrong = campaign(scratch, faults, options.line)
    escaped = report(rows, conformance_tests(scratch, options.line))
    print(f"{len(faults)} faults, {len(rows)} trials, {len(rows) - escaped} seen, {escaped} escaped, "
          f"{len(wrong)} wrong, {time.monotonic() - began:.0f} s")
    for error in wrong:
        print(error)
    sys.exit(2 if wrong else 1 if escaped else 0)


if __name__ == "__main__":
    main()
