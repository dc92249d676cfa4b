// The configuration in force, as one value. Every member is one row of the settings table
// (server/settings.cc), which holds its TOML name, type, range, default, unit and help.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/log.h"
#include "common/crypto/aead.h"
#include "common/net/address.h"
#include "common/net/udp_batch.h"
#include "common/net/xdp_interface.h"
#include "common/nts/ke_negotiation.h"

namespace timeball::server {

// Which shard gets a request: by its addresses and ports, or the one on the CPU it came in on.
enum class Steering : std::uint8_t { kFlow, kCpu };

struct NtpConfig {
  std::vector<net::Endpoint> listen;  // none: NTS-KE only
  unsigned shards = 0;                // 0: one per usable CPU
  net::IoBackend io = net::IoBackend::kAuto;
  std::vector<std::string> xdp_interfaces;  // with kXdp
  net::XdpMode xdp_mode = net::XdpMode::kAuto;
  Steering steering = Steering::kFlow;
  bool symmetric_active = false;   // also answer mode 1, with mode 2
  unsigned realtime_priority = 0;  // SCHED_FIFO; 0: like any other thread
  bool require_nts = false;        // leave requests without NTS unanswered

  bool operator==(const NtpConfig&) const = default;
};

struct NtsKeConfig {
  bool enabled = true;
  std::vector<net::Endpoint> listen;
  // PEM files, as many of one as of the other: chains, leaf first; their keys.
  std::vector<std::string> certificates;
  std::vector<std::string> private_keys;
  unsigned threads = 0;  // 0: one per usable CPU
  unsigned nice = 0;
  std::vector<crypto::AeadId> aeads;
  bool gcm_siv_without_record_1024 = false;
  std::vector<nts::NtpServer> servers;  // NTS-KE record 6; empty: not sent
  std::uint16_t port = 0;               // NTS-KE record 7; 0: sent only when NTP is not on 123
  std::chrono::nanoseconds deadline{};
  unsigned max_connections = 0;
  unsigned max_connections_per_address = 0;
  unsigned ipv4_prefix = 32;  // what counts as one address
  unsigned ipv6_prefix = 56;
  unsigned rate = 0;  // connections a second, in all; 0: no limit
  unsigned burst = 1;
  unsigned rate_per_address = 0;  // 0: no limit
  unsigned burst_per_address = 1;
  std::chrono::nanoseconds busy_after{};  // of waiting, rate_per_address is in force

  bool operator==(const NtsKeConfig&) const = default;
};

struct CryptoConfig {
  crypto::Implementation implementation = crypto::Implementation::kAuto;

  bool operator==(const CryptoConfig&) const = default;
};

enum class KeysProvider : std::uint8_t { kFile, kEtcd };

struct KeysConfig {
  KeysProvider provider = KeysProvider::kFile;
  std::string file;  // empty: in memory only, cookies do not survive a restart
  std::chrono::nanoseconds rotation{};
  unsigned keep = 0;  // older generations that still open cookies

  bool operator==(const KeysConfig&) const = default;
};

// A cluster that shares its master keys.
struct EtcdConfig {
  std::vector<std::string> endpoints;  // HOST:PORT
  std::string cluster;                 // its name
  std::string key_file;                // cluster keys; or "credential:NAME" (server/file.h)
  std::string ca;                      // PEM; empty: no TLS
  std::string certificate;             // PEM chain, of the client; empty: none
  std::string private_key;             // PEM
  std::string user;                    // empty: no authentication
  std::string password_file;

  bool operator==(const EtcdConfig&) const = default;
};

struct AccessConfig {
  std::vector<net::IpPrefix> allow;  // empty: everybody
  std::vector<net::IpPrefix> deny;   // wins over allow

  bool operator==(const AccessConfig&) const = default;
};

enum class RateAction : std::uint8_t { kDrop, kKiss };

struct RateLimitConfig {
  bool enabled = false;
  std::chrono::nanoseconds interval{};  // one request each, per prefix, on average
  unsigned burst = 0;
  RateAction action = RateAction::kDrop;  // for requests without NTS; NTS ones are dropped
  unsigned let_through = 0;               // one in this many over the limit is served; 0: none
  unsigned ipv4_prefix = 32;
  unsigned ipv6_prefix = 64;
  unsigned table_size = 0;           // prefixes tracked per shard
  unsigned refusals_per_second = 0;  // NTS NAKs and kisses, per shard, always in force

