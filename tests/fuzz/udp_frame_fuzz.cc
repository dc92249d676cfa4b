// Frames that AF_XDP hands over: what is taken for a datagram lies in the frame, and written again
// it is read as the same.
#include <algorithm>
#include <vector>

#include "common/net/udp_frame.h"
#include "tests/fuzz/property.h"

using namespace timeball;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::vector<std::uint8_t> frame(data, data + std::min<std::size_t>(size, 60'000));
  net::UdpFlow flow;
  Bytes payload;
  if (net::parse_udp_frame(frame, flow, payload) != net::FrameFault::kNone) return 0;
  require(payload.empty() || (payload.data() >= frame.data() &&
                              payload.data() + payload.size() <= frame.data() + frame.size()));

  std::vector<std::uint8_t> room(net::kMaxFrameHeaders + payload.size());
  std::copy(payload.begin(), payload.end(), room.begin() + net::kMaxFrameHeaders);
  const MutableBytes again = net::write_udp_frame(flow, room);
  net::UdpFlow back;
  Bytes same;
  require(net::parse_udp_frame(again, back, same) == net::FrameFault::kNone);
  require(equal(same, payload));
  require(back.peer == flow.local && back.local == flow.peer);
  require(back.peer_mac == flow.local_mac && back.local_mac == flow.peer_mac);
  return 0;
}
