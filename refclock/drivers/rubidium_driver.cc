#include "refclock/drivers/rubidium_driver.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "refclock/host_clock.h"

namespace timeball::refclock {
namespace {

constexpr auto kTryRate = std::chrono::seconds(20);

rubidium::Poller poller_or_throw(const rubidium::Options& options) {
  auto poller = rubidium::make_poller(options);
  if (!poller) throw std::runtime_error(poller.error().message);
  return std::move(*poller);
}

std::vector<unsigned> rates_of(const RubidiumOptions& options) {
  if (options.baud != 0) return {options.baud};
  return rubidium::line_settings(options.oscillator.model).baud;
}

}  // namespace

RubidiumDriver::RubidiumDriver(boost::asio::io_context& context, const RubidiumOptions& options,
                               Observe observe)
    : options_(options),
      observe_(std::move(observe)),
      rates_(rates_of(options)),
      rate_since_(host_now()),
      poller_(poller_or_throw(options.oscillator)),
      timer_(context),
      line_(context, {options.device, rates_[0], options.shared},
            {[this] { step(host_now(), {}); },
             [this](Bytes octets, HostTime arrival) { step(arrival, octets); }}) {}

void RubidiumDriver::step(HostTime now, Bytes arrived) {
  const rubidium::Report report = poller_.step(now, arrived);
  if (!report.write.empty()) line_.send(report.write);
  for (const rubidium::Event& event : report.events) tell(event, now);
  for (const rubidium::Reading& reading : report.readings) {
    status_.readings[reading.name] = reading.value;
  }
  for (const OscillatorCondition& condition : report.conditions) observe_(condition);
  arm(now);
}

void RubidiumDriver::arm(HostTime now) {
  timer_.expires_after(std::max<Duration>(poller_.next() - now, std::chrono::milliseconds(1)));
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error && line_.is_open()) step(host_now(), {});
  });
}

void RubidiumDriver::tell(const rubidium::Event& event, HostTime now) {
  using Kind = rubidium::Event::Kind;
  if (event.kind == Kind::kIdentified) {
    status_.answers = true;
    if (status_.identity != event.detail) {
      status_.identity = event.detail;
      spdlog::info("{}: the oscillator answers: {}", options_.device, event.detail);
    }
    return;
  }
  if (event.kind == Kind::kLost) status_.answers = false;
  if (!limiter_.admit(std::chrono::nanoseconds(now.ns))) return;
  switch (event.kind) {
    case Kind::kIdentified:
      break;
    case Kind::kLost:
      return spdlog::warn("{}: the oscillator does not answer", options_.device);
    case Kind::kGarbage:
      return spdlog::warn("{}: octets that are no message of the oscillator: is baud = {} right?",
                          options_.device, rates_[rate_]);
    case Kind::kUnexpected:
      return spdlog::warn("{}: unexpected: {}", options_.device, event.detail);
    case Kind::kRefused:
      return spdlog::warn("{}: the oscillator refuses: {}", options_.device, event.detail);
    case Kind::kRestarted:
      return spdlog::warn("{}: the oscillator has restarted", options_.device);
    case Kind::kPulseMoved:
      return spdlog::warn("{}: the oscillator's pulse may have moved", options_.device);
    case Kind::kAlarm:
      return spdlog::warn("{}: the oscillator reports {}", options_.device, event.detail);
    case Kind::kReconfigured:
      return spdlog::warn("{}: the oscillator was not set as needed; set: {}", options_.device,
                          event.detail);
  }
}

// Another rate, while nothing has ever answered at this one.
void RubidiumDriver::tick(HostTime now) {
  if (status_.answers || rates_.size() < 2 || !line_.is_open()) {
    rate_since_ = now;
    return;
  }
  if (now - rate_since_ < kTryRate) return;
  rate_since_ = now;
  rate_ = (rate_ + 1) % rates_.size();
  line_.set_baud(rates_[rate_]);
}

RubidiumStatus RubidiumDriver::status() const {
  RubidiumStatus status = status_;
  status.line = line_.counts();
  status.counts = poller_.counts();
  return status;
}

}  // namespace timeball::refclock
