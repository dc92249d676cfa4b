// A receiver's octets cut into frames: NMEA 0183 sentences, UBX and RTCM 3 in one stream, as they
// share a port, with whatever collisions, half frames and line noise do to them.
//
// After anything that is refused the search goes on at its second octet: a length that cannot be
// believed is never skipped by. Frames and refusals together cover every octet given, in order, but
// for line ends between frames; where the stream was split into reads changes nothing.
//
// Framing is liberal (a sentence without a checksum is a frame, and says so); trust is the
// receiver's business (receiver.h).
//
// Memory: one frame (kMaxFrame) and what add() was last given. Pure; one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/bytes.h"
#include "refclock/observations.h"

namespace timeball::refclock::gnss {

enum class Protocol : std::uint8_t { kNone, kNmea, kUbx, kRtcm3, kComment };
inline constexpr std::size_t kProtocols = 5;

// Why octets were refused: by the stream, or by the decoder of a message (the last two).
enum class Why : std::uint8_t {
  kNoise,        // nothing that we know begins here
  kChecksum,     // of the frame
  kTooLong,      // says it is longer than anything that a receiver sends
  kInterrupted,  // another sentence or an unprintable octet inside a sentence
  kIncomplete,   // the octets ended first
  kMalformed,    // a sentence without an address, or whose checksum is no number
  kLength,       // a message that is not as long as its kind is
  kVersion,      // a message in a version that we do not know
};
inline constexpr std::size_t kWhys = 8;

std::string_view name(Protocol protocol);
std::string_view name(Why why);

inline constexpr std::size_t kMaxSentence = 1024;    // NMEA says 82; receivers say more
inline constexpr std::size_t kMaxUbxPayload = 4096;  // RXM-RAWX of 120 signals fits
inline constexpr std::size_t kMaxComment = 16384;
inline constexpr std::size_t kMaxFrame = kMaxComment;
inline constexpr std::size_t kMaxNoise = 1024;  // longer noise is reported in pieces

struct Frame {
  Protocol protocol = Protocol::kNone;
  Bytes octets;              // all of it, sync and checksum included; valid until add()
  std::uint64_t offset = 0;  // of its first octet in the stream
  HostTime arrival;          // of the read that brought its first octet
  bool checked = true;       // false: an NMEA sentence that carries no checksum
};

struct Refusal {
  Protocol protocol = Protocol::kNone;  // what it looked like
  Why why = Why::kNoise;
  std::uint64_t offset = 0;
  std::uint64_t octets = 0;
};

using StreamEvent = std::variant<Frame, Refusal>;

struct StreamCounts {
  std::array<std::uint64_t, kProtocols> frames{};  // by Protocol
  std::array<std::uint64_t, kWhys> refusals{};     // by Why
};

class Stream {
 public:
  // kTaken: lines that begin with # or { are what gpsd writes around a recorded log.
  enum class Comments : std::uint8_t { kNoise, kTaken };

  explicit Stream(Comments comments = Comments::kNoise) : comments_(comments) {}

  // arrival: of the first of them. Call next() until it has no more before the next add().
  void add(Bytes octets, HostTime arrival);
  // None: the octets so far hold no more whole frames.
  std::optional<StreamEvent> next();
  // What was given is all there is of it (end of file, line reopened, a long silence): what has
  // begun will not be completed. next() then hands out the rest.
  void end() { ended_ = true; }

  const StreamCounts& counts() const { return counts_; }

 private:
  // What begins at the head of the unread octets.
  struct Found {
    enum class Kind : std::uint8_t { kNothing, kNeedMore, kFrame, kRefused };
    Kind kind = Kind::kNothing;
    Protocol protocol = Protocol::kNone;
    std::size_t octets = 1;
    Why why = Why::kNoise;
    bool checked = true;
  };

  Found look(Bytes rest) const;
  Found look_nmea(Bytes rest) const;
  Found look_comment(Bytes rest) const;
  static Found look_ubx(Bytes rest);
  static Found look_rtcm3(Bytes rest);
  static Found judge_sentence(Bytes sentence, bool line_ended);

  StreamEvent take_frame(const Found& found);
  StreamEvent take_run();
  void consume(std::size_t octets);
  HostTime arrival_of(std::uint64_t offset) const;

  struct Read {
    std::uint64_t offset;
    HostTime arrival;
  };

  Comments comments_;
  bool ended_ = false;
  bool line_start_ = true;
  std::vector<std::uint8_t> buffer_;
  std::size_t head_ = 0;             // of buffer_: what is before it has been handed out
  std::uint64_t buffer_offset_ = 0;  // of buffer_[0] in the stream
  std::vector<Read> reads_;          // those that buffer_ holds octets of
  std::optional<Refusal> run_;       // of octets refused so far without a gap
  StreamCounts counts_;
};

}  // namespace timeball::refclock::gnss
