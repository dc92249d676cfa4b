#include "refclock/sim/rubidium_model.h"

#include <algorithm>
#include <cmath>

#include "common/time/ntp_timestamp.h"

namespace timeball::refclock::sim {
namespace {

constexpr std::size_t kFifo = 14;  // octets that a UART gathers before it interrupts

}  // namespace

void RubidiumModel::advance(SimTime now, double free_phase_s) {
  if (!powered_) {
    powered_ = true;
    now_ = now;
    free_phase_s_ = free_phase_s;
    power_cycle(free_phase_s);
  }
  offset_s_ += added_frequency() * std::chrono::duration<double>(now - now_).count();
  offset_s_ -= std::round(offset_s_);
  now_ = now;
  free_phase_s_ = free_phase_s;
  time_passed();
}

void RubidiumModel::pulse_in() {
  const double second_ns = static_cast<double>(now_.ns % kNsPerSecond) + phase_s() * 1e9;
  tagged(second_ns - std::floor(second_ns / 1e9) * 1e9);
}

void RubidiumModel::write(Bytes octets) {
  if (now_ < deaf_until_) return;
  for (const std::uint8_t octet : octets) octet_in(static_cast<char>(octet));
}

std::vector<std::uint8_t> RubidiumModel::read() {
  std::vector<std::uint8_t> left;
  while (now_ >= stalled_until_ && !out_.empty() && out_.front().leaves <= now_) {
    left.push_back(out_.front().value);
    out_.pop_front();
  }
  return left;
}

std::optional<SimTime> RubidiumModel::next() const {
  if (out_.empty()) return std::nullopt;
  const std::size_t last = std::min<std::size_t>(out_.size(), kFifo) - 1;
  return std::max(out_[last].leaves, stalled_until_);
}

double RubidiumModel::phase_s() const {
  const double phase = free_phase_s_ + offset_s_;
  return phase - std::floor(phase + 0.5);
}

void RubidiumModel::power_cycle(double phase_s) {
  offset_s_ = phase_s - free_phase_s_;
  powered_at_ = now_;
  locks_at_ = now_ + warm_up_;
  out_.clear();
  powered_up();
}

void RubidiumModel::unlock(Duration how_long) {
  unlocked_until_ = now_ + how_long;
}

void RubidiumModel::stall(Duration how_long) {
  stalled_until_ = now_ + how_long;
}

void RubidiumModel::deafen(Duration how_long) {
  deaf_until_ = now_ + how_long;
}

void RubidiumModel::noise(Bytes octets) {
  send({reinterpret_cast<const char*>(octets.data()), octets.size()});
}

void RubidiumModel::send(std::string_view text) {
  SimTime leaves = out_.empty() ? now_ : std::max(now_, out_.back().leaves);
  for (const char octet : text) {
    leaves = leaves + octet_time_;
    out_.push_back({leaves, static_cast<std::uint8_t>(octet)});
  }
}

}  // namespace timeball::refclock::sim
