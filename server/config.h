// The configuration in force, as one value. Every member is one row of the settings table
// (server/settings.cc), which holds its TOML name, type, range, default, unit and help.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/log.h"
#include "common/crypto/aead.h"
#include "common/net/address.h"
#include "common/net/udp_batch.h"

namespace timeball::server {

// Which shard gets a request: by its addresses and ports, or the one on the CPU it came in on.
enum class Steering : std::uint8_t { kFlow, kCpu };

struct NtpConfig {
  std::vector<net::Endpoint> listen;
  unsigned shards = 0;  // 0: one per usable CPU
  net::IoBackend io = net::IoBackend::kAuto;
  Steering steering = Steering::kFlow;
  bool symmetric_active = false;  // also answer mode 1, with mode 2
  bool require_nts = false;       // leave requests without NTS unanswered

  bool operator==(const NtpConfig&) const = default;
};

struct NtsKeConfig {
  bool enabled = true;
  std::vector<net::Endpoint> listen;
  std::string certificate;  // PEM chain, leaf first
  std::string private_key;  // PEM
  unsigned threads = 0;     // 0: one per usable CPU
  std::vector<crypto::AeadId> aeads;
  bool gcm_siv_without_record_1024 = false;
  std::string server;      // NTS-KE record 6; empty: not sent
  std::uint16_t port = 0;  // NTS-KE record 7; 0: sent only when NTP is not on 123
  std::chrono::nanoseconds deadline{};
  unsigned max_connections = 0;
  unsigned max_connections_per_address = 0;

  bool operator==(const NtsKeConfig&) const = default;
};

struct CryptoConfig {
  crypto::Implementation implementation = crypto::Implementation::kAuto;

  bool operator==(const CryptoConfig&) const = default;
};

struct KeysConfig {
  std::string file;  // empty: in memory only, cookies do not survive a restart
  std::chrono::nanoseconds rotation{};
  unsigned keep = 0;  // older generations that still open cookies

  bool operator==(const KeysConfig&) const = default;
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

struct RefclockConfig {
  std::string driver;
  bool trust = false;    // serve the kernel's clock even when it says it is not synchronised
  unsigned stratum = 0;  // the kernel does not tell its own
  std::chrono::nanoseconds
      error_bound{};  // with trust: how wrong that clock may be, as the operator says

  bool operator==(const RefclockConfig&) const = default;
};

struct AdminConfig {
  std::vector<net::Endpoint> listen;  // none or one; loopback unless told otherwise

  bool operator==(const AdminConfig&) const = default;
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
  AccessConfig access;
  RateLimitConfig rate_limit;
  std::vector<RefclockConfig> refclocks;
  AdminConfig admin;
  LogConfig log;

  bool operator==(const Config&) const = default;
};

}  // namespace timeball::server
