#include "refclock/gnss/stream.h"

#include <algorithm>

namespace timeball::refclock::gnss {
namespace {

constexpr std::uint8_t kUbxSync1 = 0xb5;
constexpr std::uint8_t kUbxSync2 = 0x62;
constexpr std::size_t kUbxHeader = 6;
constexpr std::uint8_t kRtcm3Preamble = 0xd3;
constexpr std::size_t kRtcm3Header = 3;
constexpr std::uint8_t kBrace = 0x7b;  // begins a JSON object of gpsd's

bool ends_line(std::uint8_t octet) {
  return octet == '\r' || octet == '\n';
}

// -1: not a hexadecimal digit.
int hex_digit(std::uint8_t octet) {
  if (octet >= '0' && octet <= '9') return octet - '0';
  if (octet >= 'A' && octet <= 'F') return octet - 'A' + 10;
  if (octet >= 'a' && octet <= 'f') return octet - 'a' + 10;
  return -1;
}

// "GPRMC,": at least three capitals or digits before the first comma.
bool has_address(Bytes body) {
  const auto comma = std::ranges::find(body, ',');
  return comma - body.begin() >= 3 && std::all_of(body.begin(), comma, [](std::uint8_t c) {
           return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
         });
}

// CRC-24Q, polynomial 0x1864cfb, as in RTCM 10403.
std::uint32_t crc24q(Bytes octets) {
  std::uint32_t crc = 0;
  for (const std::uint8_t octet : octets) {
    crc ^= std::uint32_t{octet} << 16;
    for (int bit = 0; bit < 8; ++bit) {
      crc <<= 1;
      if ((crc & 0x100'0000U) != 0) crc ^= 0x186'4cfbU;
    }
  }
  return crc;
}

}  // namespace

std::string_view name(Protocol protocol) {
  constexpr std::array<std::string_view, kProtocols> kNames = {"none", "nmea", "ubx", "rtcm3",
                                                               "comment"};
  return kNames[static_cast<std::size_t>(protocol)];
}

std::string_view name(Why why) {
  constexpr std::array<std::string_view, kWhys> kNames = {"noise",       "checksum",   "too_long",
                                                          "interrupted", "incomplete", "malformed",
                                                          "length",      "version"};
  return kNames[static_cast<std::size_t>(why)];
}

void Stream::add(Bytes octets, HostTime arrival) {
  if (octets.empty()) return;
  ended_ = false;
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(head_));
  buffer_offset_ += head_;
  head_ = 0;
  const auto held = std::ranges::find_if(
      reads_, [this](const Read& read) { return read.offset > buffer_offset_; });
  if (held != reads_.begin()) reads_.erase(reads_.begin(), held - 1);
  reads_.push_back({buffer_offset_ + buffer_.size(), arrival});
  buffer_.insert(buffer_.end(), octets.begin(), octets.end());
}

std::optional<StreamEvent> Stream::next() {
  while (head_ < buffer_.size()) {
    Found found = look(Bytes(buffer_).subspan(head_));
    if (found.kind == Found::Kind::kNeedMore) {
      if (!ended_) return std::nullopt;
      found.kind = Found::Kind::kRefused;
      found.why = Why::kIncomplete;
    }
    const bool begins = found.kind != Found::Kind::kNothing;
    if (run_ && (begins || run_->octets >= kMaxNoise)) return take_run();
    if (found.kind == Found::Kind::kFrame) return take_frame(found);
    if (run_) {
      ++run_->octets;
    } else if (begins || !ends_line(buffer_[head_])) {
      run_ = Refusal{found.protocol, found.why, buffer_offset_ + head_, found.octets};
    }
    consume(found.octets);
  }
  if (ended_ && run_) return take_run();
  return std::nullopt;
}

StreamEvent Stream::take_frame(const Found& found) {
  const std::uint64_t offset = buffer_offset_ + head_;
  const Frame frame{found.protocol, Bytes(buffer_).subspan(head_, found.octets), offset,
                    arrival_of(offset), found.checked};
  ++counts_.frames[static_cast<std::size_t>(found.protocol)];
  consume(found.octets);
  return frame;
}

StreamEvent Stream::take_run() {
  const Refusal refusal = *run_;
  run_.reset();
  ++counts_.refusals[static_cast<std::size_t>(refusal.why)];
  return refusal;
}

void Stream::consume(std::size_t octets) {
  head_ += octets;
  line_start_ = ends_line(buffer_[head_ - 1]);
}

HostTime Stream::arrival_of(std::uint64_t offset) const {
  const auto after =
      std::ranges::find_if(reads_, [offset](const Read& read) { return read.offset > offset; });
  return after == reads_.begin() ? HostTime{} : (after - 1)->arrival;
}

Stream::Found Stream::look(Bytes rest) const {
  switch (rest[0]) {
    case '$':
      return look_nmea(rest);
    case kUbxSync1:
      return look_ubx(rest);
    case kRtcm3Preamble:
      return look_rtcm3(rest);
    case '#':
    case kBrace:
      return look_comment(rest);
    default:
      return {};
  }
}

Stream::Found Stream::look_nmea(Bytes rest) const {
  Found found{Found::Kind::kNeedMore, Protocol::kNmea};
  std::size_t end = 1;
  while (end < rest.size() && end < kMaxSentence && rest[end] >= 0x20 && rest[end] < 0x7f &&
         rest[end] != '$') {
    ++end;
  }
  found.octets = end;
  if (end == kMaxSentence) {
    found.kind = Found::Kind::kRefused;
    found.why = Why::kTooLong;
    return found;
  }
  if (end == rest.size() && !ended_) return found;
  const bool line_ended = end < rest.size() && ends_line(rest[end]);
  found = judge_sentence(rest.first(end), line_ended);
  if (found.why == Why::kInterrupted && end == rest.size()) found.why = Why::kIncomplete;
  if (line_ended) ++found.octets;
  return found;
}

// sentence: from the $ to before what ended it. It holds no other octet that could begin a frame,
// so that refusing all of it loses nothing.
Stream::Found Stream::judge_sentence(Bytes sentence, bool line_ended) {
  Found found{Found::Kind::kRefused, Protocol::kNmea, sentence.size(), Why::kInterrupted};
  Bytes body = sentence.subspan(1);
  while (!body.empty() && body.back() == ' ') body = body.first(body.size() - 1);
  const auto star = std::find(body.rbegin(), body.rend(), '*');
  if (star == body.rend()) {
    if (!line_ended) return found;
    found.why = Why::kMalformed;
    found.checked = false;
    if (has_address(body)) found.kind = Found::Kind::kFrame;
    return found;
  }
  const auto digits = static_cast<std::size_t>(star - body.rbegin());
  const int high = digits == 2 ? hex_digit(body[body.size() - 2]) : -1;
  const int low = digits == 2 ? hex_digit(body.back()) : -1;
  if (high < 0 || low < 0) {
    if (line_ended) found.why = Why::kMalformed;
    return found;
  }
  unsigned sum = 0;
  for (const std::uint8_t octet : body.first(body.size() - 3)) sum ^= octet;
  found.why = Why::kChecksum;
  if (sum == static_cast<unsigned>(high << 4 | low)) found.kind = Found::Kind::kFrame;
  return found;
}

Stream::Found Stream::look_ubx(Bytes rest) {
  Found found{Found::Kind::kNeedMore, Protocol::kUbx};
  if (rest.size() < 2) return found;
  if (rest[1] != kUbxSync2) return {};
  if (rest.size() < kUbxHeader) return found;
  const std::size_t payload = rest[4] | rest[5] << 8;
  const std::size_t whole = kUbxHeader + payload + 2;
  found.kind = Found::Kind::kRefused;
  found.why = Why::kTooLong;
  if (payload > kMaxUbxPayload) return found;
  found.kind = Found::Kind::kNeedMore;
  if (rest.size() < whole) return found;
  std::uint8_t a = 0;
  std::uint8_t b = 0;
  for (const std::uint8_t octet : rest.subspan(2, whole - 4)) {
    a = static_cast<std::uint8_t>(a + octet);
    b = static_cast<std::uint8_t>(b + a);
  }
  found.why = Why::kChecksum;
  found.kind = Found::Kind::kRefused;
  if (rest[whole - 2] != a || rest[whole - 1] != b) return found;
  found.kind = Found::Kind::kFrame;
  found.octets = whole;
  return found;
}

Stream::Found Stream::look_rtcm3(Bytes rest) {
  Found found{Found::Kind::kNeedMore, Protocol::kRtcm3};
  if (rest.size() < 2) return found;
  if ((rest[1] & 0xfc) != 0) return {};  // six reserved bits
  if (rest.size() < kRtcm3Header) return found;
  const std::size_t payload = load_be16(&rest[1]) & 0x3ff;
  const std::size_t whole = kRtcm3Header + payload + 3;
  if (rest.size() < whole) return found;
  const std::uint32_t crc = crc24q(rest.first(whole - 3));
  const std::uint32_t sent = std::uint32_t{rest[whole - 3]} << 16 | load_be16(&rest[whole - 2]);
  found.why = Why::kChecksum;
  found.kind = Found::Kind::kRefused;
  if (crc != sent) return found;
  found.kind = Found::Kind::kFrame;
  found.octets = whole;
  return found;
}

// A whole line of text, which may hold what is not ASCII.
Stream::Found Stream::look_comment(Bytes rest) const {
  if (comments_ == Comments::kNoise || !line_start_) return {};
  const auto stop = std::ranges::find_if(
      rest.first(std::min(rest.size(), kMaxComment)),
      [](auto c) { return c == '\n' || (c < 0x20 && c != '\t' && c != '\r'); });
  const auto octets = static_cast<std::size_t>(stop - rest.begin());
  Found found{Found::Kind::kFrame, Protocol::kComment, octets};
  if (octets == kMaxComment || (octets < rest.size() && rest[octets] != '\n')) return {};
  if (octets < rest.size()) {
    ++found.octets;
  } else if (!ended_) {
    found.kind = Found::Kind::kNeedMore;
  }
  return found;
}

}  // namespace timeball::refclock::gnss
