// A poller and a simulated oscillator on one line, in virtual time: what tests of both share.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/time/ntp_timestamp.h"
#include "refclock/rubidium/poller.h"
#include "refclock/sim/rubidium_model.h"

namespace timeball::refclock {

inline Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline std::string text_of(const std::vector<std::uint8_t>& octets) {
  return {octets.begin(), octets.end()};
}

inline double seconds(sim::SimTime t) {
  return static_cast<double>(t.ns) / 1e9;
}
inline double nanoseconds(Duration d) {
  return static_cast<double>(d.count());
}

class Rack {
 public:
  Rack(rubidium::Poller p, sim::RubidiumModel& m) : poller(std::move(p)), model(m) {
    model.advance(now, free_phase(now));
  }

  // Runs until the time has come or `done` says so, which is asked after every report. True when
  // it did.
  bool run(
      Duration how_long, const std::function<bool()>& done = [] { return false; }) {
    const sim::SimTime end = now + how_long;
    while (now < end) {
      now = std::max(now + Duration(1), std::min({end, next_pulse_, wake()}));
      model.advance(now, free_phase(now));
      if (now == next_pulse_) {
        if (pulse_in) model.pulse_in();
        next_pulse_ = next_pulse_ + std::chrono::seconds(1);
      }
      exchange();
      if (done()) return true;
    }
    return false;
  }

  std::size_t count(rubidium::Event::Kind kind) const {
    return static_cast<std::size_t>(std::count_if(
        events.begin(), events.end(), [&](const auto& event) { return event.kind == kind; }));
  }
  bool has(rubidium::Event::Kind kind, std::string_view detail) const {
    return std::any_of(events.begin(), events.end(), [&](const auto& event) {
      return event.kind == kind && event.detail.find(detail) != std::string::npos;
    });
  }
  std::optional<double> reading(std::string_view name) const {
    for (auto it = readings.rbegin(); it != readings.rend(); ++it) {
      if (it->name == name) return it->value;
    }
    return std::nullopt;
  }
  // Forgets what has been said, but for what the last condition was.
  void forget() {
    conditions.clear();
    readings.clear();
    events.clear();
    written.clear();
  }

  rubidium::Poller poller;
  sim::RubidiumModel& model;
  sim::SimTime now;
  bool pulse_in = true;
  bool plugged = true;
  std::function<double(sim::SimTime)> free_phase = [](sim::SimTime) { return 0.0; };

  OscillatorCondition last;
  std::optional<Duration> phase;  // the last that was told
  std::vector<OscillatorCondition> conditions;
  std::vector<rubidium::Reading> readings;
  std::vector<rubidium::Event> events;
  std::optional<double> steering;
  std::string written;

 private:
  sim::SimTime wake() const {
    const sim::SimTime host{poller.next().ns};
    const auto device = model.next();
    return device ? std::min(host, *device) : host;
  }
  void exchange() {
    std::vector<std::uint8_t> arrived = model.read();
    if (!plugged) arrived.clear();
    const rubidium::Report report = poller.step(HostTime{now.ns}, arrived);
    if (plugged) model.write(report.write);
    written += text_of(report.write);
    for (const auto& condition : report.conditions) {
      conditions.push_back(last = condition);
      if (condition.phase) phase = condition.phase;
    }
    readings.insert(readings.end(), report.readings.begin(), report.readings.end());
    events.insert(events.end(), report.events.begin(), report.events.end());
    if (report.steering) steering = report.steering;
  }

  sim::SimTime next_pulse_{kNsPerSecond};
};

// A simulated oscillator and its poller.
template <class Device, rubidium::Model kModel>
struct DeviceRack {
  explicit DeviceRack(rubidium::Wiring wiring = rubidium::Wiring::kPaperClock,
                      typename Device::Options options = {})
      : model(options), rack(*rubidium::make_poller({kModel, wiring, 0}), model) {}
  Device model;
  Rack rack;
};

}  // namespace timeball::refclock
