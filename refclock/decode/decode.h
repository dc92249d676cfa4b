// What refclock-decode prints of a recorded log: one JSON object for each message, with what was
// refused and why. A function for each protocol; the table of them is in refclock_decode.cc.
//
// Every object has "offset", its first octet in the log; a refusal has "refused" (what it looked
// like), "why" and "octets".
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <istream>

namespace timeball::refclock::decode {

using Print = std::function<void(const boost::json::object&)>;

// NMEA, UBX and RTCM 3, as one stream; gpsd's comments are told apart. The number of messages that
// are not comments.
std::uint64_t decode_gnss(std::istream& log, const Print& print);

}  // namespace timeball::refclock::decode
