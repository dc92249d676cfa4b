#include "refclock/drivers/gnss_driver.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <utility>

#include "refclock/host_clock.h"

namespace timeball::refclock {
namespace {

using std::chrono::seconds;

// u-blox: 38400 (generation 9) or 9600; timing receivers of others: 115200.
constexpr std::array<unsigned, 5> kRates{38400, 9600, 115200, 460800, 57600};
constexpr auto kTryRate = seconds(4);
// Longer than pauses within a second's messages, and short enough to be over before the next.
constexpr auto kQuiet = std::chrono::milliseconds(100);
constexpr std::uint64_t kEnoughOctets = 200;
// Without UBX time for so long, though set up for it, a receiver has lost its setting.
constexpr auto kSettingLost = seconds(10);

std::string list_unmet(const std::vector<gnss::Unmet>& unmet, bool needed) {
  std::string text;
  for (const gnss::Unmet& u : unmet) {
    if (u.needed == needed) text += (text.empty() ? "" : ", ") + u.what;
  }
  return text;
}

}  // namespace

GnssDriver::GnssDriver(boost::asio::io_context& context, const GnssOptions& options,
                       Observe observe)
    : options_(options),
      observe_(std::move(observe)),
      receiver_(options.receiver),
      rate_since_(host_now()),
      quiet_(context),
      line_(context, {options.device, options.baud != 0 ? options.baud : kRates[0], options.shared},
            {[this] { opened(); },
             [this](Bytes octets, HostTime arrival) { received(octets, arrival); }}) {}

void GnssDriver::opened() {
  stream_.end();  // of what came before
  while (stream_.next()) {
  }
  receiver_ = gnss::Receiver(options_.receiver);
  sky_ = {};
  watch_rate_from(host_now());
  frame_at_.reset();
  configure(host_now());
}

void GnssDriver::configure(HostTime now) {
  if (!options_.configure) return;
  ++status_.configurations;
  configuration_told_ = false;
  configurator_.emplace(options_.settings);
  line_.send(configurator_->start(now));
}

void GnssDriver::received(Bytes octets, HostTime arrival) {
  stream_.add(octets, arrival);
  while (const auto event = stream_.next()) {
    if (const auto* frame = std::get_if<gnss::Frame>(&*event)) take(*frame);
  }
  await_quiet();
}

// Receivers send what belongs to a second in one go, and most do not say when it is over.
void GnssDriver::await_quiet() {
  quiet_.expires_after(kQuiet);
  quiet_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    gnss::Reports reports;
    receiver_.quiet(reports);
    report(reports);
  });
}

void GnssDriver::take(const gnss::Frame& frame) {
  frame_at_ = frame.arrival;
  if (frame.protocol == gnss::Protocol::kUbx) {
    const gnss::ubx::Packet packet = gnss::ubx::packet_of(frame);
    using gnss::ubx::NavPvt, gnss::ubx::NavTimeUtc;
    const bool time = packet.message_class == NavPvt::kClass &&
                      (packet.id == NavPvt::kId || packet.id == NavTimeUtc::kId);
    if (time) ubx_time_at_ = frame.arrival;
    if (configurator_) line_.send(configurator_->take(host_now(), packet));
  }
  read(frame);
}

// What cannot be decoded, the stream's counts need not know.
void GnssDriver::read(const gnss::Frame& frame) {
  gnss::Reports reports;
  if (frame.protocol == gnss::Protocol::kNmea) {
    const gnss::nmea::Sentence sentence = gnss::nmea::decode(frame.octets);
    receiver_.take(sentence, frame.checked, frame.arrival, reports);
    if (frame.checked) sky_.take(sentence, frame.arrival);
  } else if (frame.protocol == gnss::Protocol::kUbx) {
    const auto message = gnss::ubx::decode(gnss::ubx::packet_of(frame));
    if (!message) return;
    receiver_.take(*message, frame.arrival, reports);
    sky_.take(*message, frame.arrival);
  }
  report(reports);
}

void GnssDriver::report(const gnss::Reports& reports) {
  for (const gnss::Report& report : reports) {
    if (const auto* weeks = std::get_if<gnss::WeekRollover>(&report)) {
      spdlog::warn("{}: the receiver's date is {} weeks early; put right", options_.device,
                   weeks->weeks);
      continue;
    }
    if (const auto* label = std::get_if<SecondLabel>(&report)) {
      ++(label->trusted ? status_.labels_trusted : status_.labels_untrusted);
    }
    std::visit(
        [this](const auto& r) {
          if constexpr (std::is_constructible_v<Observation, decltype(r)>) observe_(r);
        },
        report);
  }
}

void GnssDriver::tick(HostTime now) {
  if (!line_.is_open()) return;
  watch_rate(now);
  watch_configuration(now);
}

void GnssDriver::watch_configuration(HostTime now) {
  if (!configurator_) return;
  line_.send(configurator_->tick(now));
  if (configurator_->state() != gnss::Configurator::State::kDone) return;
  const gnss::ReceiverIdentity& identity = configurator_->identity();
  if (!std::exchange(configuration_told_, true)) {
    ubx_time_at_ = now;
    status_.model = identity.model;
    status_.configured = configurator_->satisfied();
    if (identity.software.empty()) {
      spdlog::info("{}: no u-blox receiver has answered; what comes is taken as it is",
                   options_.device);
      return configurator_.reset();
    }
    const std::string needed = list_unmet(configurator_->unmet(), true);
    const std::string wanted = list_unmet(configurator_->unmet(), false);
    if (!needed.empty()) spdlog::warn("{}: the receiver does not do {}", options_.device, needed);
    spdlog::info("{}: u-blox {} {}, {}{}", options_.device, identity.model, identity.software,
                 needed.empty() ? "set up" : "set up in part",
                 wanted.empty() ? "" : "; it has no " + wanted);
  }
  if (status_.configured && now - *ubx_time_at_ > kSettingLost && frame_at_ &&
      now - *frame_at_ < kSettingLost) {
    spdlog::warn("{}: the receiver has lost its setting; setting it up again", options_.device);
    configure(now);
  }
}

void GnssDriver::watch_rate_from(HostTime now) {
  rate_since_ = now;
  octets_then_ = line_.counts().octets_received;
}

// Octets come, and no message among them.
void GnssDriver::watch_rate(HostTime now) {
  if (frame_at_ && now - *frame_at_ < kTryRate) {
    watch_rate_from(now);
    if (std::exchange(rate_told_, false)) configure(now);
    return;
  }
  const std::uint64_t octets = line_.counts().octets_received - octets_then_;
  if (now - rate_since_ < kTryRate || octets < kEnoughOctets) return;
  if (!std::exchange(rate_told_, true)) {
    spdlog::warn("{}: {} octets that are no message of a receiver{}", options_.device, octets,
                 options_.baud != 0 ? ": is baud = " + std::to_string(options_.baud) + " right?"
                                    : "; trying other rates");
  }
  watch_rate_from(now);
  if (options_.baud != 0) return;
  rate_ = (rate_ + 1) % kRates.size();
  line_.set_baud(kRates[rate_]);
}

GnssStatus GnssDriver::status() const {
  GnssStatus status = status_;
  status.line = line_.counts();
  status.stream = stream_.counts();
  status.sky = sky_.sky(host_now());
  return status;
}

}  // namespace timeball::refclock
