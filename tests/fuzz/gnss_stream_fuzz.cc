// Any octets as a receiver's stream: frames and refusals cover it in order; how it was read changes
// nothing; every frame decodes or is refused. The first octet says how long the reads are.
#include <algorithm>
#include <tuple>
#include <vector>

#include "refclock/gnss/nmea.h"
#include "refclock/gnss/stream.h"
#include "refclock/gnss/ubx.h"
#include "tests/fuzz/property.h"

using namespace timeball;
using namespace timeball::refclock;
using namespace timeball::refclock::gnss;

namespace {

// Protocol, refusal (or -1), offset, octets.
using Event = std::tuple<Protocol, int, std::uint64_t, std::uint64_t>;

void decode(const Frame& frame) {
  if (frame.protocol == Protocol::kNmea) {
    const nmea::Sentence sentence = nmea::decode(frame.octets);
    require(sentence.address.size() <= frame.octets.size());
  }
  if (frame.protocol == Protocol::kUbx) {
    const auto message = ubx::decode(ubx::packet_of(frame));
    require(message || message.error() == Why::kLength || message.error() == Why::kVersion);
  }
}

std::vector<Event> events(Bytes input, std::size_t piece, Stream::Comments comments) {
  Stream stream(comments);
  std::vector<Event> all;
  const auto drain = [&] {
    while (const auto event = stream.next()) {
      if (const auto* frame = std::get_if<Frame>(&*event)) {
        require(equal(frame->octets, input.subspan(frame->offset, frame->octets.size())));
        // The n-th octet arrives at n / piece.
        require(frame->arrival.ns == static_cast<std::int64_t>(frame->offset / piece));
        decode(*frame);
        all.emplace_back(frame->protocol, -1, frame->offset, frame->octets.size());
      } else {
        const auto& refusal = std::get<Refusal>(*event);
        all.emplace_back(refusal.protocol, static_cast<int>(refusal.why), refusal.offset,
                         refusal.octets);
      }
    }
  };
  for (std::size_t at = 0; at < input.size(); at += piece) {
    stream.add(input.subspan(at, std::min(piece, input.size() - at)),
               HostTime{static_cast<std::int64_t>(at / piece)});
    drain();
  }
  stream.end();
  drain();
  return all;
}

void check_cover(Bytes input, const std::vector<Event>& all) {
  std::uint64_t at = 0;
  for (const auto& [protocol, why, offset, octets] : all) {
    require(offset >= at && octets > 0);
    for (; at < offset; ++at) require(input[at] == '\r' || input[at] == '\n');
    at += octets;
  }
  for (; at < input.size(); ++at) require(input[at] == '\r' || input[at] == '\n');
  require(at == input.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const auto comments = (data[0] & 1) != 0 ? Stream::Comments::kTaken : Stream::Comments::kNoise;
  const std::size_t piece = 1 + (data[0] >> 1);
  const Bytes input(data + 1, size - 1);
  const auto whole = events(input, input.size(), comments);
  check_cover(input, whole);
  require(events(input, piece, comments) == whole);
  return 0;
}
