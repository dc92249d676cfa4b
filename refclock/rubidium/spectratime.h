// Spectratime (Orolia) SRO-100, LNRClok-1500, GRClok, iSync: the words of their serial line (9600
// 8N1, CR). Known from other programs and one recorded log, not from a unit of ours: see each name.
//
// Their phase comes in $PTNTA sentences, which the unit sends when it has been set up to (by hand,
// once: MAW0C0A); we set no MAW parameter, for we do not know which of them are kept in EEPROM.
// The rubidium's controller puts its sentences into the middle of its GNSS receiver's: a sentence
// begins anew at every '$'.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/time/time_scales.h"

namespace timeball::refclock::rubidium::spectratime {

inline constexpr double kSteeringStep = 5.12e-13;
inline constexpr int kSteeringLimit = 32'767;  // steps

// ST, and the status field of $PTNTA.
enum class Status : std::uint8_t {
  kWarmingUp,
  kTrackingSetUp,
  kTracking,
  kSynchronised,
  kFreeRun,
  kReferenceUnstable,
  kNoReference,
  kFreeze,
  kFactory,
  kSearchingLine
};

struct Phase {
  Duration in_after_out{};       // PPSREF - PPSOUT
  std::optional<Duration> fine;  // of the phase comparator, within half a microsecond
  Status status = Status::kWarmingUp;
};

std::optional<Status> parse_status(std::string_view answer);
// A whole sentence from '$' on; its checksum must be there and right.
std::optional<Phase> parse_ptnta(std::string_view sentence);
// FC's answer.
std::optional<int> parse_frequency(std::string_view answer);
int steering_word(double y);
std::string steering_command(int word);  // "FC+00012"

}  // namespace timeball::refclock::rubidium::spectratime
