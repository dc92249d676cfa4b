// Any octets as lines of gpsd: each is refused with a reason or gives values within their ranges.
#include <cstdint>
#include <string_view>

#include "common/time/ntp_timestamp.h"
#include "refclock/gpsd/gpsd_report.h"
#include "tests/fuzz/property.h"

namespace {

using namespace timeball::refclock;

void check(const GpsdFold::Observations& seen) {
  if (seen.label) require(seen.label->second.ns % timeball::kNsPerSecond == 0);
  if (seen.pulse) require(seen.pulse->clock.ns >= 0 && seen.pulse->real.ns >= 0);
  if (seen.quantisation) require(seen.quantisation->error_ps <= 1'000'000);
  if (seen.sky) require(seen.sky->satellites.size() <= kMaxSatellites);
  if (seen.condition && seen.condition->time_accuracy)
    require(seen.condition->time_accuracy->count() >= 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  GpsdFold fold;
  HostTime now;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(line.size() < rest.size() ? line.size() + 1 : rest.size());
    const auto report = parse_gpsd(line);
    now.ns += timeball::kNsPerSecond;
    if (!report) {
      require(!report.error().message.empty());
      continue;
    }
    check(fold.step(*report, now));
  }
  return 0;
}
