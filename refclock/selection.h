// Which of several sources tell the truth: RFC 5905, section 11.2.1, on hard intervals.
//
// Each source says that the truth lies in its interval. The point that most intervals share is
// where it is; sources whose intervals hold that point are truechimers, the others falsetickers.
// More than half must agree, or nothing is believed. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "refclock/interval.h"

namespace timeball::refclock {

struct Selection {
  Interval agreed;                // what all truechimers have in common
  std::uint32_t truechimers = 0;  // bit n: source n
};

// At most 32 sources; empty intervals are nobody's. Nothing when no majority agrees.
std::optional<Selection> select(std::span<const Interval> sources);

}  // namespace timeball::refclock
