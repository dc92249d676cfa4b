#include "refclock/gnss/ubx.h"

#include <algorithm>
#include <concepts>
#include <type_traits>

namespace timeball::refclock::gnss::ubx {
namespace {

constexpr std::size_t kHeader = 6;
constexpr std::size_t kChecksum = 2;

// Walks fields() and fills them. A group that does not fit is an error; the rest always fits,
// because the length was looked at first.
class Loader {
 public:
  explicit Loader(Bytes payload) : payload_(payload) {}

  template <std::integral T>
  void operator()(std::string_view /*name*/, std::size_t offset, T& member) {
    member = static_cast<T>(load(offset, sizeof(T)));
  }
  template <std::integral T>
  void bits(std::string_view /*name*/, std::size_t offset, unsigned shift, unsigned width,
            T& member) {
    const std::uint64_t word = load(offset, (shift + width + 7) / 8);
    member = static_cast<T>(word >> shift & ((1U << width) - 1));
  }
  // Ends with the first zero octet.
  void text(std::string_view /*name*/, std::size_t offset, std::size_t length,
            std::string& member) {
    const Bytes octets = payload_.subspan(offset, length);
    member.assign(octets.begin(), std::ranges::find(octets, 0));
  }
  template <class Group>
  void groups(std::string_view /*name*/, std::size_t offset, std::size_t stride, std::size_t count,
              std::vector<Group>& member) {
    const std::size_t room = (payload_.size() - offset) / stride;
    if (count == kToTheEnd) count = room;
    ok_ = ok_ && count <= room;
    if (!ok_) return;
    member.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      Loader group(payload_.subspan(offset + i * stride, stride));
      Group::fields(member[i], group);
    }
  }
  std::size_t length() const { return payload_.size(); }
  bool ok() const { return ok_; }

 private:
  std::uint64_t load(std::size_t offset, std::size_t octets) const {
    std::uint64_t value = 0;
    for (std::size_t i = octets; i-- > 0;) value = value << 8 | payload_[offset + i];
    return value;
  }

  Bytes payload_;
  bool ok_ = true;
};

template <class T>
concept Versioned = requires {
  T::kVersion;
};

template <class T>
bool has_version(Bytes payload) {
  if constexpr (Versioned<T>) {
    return !payload.empty() && payload[0] == T::kVersion;
  } else {
    return true;
  }
}

template <class T>
tl::expected<Message, Why> load(Bytes payload) {
  if (payload.size() < T::kLength) return tl::unexpected(Why::kLength);
  T message{};
  Loader loader(payload);
  T::fields(message, loader);
  if (!loader.ok()) return tl::unexpected(Why::kLength);
  return message;
}

// The alternatives of the variant, one after another.
template <std::size_t n = 1>
tl::expected<Message, Why> decode_from(const Packet& packet, tl::expected<Message, Why> otherwise) {
  if constexpr (n == std::variant_size_v<Message>) {
    return otherwise;
  } else {
    using T = std::variant_alternative_t<n, Message>;
    if (packet.message_class == T::kClass && packet.id == T::kId) {
      if (has_version<T>(packet.payload)) return load<T>(packet.payload);
      otherwise = tl::unexpected(packet.payload.empty() ? Why::kLength : Why::kVersion);
    }
    return decode_from<n + 1>(packet, std::move(otherwise));
  }
}

}  // namespace

Packet packet_of(const Frame& frame) {
  return {frame.octets[2], frame.octets[3],
          frame.octets.subspan(kHeader, frame.octets.size() - kHeader - kChecksum)};
}

tl::expected<Message, Why> decode(const Packet& packet) {
  return decode_from(packet, Other{});
}

}  // namespace timeball::refclock::gnss::ubx
