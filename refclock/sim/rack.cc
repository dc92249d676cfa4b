#include "refclock/sim/rack.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace timeball::refclock::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration kGnssWidth = 100ms;
constexpr Duration kRubidiumWidth = 10us;
constexpr Duration kAtMost = 1s;  // between two advances, so that what takes time does

}  // namespace

Rack::Rack(const RackOptions& options, SimTime start)
    : options_(options), random_(options.seed), now_(start) {
  if (options.receiver != ReceiverKind::kNone) {
    receiver_ =
        std::make_unique<ReceiverUnit>(options.receiver, start, Random(random_.bits()), agenda_,
                                       calendar_, [this](SimTime at) { gnss_pulse(at); });
  }
  if (options.rubidium != RubidiumKind::kNone) {
    rubidium_ = std::make_unique<RubidiumUnit>(options.rubidium, options.warm_up, start,
                                               Random(random_.bits()));
  }
}

bool Rack::has(Port port) const {
  const bool of_receiver = port == Port::kGnss || port == Port::kGnssPulse;
  return of_receiver ? receiver_ != nullptr : rubidium_ != nullptr;
}

SimTime Rack::next() const {
  SimTime next = now_ + kAtMost;
  const auto sooner = [&next](std::optional<SimTime> t) {
    if (t) next = std::min(next, *t);
  };
  sooner(agenda_.next());
  if (receiver_) sooner(receiver_->next_octets());
  if (rubidium_) sooner(rubidium_->next_pulse());
  if (rubidium_) sooner(rubidium_->model().next());
  return next;
}

void Rack::advance(SimTime now) {
  while (true) {
    const auto entry = agenda_.next();
    const auto pulse = rubidium_ ? std::optional(rubidium_->next_pulse()) : std::nullopt;
    const bool pulse_first = pulse && (!entry || *pulse < *entry);
    const auto first = pulse_first ? pulse : entry;
    if (!first || *first > now) break;
    now_ = std::max(now_, *first);
    if (rubidium_) rubidium_->advance(now_);
    if (!pulse_first) {
      agenda_.run_next();
    } else if (const auto at = rubidium_->take_pulse()) {
      add_pulse(Port::kRubidiumPulse, *at, kRubidiumWidth);
    }
  }
  now_ = std::max(now_, now);
  if (rubidium_) rubidium_->advance(now_);
}

void Rack::gnss_pulse(SimTime at) {
  if (rubidium_) rubidium_->model().pulse_in();
  add_pulse(Port::kGnssPulse, at, kGnssWidth);
}

void Rack::add_pulse(Port port, SimTime leading, Duration width) {
  ++counts_[index(port)].sent;
  add_edge(port, true, leading);
  add_edge(port, false, leading + width);
}

void Rack::add_edge(Port port, bool leading, SimTime at) {
  const SimTime stamp = at + latency() + jumped_;
  agenda_.at(stamp, [this, port, leading, stamp] {
    if (plugged(port)) edges_.push_back({port, leading, stamp});
  });
}

Duration Rack::latency() {
  const auto most = static_cast<double>(options_.irq_latency.count());
  return Duration(std::llround(random_.uniform(most / 5, most)));
}

std::vector<StampedEdge> Rack::take_edges() {
  return std::exchange(edges_, {});
}

void Rack::write(Port line, Bytes octets) {
  if (!plugged(line)) return;
  counts_[index(line)].received += octets.size();
  if (line == Port::kGnss) receiver_->write(now_, octets);
  if (line == Port::kRubidium) rubidium_->model().write(octets);
}

std::vector<std::uint8_t> Rack::read(Port line) {
  if (!has(line)) return {};
  auto octets = line == Port::kGnss ? receiver_->read(now_) : rubidium_->model().read();
  counts_[index(line)].sent += octets.size();
  if (!plugged(line)) octets.clear();
  return octets;
}

}  // namespace timeball::refclock::sim
