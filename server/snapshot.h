// What the daemon knows of itself at one moment: the same numbers for a scrape, for the status and
// for the alarms.
//
// Thread rules: taking one calls the sources, on the control thread. Values; they point at the
// shards' counters, which outlive them.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/net/xdp_interface.h"
#include "common/time/clock_state.h"
#include "common/time/time_scales.h"
#include "refclock/refclock.h"
#include "server/busiest_clients.h"
#include "server/certificate_store.h"
#include "server/ke_service.h"
#include "server/key_provider.h"
#include "server/process_usage.h"
#include "server/shard.h"

namespace timeball::server {

struct ProcessSample {
  std::string host;                    // its name
  Duration uptime{};                   // of the daemon
  std::uint64_t unlocked_secrets = 0;  // blocks of key memory that may get into swap
  ProcessUsage usage{};
};

struct KeSample {
  std::array<std::uint64_t, kKeOutcomes> outcomes{};  // by KeOutcome
  KeHandshakeTimes handshakes;
  unsigned open_connections = 0;
};

struct KeysSample {
  MasterKeyStatus status;
  MonotonicTime now;
  std::vector<std::uint32_t> ids;  // of the ring: next, current, then older ones
};

struct ClockSample {
  ClockState state;  // as it may be said now (ClockState::at)
  KernelTime now;

  // What ClockState promises.
  Duration error_bound() const { return state.root_dispersion(now) + state.root_delay / 2; }
};

struct Quantiles {
  double p50_s = 0, p99_s = 0;
};

// Of the last seconds and minutes (server/history.h).
struct Recent {
  double requests_per_s = 0;  // NTP, whatever became of them
  double nts_per_s = 0;       // answered with NTS
  double handshakes_per_s = 0;
  std::uint64_t ke_turned_away = 0;   // NTS-KE connections refused or evicted
  std::uint64_t replies_refused = 0;  // by the kernel
  std::optional<Quantiles> t3_to_wire;
  std::optional<Quantiles> handshake;
};

// What there is no source for is left out.
struct Snapshot {
  std::optional<ProcessSample> process;
  std::vector<const ShardCounters*> shards;
  std::vector<net::XdpStatus> xdp;  // an interface each
  std::optional<KeSample> nts_ke;
  std::optional<KeysSample> keys;
  std::optional<CertificatesStatus> certificates;
  std::optional<ClockSample> clock;
  std::optional<refclock::RackStatus> rack;
  Recent recent;
};

// Where the numbers come from.
struct MetricSources {
  std::function<ProcessSample()> process;
  std::function<std::vector<const ShardCounters*>()> shards;
  std::function<std::vector<net::XdpStatus>()> xdp;
  std::function<KeSample()> nts_ke;
  std::function<KeysSample()> keys;
  std::function<CertificatesStatus()> certificates;
  std::function<ClockSample()> clock;
  std::function<refclock::RackStatus()> rack;
  std::function<Recent()> recent;
  std::function<std::vector<BusyClient>()>
      clients;  // asked when somebody wants them; in no snapshot
};

Snapshot take_snapshot(const MetricSources& sources);

// Now; nothing: time is not known.
std::optional<UtcTime> utc_of(const Snapshot& snapshot);
// How wrong the time is at most: as served, or, when nothing is, as the reference clocks know.
std::optional<Duration> error_bound_of(const Snapshot& snapshot);

}  // namespace timeball::server
