#include "common/ntp/packet.h"

#include <cassert>

namespace timeball::ntp {

std::optional<Header> parse_header(Bytes packet) {
  if (packet.size() < kHeaderLength) return std::nullopt;
  ByteReader in(packet.first(kHeaderLength));
  Header header;
  const std::uint8_t first = in.u8();
  header.leap = static_cast<LeapIndicator>(first >> 6);
  header.version = (first >> 3) & 7;
  header.mode = static_cast<Mode>(first & 7);
  header.stratum = in.u8();
  header.poll = static_cast<std::int8_t>(in.u8());
  header.precision = static_cast<std::int8_t>(in.u8());
  header.root_delay = {in.u32()};
  header.root_dispersion = {in.u32()};
  header.reference_id = in.u32();
  header.reference = {in.u64()};
  header.origin = {in.u64()};
  header.receive = {in.u64()};
  header.transmit = {in.u64()};
  return header;
}

void write_header(const Header& header, MutableBytes out) {
  assert(out.size() >= kHeaderLength);
  assert(header.version < 8);
  ByteWriter writer(out.first(kHeaderLength));
  writer.u8(static_cast<std::uint8_t>((static_cast<unsigned>(header.leap) << 6) |
                                      ((header.version & 7U) << 3) |
                                      static_cast<unsigned>(header.mode)));
  writer.u8(header.stratum);
  writer.u8(static_cast<std::uint8_t>(header.poll));
  writer.u8(static_cast<std::uint8_t>(header.precision));
  writer.u32(header.root_delay.bits);
  writer.u32(header.root_dispersion.bits);
  writer.u32(header.reference_id);
  writer.u64(header.reference.bits);
  writer.u64(header.origin.bits);
  writer.u64(header.receive.bits);
  writer.u64(header.transmit.bits);
}

}  // namespace timeball::ntp
