#include "refclock/threats.h"

#include <cmath>

namespace timeball::refclock {

void Threats::hear(const GnssCondition& condition) {
  const bool jammed = condition.jamming == Threat::kCritical;
  const bool spoofed =
      condition.spoofing == Threat::kWarning || condition.spoofing == Threat::kCritical;
  const bool moved = condition.position_offset_m &&
                     !(std::abs(*condition.position_offset_m) <= limits_.position_m);
  standing_ = {};
  standing_.set(Alarm::kJamming, jammed || condition.jamming == Threat::kWarning);
  standing_.set(Alarm::kSpoofing, spoofed);
  standing_.set(Alarm::kPosition, moved);
  standing_.set(Alarm::kAntenna,
                condition.antenna == Antenna::kShort || condition.antenna == Antenna::kOpen);
  quiet_ = !jammed && !spoofed && !moved;
  if (jammed) report(Alarm::kJamming, condition.at);
  if (spoofed) report(Alarm::kSpoofing, condition.at);
  if (moved) report(Alarm::kPosition, condition.at);
}

void Threats::report(Alarm found, HostTime at) {
  found_.set(found);
  if (found == Alarm::kPhaseSlope && !slope_since_) slope_since_ = at;
  excluded_ = true;
  clean_since_.reset();
}

bool Threats::clean(HostTime now) {
  if (!excluded_ || !quiet_) return false;
  if (slope_since_ && now - *slope_since_ > limits_.slope_doubt) return false;
  if (!clean_since_ || now - last_clean_ > limits_.clean_gap) clean_since_ = now;
  last_clean_ = now;
  return now - *clean_since_ >= limits_.clean_time;
}

void Threats::readmit() {
  excluded_ = false;
  found_ = {};
  clean_since_.reset();
  slope_since_.reset();
}

}  // namespace timeball::refclock
