// Header and extension field walk: what is read is what was there, in order, within bounds.
#include <cstdlib>
#include <vector>

#include "common/ntp/extension_field.h"
#include "common/ntp/packet.h"
#include "tests/fuzz/property.h"

using namespace timeball;

namespace {

void check_header(Bytes packet) {
  const auto header = ntp::parse_header(packet);
  require(header.has_value() == (packet.size() >= ntp::kHeaderLength));
  if (!header) return;
  std::vector<std::uint8_t> again(ntp::kHeaderLength);
  ntp::write_header(*header, again);
  require(equal(again, packet.first(ntp::kHeaderLength)));
}

void check_walk(Bytes fields, std::size_t first_offset, std::size_t min_length) {
  ntp::FieldReader reader(fields, first_offset, min_length);
  std::vector<std::uint8_t> again(fields.size());
  ByteWriter out(again);
  while (const auto field = reader.next()) {
    require(field->offset == first_offset + out.size());
    require(ntp::kFieldHeaderLength + field->body.size() >= min_length);
    ntp::write_field(out, static_cast<ntp::FieldType>(field->type), field->body);
    require(out.ok());
  }
  require(equal(out.written(), fields.first(out.size())));
  require(!(reader.malformed() && reader.legacy_mac()));
  require((out.size() == fields.size()) == (!reader.malformed() && !reader.legacy_mac()));
  require(!reader.next());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes packet(data, size);
  check_header(packet);
  if (size >= ntp::kHeaderLength) {
    check_walk(packet.subspan(ntp::kHeaderLength), ntp::kHeaderLength, ntp::kMinFieldLength);
  }
  check_walk(packet, 0, ntp::kFieldHeaderLength);
  return 0;
}
