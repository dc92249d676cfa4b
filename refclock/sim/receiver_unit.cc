#include "refclock/sim/receiver_unit.h"

#include <algorithm>
#include <cmath>

#include "common/time/ntp_timestamp.h"

namespace timeball::refclock::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration kToConfirm = 5s;
constexpr Duration kSilentAfterReboot = 2s;
constexpr Duration kFixAfterReboot = 10s;
constexpr Duration kOctetTime{10'000'000'000 / 115'200};
constexpr std::size_t kChunk = 64;  // octets that a host sees at a time

SimTime second_of(SimTime t) {
  return {t.ns / kNsPerSecond * kNsPerSecond};
}

}  // namespace

ReceiverUnit::ReceiverUnit(ReceiverKind kind, SimTime now, Random random, Agenda& agenda,
                           const LeapCalendar& calendar, std::function<void(SimTime)> pulse)
    : kind_(kind),
      random_(random),
      agenda_(agenda),
      calendar_(calendar),
      on_pulse_(std::move(pulse)),
      noise_(GnssContract{}, random_, false),
      line_(kind == ReceiverKind::kUblox9 ? UbloxGeneration::k9 : UbloxGeneration::k8),
      silent_until_(now),
      fix_from_(now),
      confirmed_from_(now + kToConfirm) {
  const SimTime first = second_of(now) + 2s;
  noise_.advance(random_, first.ns / kNsPerSecond);
  agenda_.at(first - 500ms, [this, first] { prepare(first); });
}

void ReceiverUnit::prepare(SimTime second) {
  noise_.faults.spoof_ns = state.spoof_ns;
  state.spoof_ns = std::clamp(state.spoof_ns + state.walk_ns_per_s, -kMostSpoofNs, kMostSpoofNs);
  const SimTime at = second + Duration(std::llround(noise_.pulse_ns()));
  agenda_.at(at, [this, second, at] { pulse(second, at); });
}

void ReceiverUnit::pulse(SimTime second, SimTime at) {
  const SimTime next = second + 1s;
  noise_.advance(random_, next.ns / kNsPerSecond);
  agenda_.at(next - 500ms, [this, next] { prepare(next); });
  const SimTime speaks = at + Duration(std::llround(random_.uniform(15e6, 45e6)));
  agenda_.at(speaks, [this, second, speaks] { speak(second, speaks); });
  if (fix(at)) on_pulse_(at);
}

void ReceiverUnit::speak(SimTime second, SimTime now) {
  // Whether anybody hears it or not, a second of its survey has passed.
  auto octets = line_.epoch(calendar_.utc(second), *noise_.quantisation_ps(), sky(second, now));
  if (now >= silent_until_) send(now, std::move(octets));
}

UbloxSky ReceiverUnit::sky(SimTime second, SimTime now) const {
  UbloxSky sky;
  sky.fix = fix(now);
  sky.time_confirmed = time_confirmed(now);
  if (!sky.fix) sky.satellites = 0;
  if (!sky.fix) sky.time_accuracy = 1s;
  if (state.jammed) {
    sky.satellites = std::min(sky.satellites, 5U);
    sky.time_accuracy = std::max<Duration>(sky.time_accuracy, 200ns);
    sky.jamming = Threat::kCritical;
    sky.jamming_indicator = 210;
  }
  if (state.suspects) sky.spoofing = Threat::kWarning;
  sky.antenna = state.antenna;
  sky.moved_m = state.moved_m;
  sky.gps_minus_utc_s = calendar_.gps_minus_utc_s(second);
  sky.leap = calendar_.announced(second);
  sky.leap_event = calendar_.event();
  sky.leap_second = calendar_.in_leap_second(second);
  sky.label_error_s = state.label_error_s;
  return sky;
}

void ReceiverUnit::set_sky(SimTime now, bool sky) {
  if (sky && !state.sky) {
    fix_from_ = std::max(fix_from_, now);
    confirmed_from_ = fix_from_ + kToConfirm;
  }
  state.sky = sky;
}

void ReceiverUnit::reboot(SimTime now) {
  line_.restart();
  out_.clear();
  silent_until_ = now + kSilentAfterReboot;
  fix_from_ = now + kFixAfterReboot;
  confirmed_from_ = fix_from_ + kToConfirm;
}

void ReceiverUnit::write(SimTime now, Bytes octets) {
  if (kind_ == ReceiverKind::kNmea || now < silent_until_ || garbled(now)) return;
  send(now, line_.receive(octets));
}

void ReceiverUnit::send(SimTime now, std::vector<std::uint8_t> octets) {
  if (garbled(now)) {
    for (std::uint8_t& octet : octets) octet = static_cast<std::uint8_t>(random_.bits());
  }
  SimTime leaves = out_.empty() ? now : std::max(now, out_.back().leaves);
  for (auto it = octets.begin(); it != octets.end();) {
    const auto end = it + std::min<std::ptrdiff_t>(kChunk, octets.end() - it);
    leaves = leaves + kOctetTime * (end - it);
    out_.push_back({leaves, {it, end}});
    it = end;
  }
}

std::vector<std::uint8_t> ReceiverUnit::read(SimTime now) {
  std::vector<std::uint8_t> left;
  while (!out_.empty() && out_.front().leaves <= now) {
    left.insert(left.end(), out_.front().octets.begin(), out_.front().octets.end());
    out_.pop_front();
  }
  return left;
}

std::optional<SimTime> ReceiverUnit::next_octets() const {
  return out_.empty() ? std::nullopt : std::optional(out_.front().leaves);
}

}  // namespace timeball::refclock::sim
