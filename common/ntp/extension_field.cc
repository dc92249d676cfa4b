#include "common/ntp/extension_field.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace timeball::ntp {
namespace {

// Crypto-NAK, and key identifier with a digest of 16 or 20 octets (RFC 5905, figure 14). No last
// field can be that short: without a MAC it has at least 28 octets (RFC 7822, section 7.5.1.4).
constexpr bool is_mac_length(std::size_t length) {
  return length == 4 || length == 20 || length == 24;
}

// Appends the type and the length, and returns the room for body and padding, empty when there is
// none.
MutableBytes begin_field(ByteWriter& out, FieldType type, std::size_t body_length) {
  const std::size_t length = kFieldHeaderLength + padded4(body_length);
  assert(length <= kMaxFieldLength);
  const MutableBytes field = out.reserve(length);
  if (field.empty()) return {};
  store_be16(field.data(), static_cast<std::uint16_t>(type));
  store_be16(field.data() + 2, static_cast<std::uint16_t>(length));
  return field.subspan(kFieldHeaderLength);
}

}  // namespace

FieldReader::FieldReader(Bytes fields, std::size_t first_offset, std::size_t min_length)
    : rest_(fields), offset_(first_offset), min_length_(min_length) {}

std::optional<ExtensionField> FieldReader::next() {
  if (rest_.empty() || malformed_ || legacy_mac_) return std::nullopt;
  if (min_length_ == kMinFieldLength && is_mac_length(rest_.size())) {
    legacy_mac_ = true;
    return std::nullopt;
  }
  const std::size_t length = rest_.size() < kFieldHeaderLength ? 0 : load_be16(rest_.data() + 2);
  if (length < min_length_ || length % 4 != 0 || length > rest_.size()) {
    malformed_ = true;
    return std::nullopt;
  }
  const ExtensionField field = {load_be16(rest_.data()), offset_,
                                rest_.subspan(kFieldHeaderLength, length - kFieldHeaderLength)};
  rest_ = rest_.subspan(length);
  offset_ += length;
  return field;
}

MutableBytes reserve_field(ByteWriter& out, FieldType type, std::size_t body_length) {
  const MutableBytes room = begin_field(out, type, body_length);
  if (room.empty()) return {};
  std::ranges::fill(room.subspan(body_length), std::uint8_t{0});
  return room.first(body_length);
}

void write_field(ByteWriter& out, FieldType type, Bytes body) {
  const MutableBytes room = begin_field(out, type, body.size());
  if (room.empty()) return;
  std::memmove(room.data(), body.data(), body.size());
  std::ranges::fill(room.subspan(body.size()), std::uint8_t{0});
}

}  // namespace timeball::ntp