  bool operator==(const RateLimitConfig&) const = default;
};

enum class RefclockDriver : std::uint8_t {
  kSystem,
  kGnss,
  kGpsd,
  kPps,
  kPhc,
  kRubidium,
  kShm,
  kSock
};

// WGS 84.
struct Position {
  double latitude_deg = 0;
  double longitude_deg = 0;
  double height_m = 0;  // above the ellipsoid

  bool operator==(const Position&) const = default;
};

struct RefclockConfig {
  RefclockDriver driver = RefclockDriver::kSystem;
  bool trust = false;    // serve the kernel's clock even when it says it is not synchronised
  unsigned stratum = 0;  // the kernel does not tell its own
  std::chrono::nanoseconds error_bound{};  // how wrong that time may be, as the operator says
  std::string device;
  unsigned baud = 0;                 // 0: found by trying, the oscillator's own
  bool configure = true;             // set a u-blox receiver up
  std::optional<Position> position;  // of the antenna; nothing: the receiver surveys it
  std::chrono::nanoseconds cable_delay{};
  std::chrono::nanoseconds settling{};  // until plain NMEA is believed
  std::vector<net::Endpoint> gpsd;      // one
  std::string pulse;                    // whose it is: "gnss" or "rubidium"
  bool clear_edge = false;              // the pulse begins with the clear edge
  std::chrono::nanoseconds latency{};   // stamps come late by at most this
  unsigned channel = 0;                 // of a PTP clock
  int pin = -1;                         // of a PTP clock; -1: it has none to set
  std::string model;                    // of oscillator
  bool self_disciplined = false;        // by the oscillator's own loop
  unsigned unit = 0;                    // of shared memory

  bool operator==(const RefclockConfig&) const = default;
};

// Software: the kernel's clock goes as it goes. System: it is steered, too.
enum class ClockMode : std::uint8_t { kSoftware, kSystem };

// What is made of the reference clocks' hardware.
struct ClockConfig {
  ClockMode mode = ClockMode::kSoftware;
  std::string helper;                         // of system mode: its socket; empty: a child's
  std::chrono::nanoseconds locked_bound{};    // 0: what the hardware allows
  std::chrono::nanoseconds holdover_limit{};  // served until the error bound exceeds it
  std::string reference_id;
  std::string leap_file;  // leap-seconds.list; empty: none

  bool operator==(const ClockConfig&) const = default;
};

struct AdminConfig {
  std::vector<net::Endpoint> listen;       // none or one; loopback unless told otherwise
  std::string socket;                      // for the operator's commands; empty: none
  std::chrono::nanoseconds ready_bound{};  // /readyz: the error bound is at most this
  std::string token_file;                  // empty: whoever reaches it may read
  std::string certificate;                 // PEM chain; empty: no TLS
  std::string private_key;                 // PEM
  std::vector<std::string> names;          // of DNS, by which it is asked for besides the host's
  unsigned clients = 0;                    // the busiest are shown; 0: none

  bool operator==(const AdminConfig&) const = default;
};

enum class SandboxMode : std::uint8_t { kOn, kLog, kOff };

// What the process is to the rest of the machine.
struct ProcessConfig {
  std::string user;   // when started as root: who it becomes; "root": nobody else
  std::string group;  // empty: the user's own
  SandboxMode sandbox = SandboxMode::kOn;

  bool operator==(const ProcessConfig&) const = default;
};

struct LogConfig {
  std::string level;
  LogFormat format = LogFormat::kText;

  bool operator==(const LogConfig&) const = default;
};

struct Config {
  NtpConfig ntp;
  NtsKeConfig nts_ke;
  CryptoConfig crypto;
  KeysConfig keys;
  EtcdConfig etcd;
  AccessConfig access;
  RateLimitConfig rate_limit;
  std::vector<RefclockConfig> refclocks;
  ClockConfig clock;
  AdminConfig admin;
  ProcessConfig process;
  LogConfig log;

  bool operator==(const Config&) const = default;
};

}  // namespace timeball::server
