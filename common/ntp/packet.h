// The NTP packet header of RFC 5905, section 7.3, and the first octet that decides whether to
// answer. Values and pure functions; any thread.
#pragma once

#include <cstdint>
#include <optional>

#include "common/base/bytes.h"
#include "common/time/clock_state.h"
#include "common/time/ntp_timestamp.h"

namespace timeball::ntp {

inline constexpr std::size_t kHeaderLength = 48;
inline constexpr std::uint16_t kPort = 123;

// RFC 5905, figure 10. Mode 0 is what an NTPv1 client sends (RFC 1059).
enum class Mode : std::uint8_t {
  kReserved = 0,
  kSymmetricActive = 1,
  kSymmetricPassive = 2,
  kClient = 3,
  kServer = 4,
  kBroadcast = 5,
  kControl = 6,
  kPrivate = 7,
};

// Kiss-o'-Death codes and reference identifiers are four ASCII octets (RFC 5905, section 7.4).
constexpr std::uint32_t ascii_code(const char (&code)[5]) {
  return (std::uint32_t{static_cast<std::uint8_t>(code[0])} << 24) |
         (std::uint32_t{static_cast<std::uint8_t>(code[1])} << 16) |
         (std::uint32_t{static_cast<std::uint8_t>(code[2])} << 8) |
         std::uint32_t{static_cast<std::uint8_t>(code[3])};
}
inline constexpr std::uint32_t kKissRate = ascii_code("RATE");
inline constexpr std::uint32_t kKissDeny = ascii_code("DENY");
inline constexpr std::uint32_t kKissNtsNak = ascii_code("NTSN");  // RFC 8915, section 5.7

struct Header {
  LeapIndicator leap = LeapIndicator::kNone;
  std::uint8_t version = 4;  // 0..7 as received
  Mode mode = Mode::kClient;
  std::uint8_t stratum = 0;   // as on the wire: 0 is unspecified or a kiss code
  std::int8_t poll = 0;       // log2 seconds
  std::int8_t precision = 0;  // log2 seconds
  NtpShort root_delay;
  NtpShort root_dispersion;
  std::uint32_t reference_id = 0;
  NtpTimestamp reference;
  NtpTimestamp origin;
  NtpTimestamp receive;
  NtpTimestamp transmit;
};

// Where stamp() writes: the fields that are known last.
inline constexpr std::size_t kRootDispersionOffset = 8;
inline constexpr std::size_t kTransmitOffset = 40;

// Empty when fewer than kHeaderLength octets.
std::optional<Header> parse_header(Bytes packet);
// out: at least kHeaderLength octets.
void write_header(const Header& header, MutableBytes out);

}  // namespace timeball::ntp
