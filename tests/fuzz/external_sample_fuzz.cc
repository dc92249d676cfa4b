// Any octets as a datagram of chrony's SOCK and as a segment of NTP's shared memory: what is taken
// is a time, and a segment's sample is taken once.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "refclock/linux/external_sample.h"
#include "tests/fuzz/property.h"

using namespace timeball;
using namespace timeball::refclock;

namespace {

void check(const ExternalSample& sample) {
  require(sample.at.ns >= 0);
  require(sample.leap <= LeapIndicator::kUnknown);
  if (sample.pulse) require(sample.offset <= std::chrono::seconds(1));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (const auto sample = parse_sock_datagram({data, size})) check(*sample);
  NtpShmSegment segment{};
  std::memcpy(&segment, data, std::min(size, sizeof segment));
  const ShmReading reading = read_ntp_shm(segment);
  if (reading.outcome == ShmReading::Outcome::kSample) check(reading.sample);
  require(reading.outcome != ShmReading::Outcome::kClash);
  require(read_ntp_shm(segment).outcome == ShmReading::Outcome::kNone);
  return 0;
}
