// Which system calls the process may still make, by what it does: a seccomp filter, for good and
// for every thread. What is not in the table (server/system_calls.cc) ends the process.
//
// Load it when no other thread runs. no_new_privs is set on the way.
#pragma once

#include <cstddef>

namespace timeball::server {

// What the process does; bits.
using Duties = unsigned;
inline constexpr Duties kServes = 1 << 0;  // any daemon: threads, memory, time, log, reading files
inline constexpr Duties kNtp = 1 << 1;     // datagrams
inline constexpr Duties kStreams =
    1 << 2;  // NTS-KE, /metrics, the admin socket: TCP and Unix streams
inline constexpr Duties kConnects = 1 << 3;  // etcd, gpsd: makes connections, looks names up
inline constexpr Duties kStores = 1 << 4;    // the key file
inline constexpr Duties kDevices = 1
                                   << 5;  // serial lines, PPS, PTP clocks, other programs' samples
inline constexpr Duties kKernelClock = 1 << 6;  // reads the kernel's clock state
inline constexpr Duties kSimulation = 1 << 7;   // a pulse from refclock-sim's socket
inline constexpr Duties kNotifies = 1 << 8;     // systemd's notify socket
inline constexpr Duties kSetsClock = 1 << 9;    // the clock helper: this alone
inline constexpr Duties kSanitizer = 1 << 10;   // what sanitizers do besides; by the build alone
inline constexpr Duties kXdp = 1 << 11;         // AF_XDP: asks for the host's addresses
inline constexpr Duties kAdmits = 1 << 12;      // the clock helper as a service: and connections
inline constexpr Duties kSteers = 1 << 13;      // connects to that one

enum class Violation {
  kEnds,    // one line on standard error with the call's name, then SIGSYS
  kLogged,  // allowed, and in the kernel's audit log
};

// Returns how many rules there are. Throws std::runtime_error with one sentence when the kernel has
// no seccomp.
std::size_t filter_system_calls(Duties duties, Violation violation);

// How a violation's line begins.
inline constexpr const char* kViolation = "timeballd: sandbox: ";

}  // namespace timeball::server
