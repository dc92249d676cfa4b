// Six rubidium pollers on a line that says anything at any time: each report stays within its
// limits, nothing that would write an EEPROM is sent, and the poller always comes back to asking.
// Octet 0: model, octet 1: wiring; then pieces: length, tenths of a second to wait, octets.
#include <cmath>
#include <string_view>

#include "refclock/rubidium/poller.h"
#include "tests/fuzz/property.h"

using namespace timeball;
using namespace timeball::refclock;
using namespace timeball::refclock::rubidium;

namespace {

constexpr unsigned kModels = 6;
constexpr unsigned kWirings = 3;

void check_report(const Report& report, HostTime now) {
  const std::string_view written(reinterpret_cast<const char*>(report.write.data()),
                                 report.write.size());
  require(written.size() < 64);
  require(written.find('!') == std::string_view::npos);
  require(written.find("store") == std::string_view::npos);
  require(written.find("5987717") == std::string_view::npos);
  for (const OscillatorCondition& condition : report.conditions) {
    require(condition.at == now);
    if (condition.temperature_c) require(std::isfinite(*condition.temperature_c));
  }
  for (const Reading& reading : report.readings) {
    require(!reading.name.empty() && std::isfinite(reading.value));
  }
  if (report.steering) require(std::isfinite(*report.steering));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader input({data, size});
  const auto model = static_cast<Model>(input.u8() % kModels);
  const auto wiring = static_cast<Wiring>(input.u8() % kWirings);
  auto poller = make_poller({model, wiring, 6.80789e-13});
  if (!poller) {
    require(!poller.error().message.empty());
    return 0;
  }
  HostTime now{};
  for (unsigned piece = 0; input.remaining() > 0; ++piece) {
    const std::size_t length = input.u8();
    now = now + input.u8() * std::chrono::milliseconds(100);
    const Bytes arrived = input.take(std::min(length, input.remaining()));
    check_report(poller->step(now, arrived), now);
    if (piece % 8 == 3) {
      const auto applied = poller->steer(1e-9 * (double(length) - 128));
      if (applied) require(std::isfinite(*applied) && std::fabs(*applied) < 1e-6);
    }
    poller->lock_pin(length % 2 == 0);
    require(poller->next() <= now + std::chrono::minutes(1));
  }
  // On a silent line it goes on asking.
  const auto questions = poller->counts().questions;
  for (int i = 0; i < 40; ++i) {
    now = std::max(now, poller->next());
    check_report(poller->step(now, {}), now);
  }
  require(poller->counts().questions > questions);
  return 0;
}
