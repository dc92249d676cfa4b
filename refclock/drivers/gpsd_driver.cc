#include "refclock/drivers/gpsd_driver.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "refclock/host_clock.h"

namespace timeball::refclock {
namespace {

constexpr Duration kSkyRecent = std::chrono::seconds(10);

// gpsd rounds the second of a pulse to the nearest; its stamp is better than its precision says.
Duration precision_of(const GpsdPps& pps) {
  return Duration(std::llround(std::ldexp(1e9, std::clamp(pps.precision, -30, 0))));
}

}  // namespace

GpsdDriver::GpsdDriver(boost::asio::io_context& context, const GpsdDriverOptions& options,
                       Observe observe)
    : options_(options),
      observe_(std::move(observe)),
      clock_(kernel_calls()),
      client_(context, options.connection,
              [this](const GpsdReport& report, HostTime arrival) { received(report, arrival); }) {}

void GpsdDriver::received(const GpsdReport& report, HostTime arrival) {
  const GpsdFold::Observations seen = fold_.step(report, arrival);
  if (seen.pulse && options_.pulses) pulse(*seen.pulse);
  if (seen.quantisation) observe_(*seen.quantisation);
  if (seen.leap) observe_(*seen.leap);
  if (seen.label) {
    ++(seen.label->trusted ? status_.labels_trusted : status_.labels_untrusted);
    observe_(*seen.label);
  }
  if (seen.condition) observe_(*seen.condition);
  if (!seen.sky) return;
  status_.sky = *seen.sky;
  sky_at_ = arrival;
}

void GpsdDriver::pulse(const GpsdPps& pps) {
  const auto edge = clock_.convert(pps.clock);
  if (!edge) {
    ++status_.pulses_refused;
    return;
  }
  ++status_.pulses;
  observe_(Pulse{PulseInput::kGnss, edge->at, edge->error + precision_of(pps),
                 static_cast<std::uint32_t>(status_.pulses)});
}

GpsdStatus GpsdDriver::status() const {
  GpsdStatus status = status_;
  status.counts = client_.counts();
  if (host_now() - sky_at_ > kSkyRecent) status.sky = {};
  return status;
}

}  // namespace timeball::refclock
