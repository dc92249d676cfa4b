#include "common/nts/ke_record.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cassert>
#include <string>

namespace timeball::nts {
namespace {

constexpr std::uint16_t kCriticalBit = 0x8000;

bool is_address(std::string_view text) {
  if (text.find('\0') != text.npos) return false;
  const std::string terminated(text);
  std::array<std::uint8_t, sizeof(in6_addr)> address;
  return ::inet_pton(AF_INET, terminated.c_str(), address.data()) == 1 ||
         ::inet_pton(AF_INET6, terminated.c_str(), address.data()) == 1;
}

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_label(std::string_view label) {
  return !label.empty() && label.size() <= 63 && label.front() != '-' && label.back() != '-' &&
         std::all_of(label.begin(), label.end(),
                     [](char c) { return is_letter(c) || is_digit(c) || c == '-'; });
}

bool is_domain_name(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  if (name.size() > 253) return false;
  for (;;) {
    const std::size_t dot = name.find('.');
    const std::string_view label = name.substr(0, dot);
    if (!is_label(label)) return false;
    // A last label of digits is a misspelt IPv4 address (RFC 1123, section 2.1).
    if (dot == name.npos) return !std::all_of(label.begin(), label.end(), is_digit);
    name.remove_prefix(dot + 1);
  }
}

}  // namespace

std::optional<Record> read_record(ByteReader& reader) {
  const std::uint16_t type = reader.u16();
  const std::uint16_t length = reader.u16();
  const Bytes body = reader.take(length);
  if (!reader.ok()) return std::nullopt;
  return Record{(type & kCriticalBit) != 0, static_cast<std::uint16_t>(type & ~kCriticalBit), body};
}

void write_record(ByteWriter& out, bool critical, RecordType type, Bytes body) {
  assert(body.size() <= 0xffff);
  out.u16(static_cast<std::uint16_t>(static_cast<unsigned>(type) | (critical ? kCriticalBit : 0U)));
  out.u16(static_cast<std::uint16_t>(body.size()));
  out.put(body);
}

void write_record_u16(ByteWriter& out, bool critical, RecordType type, std::uint16_t value) {
  std::array<std::uint8_t, 2> body;
  store_be16(body.data(), value);
  write_record(out, critical, type, body);
}

std::optional<std::size_t> message_length(Bytes received) {
  ByteReader reader(received);
  while (const auto record = read_record(reader)) {
    if (record->is(RecordType::kEndOfMessage)) return received.size() - reader.remaining();
  }
  return std::nullopt;
}

bool is_identifier_list(Bytes body) {
  return !body.empty() && body.size() % 2 == 0;
}

bool lists(Bytes identifiers, std::uint16_t id) {
  for (ByteReader in(identifiers); in.remaining() >= 2;) {
    if (in.u16() == id) return true;
  }
  return false;
}

bool is_server_name(std::string_view text) {
  return is_address(text) || is_domain_name(text);
}

std::array<std::uint8_t, 5> exporter_context(std::uint16_t context_aead, bool server_to_client) {
  std::array<std::uint8_t, 5> context{};
  store_be16(context.data(), kProtocolNtpv4);
  store_be16(context.data() + 2, context_aead);
  context[4] = server_to_client ? 1 : 0;
  return context;
}

}  // namespace timeball::nts
