// How `timeball query` says what it found: lines of text as it goes, or one JSON object at the end.
// Pure; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "common/ntp/packet.h"
#include "server/query.h"

namespace timeball::server {

// The lines about one step, whose facts are in the report; each ends with a newline.
std::string step_text(const QueryReport& report, QueryStep step);
// The last line: authentic, or cause and cure.
std::string conclusion_text(const QueryReport& report);
// One object, one line, without a newline. Durations are integers of nanoseconds.
std::string report_json(const QueryReport& report);

// "PPS" for stratum 1 (and 0: a kiss code), an address or a hash in dotted decimal for the others.
std::string reference_text(const ntp::Header& header);

}  // namespace timeball::server
