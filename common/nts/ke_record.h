// NTS-KE records (RFC 8915, section 4): critical bit, 15-bit type, 16-bit body length, body.
// Pure; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "common/base/bytes.h"

namespace timeball::nts {

inline constexpr std::string_view kAlpn = "ntske/1";
inline constexpr std::uint16_t kKePort = 4460;
inline constexpr std::uint16_t kProtocolNtpv4 = 0;  // section 7.7
inline constexpr std::string_view kExporterLabel = "EXPORTER-network-time-security";

// Section 7.6, and the compliant-export record that chrony introduced for AEAD 30.
enum class RecordType : std::uint16_t {
  kEndOfMessage = 0,
  kNextProtocol = 1,
  kError = 2,
  kWarning = 3,
  kAead = 4,
  kNewCookie = 5,
  kServer = 6,
  kPort = 7,
  kCompliant128GcmSivExporterContext = 1024,
};

// Section 7.8.
enum class KeError : std::uint16_t {
  kUnrecognizedCriticalRecord = 0,
  kBadRequest = 1,
  kInternalServerError = 2,
};

inline constexpr std::size_t kRecordHeaderLength = 4;

struct Record {
  bool critical = false;
  std::uint16_t type = 0;  // 15 bits
  Bytes body;

  bool is(RecordType t) const { return type == static_cast<std::uint16_t>(t); }
};

// Reads one record off the front; nothing when the octets end before it does (reader.ok() turns
// false).
std::optional<Record> read_record(ByteReader& reader);
// Requires body.size() <= 65535. Without room, out.ok() turns false.
void write_record(ByteWriter& out, bool critical, RecordType type, Bytes body);
void write_record_u16(ByteWriter& out, bool critical, RecordType type, std::uint16_t value);

// How much of `received` is one whole message, up to and with its first End of Message record (well
// formed or not). Reads from the front each time: `received` is bounded by the caller.
// Nothing: more octets are needed.
std::optional<std::size_t> message_length(Bytes received);

// Bodies of records 1 and 4: 16-bit identifiers. A list of them is neither empty nor of odd length.
bool is_identifier_list(Bytes body);
bool lists(Bytes identifiers, std::uint16_t id);

// Record 6 (section 4.1.7): an IPv4 address in dotted decimal, an IPv6 address without a zone, or a
// domain name in A-labels, with or without its last dot.
bool is_server_name(std::string_view text);

// The exporter's context for one direction (section 4.3): protocol 0, AEAD, 00 C2S or 01 S2C.
// context_aead is the algorithm, or 15 for AEAD 30 with a client that did not send record 1024
// where the configuration allows that.
std::array<std::uint8_t, 5> exporter_context(std::uint16_t context_aead, bool server_to_client);

}  // namespace timeball::nts
