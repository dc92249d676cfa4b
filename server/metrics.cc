#include "server/metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>

#include <utility>

#include "server/alarms.h"
#include "server/metrics_table.h"

namespace timeball::server {
namespace {

// ---- Shards.

template <Counter ShardCounters::*member>
void sum_of_shards(const Snapshot& snapshot, Series& series) {
  if (snapshot.shards.empty()) return;
  std::uint64_t sum = 0;
  for (const ShardCounters* shard : snapshot.shards) sum += (shard->*member).value();
  add(series, static_cast<double>(sum));
}

template <Counter ShardCounters::*member>
void each_shard(const Snapshot& snapshot, Series& series) {
  for (std::size_t i = 0; i < snapshot.shards.size(); ++i) {
    add(series, static_cast<double>((snapshot.shards[i]->*member).value()),
        {{"shard", std::to_string(i)}});
  }
}

void requests(const Snapshot& snapshot, Series& series) {
  if (snapshot.shards.empty()) return;
  for (std::size_t i = 0; i < kVerdicts; ++i) {
    std::uint64_t sum = 0;
    for (const ShardCounters* shard : snapshot.shards) sum += shard->verdicts[i].value();
    add(series, static_cast<double>(sum),
        {{"verdict", std::string(name(static_cast<Verdict>(i)))}});
  }
}

void t3_to_wire(const Snapshot& snapshot, Series& series) {
  if (snapshot.shards.empty()) return;
  std::array<std::uint64_t, T3ToWire::kBounds_ns.size() + 1> counts{};
  Duration sum{};
  for (const ShardCounters* shard : snapshot.shards) {
    const T3ToWire& of = shard->t3_to_wire;
    for (std::size_t i = 0; i < counts.size(); ++i) counts[i] += of.counts[i].value();
    sum += Duration(static_cast<std::int64_t>(of.sum_ns.value()));
  }
  add_histogram(series, T3ToWire::kBounds_ns, counts, sum);
}

void t3_compensation(const Snapshot& snapshot, Series& series) {
  for (std::size_t i = 0; i < snapshot.shards.size(); ++i) {
    const auto ns = static_cast<std::int64_t>(snapshot.shards[i]->t3_compensation_ns.value());
    add(series, seconds(Duration(ns)), {{"shard", std::to_string(i)}});
  }
}

// ---- AF_XDP.

template <auto net::XdpStatus::*member>
void each_interface(const Snapshot& snapshot, Series& series) {
  for (const net::XdpStatus& one : snapshot.xdp) {
    add(series, static_cast<double>(one.*member), {{"interface", one.interface}});
  }
}

// ---- NTS-KE.

void ke_connections(const Snapshot& snapshot, Series& series) {
  if (!snapshot.nts_ke) return;
  for (std::size_t i = 0; i < kKeOutcomes; ++i) {
    add(series, static_cast<double>(snapshot.nts_ke->outcomes[i]),
        {{"outcome", std::string(name(static_cast<KeOutcome>(i)))}});
  }
}

void ke_handshakes(const Snapshot& snapshot, Series& series) {
  if (!snapshot.nts_ke) return;
  const KeHandshakeTimes& times = snapshot.nts_ke->handshakes;
  add_histogram(series, times.kBounds, times.counts, times.sum);
}

template <auto CertificateStatus::*member>
void each_certificate(const Snapshot& snapshot, Series& series) {
  if (!snapshot.certificates) return;
  for (const CertificateStatus& one : snapshot.certificates->each) {
    add(series, static_cast<double>(one.*member), {{"certificate", one.file}});
  }
}

template <auto value>
constexpr auto kNtsKe = &one<&Snapshot::nts_ke, value>;
template <auto value>
constexpr auto kKeys = &one<&Snapshot::keys, value>;
template <auto value>
void cluster(const Snapshot& snapshot, Series& series) {
  if (!snapshot.keys || !snapshot.keys->status.cluster) return;
  add(series, static_cast<double>(value(*snapshot.keys->status.cluster)));
}
template <auto value>
constexpr auto kCertificates = &one<&Snapshot::certificates, value>;
template <auto value>
constexpr auto kClock = &one<&Snapshot::clock, value>;

template <auto ProcessUsage::*member>
void usage(const Snapshot& snapshot, Series& series) {
  if (!snapshot.process) return;
  if (const auto& known = snapshot.process->usage.*member) add(series, static_cast<double>(*known));
}

void alarms(const Snapshot& snapshot, Series& series) {
  for (const AlarmKind& kind : alarm_kinds()) {
    const std::optional<bool> raised = kind.raised(snapshot);
    if (!raised) continue;
    add(series, *raised,
        {{"alarm", std::string(kind.name)}, {"severity", std::string(name_of(kind.severity))}});
  }
}

void build_info(const Snapshot&, Series& series) {
  add(series, 1, {{"version", TIMEBALL_VERSION}});
}

constexpr Metric kMetrics[] = {
    {"timeball_build_info", kGauge, "version", "Always 1; the label tells the version",
     &build_info},
    {"timeball_alarm", kGauge, "alarm, severity",
     "1 while the alarm is raised; of all that there can be with this configuration", &alarms},
    {"timeball_requests_total", kCounter, "verdict", "NTP requests by what became of them",
     &requests},
    {"timeball_receive_batches_total", kCounter, "shard",
     "Batches in which datagrams were taken from the kernel; datagrams by batches is their fill",
     &each_shard<&ShardCounters::batches>},
    {"timeball_datagrams_received_total", kCounter, "shard", "Datagrams taken from the kernel",
     &each_shard<&ShardCounters::datagrams_received>},
    {"timeball_datagrams_sent_total", kCounter, "shard", "Replies the kernel accepted",
     &each_shard<&ShardCounters::datagrams_sent>},
    {"timeball_datagrams_truncated_total", kCounter, "",
     "Datagrams dropped because they were longer than any NTP request",
     &sum_of_shards<&ShardCounters::datagrams_truncated>},
    {"timeball_datagrams_unanswerable_total", kCounter, "",
     "Datagrams dropped because they came from port 0 or to a broadcast or multicast address",
     &sum_of_shards<&ShardCounters::datagrams_unanswerable>},
    {"timeball_sends_refused_total", kCounter, "", "Replies the kernel would not take",
     &sum_of_shards<&ShardCounters::sends_refused>},
    {"timeball_xdp_serving", kGauge, "interface",
     "1 while AF_XDP serves the interface; 0 once the watchdog has left it to the sockets",
     &each_interface<&net::XdpStatus::taking>},
    {"timeball_xdp_taken_total", kCounter, "interface",
     "Datagrams that the XDP program handed to AF_XDP sockets",
     &each_interface<&net::XdpStatus::taken>},
    {"timeball_xdp_received_total", kCounter, "interface", "Of those, datagrams that a shard took",
     &each_interface<&net::XdpStatus::received>},
    {"timeball_xdp_bad_checksum_total", kCounter, "interface",
     "Of those, datagrams dropped for a wrong checksum of IPv4 or UDP",
     &each_interface<&net::XdpStatus::bad_checksum>},
    {"timeball_xdp_malformed_total", kCounter, "interface",
     "Of those, datagrams dropped because their lengths contradict each other",
     &each_interface<&net::XdpStatus::malformed>},
    {"timeball_xdp_without_metadata_total", kCounter, "interface",
     "Datagrams left to the sockets because the driver has no room for their time",
     &each_interface<&net::XdpStatus::without_metadata>},
    {"timeball_xdp_sends_refused_total", kCounter, "interface",
     "Replies that found no room on the way to the device",
     &each_interface<&net::XdpStatus::refused>},
    {"timeball_xdp_ring_full_total", kCounter, "interface",
     "Datagrams lost because the shard was late", &each_interface<&net::XdpStatus::ring_full>},
    {"timeball_xdp_fill_starved_total", kCounter, "interface",
     "Times that the device found no memory for a datagram: the shard was late",
     &each_interface<&net::XdpStatus::fill_starved>},
    {"timeball_xdp_strays_total", kCounter, "interface",
     "Frames that the kernel named and that were not its own; must stay 0",
     &each_interface<&net::XdpStatus::strays>},
    {"timeball_receive_errors_total", kCounter, "", "Transient errors of the UDP sockets",
     &sum_of_shards<&ShardCounters::receive_errors>},
    {"timeball_received_bytes_total", kCounter, "", "Octets of UDP payload received",
     &sum_of_shards<&ShardCounters::octets_received>},
    {"timeball_sent_bytes_total", kCounter, "", "Octets of UDP payload sent",
     &sum_of_shards<&ShardCounters::octets_sent>},
    {"timeball_receive_timestamps_missing_total", kCounter, "",
     "Datagrams without the kernel's receive timestamp, whose T2 was read late",
     &sum_of_shards<&ShardCounters::without_kernel_timestamp>},
    {"timeball_t3_to_wire_seconds", kHistogram, "le",
     "Time from T3 to the kernel's transmit timestamp, of a sample of the replies; negative: the "
     "reply left before its T3",
     &t3_to_wire},
    {"timeball_t3_compensation_seconds", kGauge, "shard",
     "How far T3 was set ahead of the clock reading, for when the reply leaves, in the last sample",
     &t3_compensation},

    {"timeball_nts_ke_connections_total", kCounter, "outcome",
     "NTS-KE connections by how they ended", &ke_connections},
    {"timeball_nts_ke_connections_open", kGauge, "", "NTS-KE connections open now",
     kNtsKe<[](const KeSample& s) { return s.open_connections; }>},
    {"timeball_nts_ke_handshake_seconds", kHistogram, "le",
     "Time from accepting a connection to the end of its TLS handshake, the client's share "
     "included",
     &ke_handshakes},

    {"timeball_keys_current_id", kGauge, "", "Identifier of the master key that seals cookies",
     kKeys<[](const KeysSample& s) { return s.status.current_id; }>},
    {"timeball_keys_generations", kGauge, "", "Master keys held, the next and the current included",
     kKeys<[](const KeysSample& s) { return s.status.generations; }>},
    {"timeball_keys_age_seconds", kGauge, "", "Time since the current master key became current",
     kKeys<[](const KeysSample& s) { return seconds(s.now - s.status.current_since); }>},
    {"timeball_keys_next_rotation_seconds", kGauge, "",
     "Time until the next master key takes over; negative while rotation fails",
     kKeys<[](const KeysSample& s) { return seconds(s.status.next_rotation - s.now); }>},
    {"timeball_keys_write_failures_total", kCounter, "",
     "Rotations put off because the key file could not be written",
     kKeys<[](const KeysSample& s) { return s.status.write_failures; }>},
    {"timeball_cluster_in_contact", kGauge, "",
     "1: etcd answered within the last seconds; 0: this member goes on with the keys it has",
     &cluster<[](const ClusterStatus& s) { return s.in_contact; }>},
    {"timeball_cluster_keys_refused", kGauge, "",
     "1: what lies in etcd is not authentic, or of another cluster key or cluster",
     &cluster<[](const ClusterStatus& s) { return s.refused; }>},
    {"timeball_cluster_rotates", kGauge, "", "1 on the member that replaces the cluster's keys",
     &cluster<[](const ClusterStatus& s) { return s.rotates; }>},
    {"timeball_cluster_sequence", kGauge, "",
     "How often the cluster's keys have been replaced; the same on all members",
     &cluster<[](const ClusterStatus& s) { return s.sequence; }>},
    {"timeball_cluster_failures_total", kCounter, "", "Reads of etcd that brought no answer",
     &cluster<[](const ClusterStatus& s) { return s.failures; }>},
    {"timeball_certificate_not_after_timestamp_seconds", kGauge, "certificate",
     "When the certificate in use from this file expires, in seconds since 1970",
     &each_certificate<&CertificateStatus::not_after_s>},
    {"timeball_certificate_refused", kGauge, "certificate",
     "1 while this certificate's files cannot be used, or the one in use has expired",
     &each_certificate<&CertificateStatus::refused>},
    {"timeball_certificate_reloads_total", kCounter, "", "Certificates taken up without a restart",
     kCertificates<[](const CertificatesStatus& s) { return s.reloads; }>},
    {"timeball_certificate_reload_failures_total", kCounter, "",
     "How often a certificate's files could not be used, and the old one stayed",
     kCertificates<[](const CertificatesStatus& s) { return s.failures; }>},

    {"timeball_clock_synchronised", kGauge, "",
     "1 while the time served is synchronised, 0 otherwise",
     kClock<[](const ClockSample& s) { return s.state.synchronised(); }>},
    {"timeball_clock_stratum", kGauge, "", "Stratum served; 16: unsynchronised",
     kClock<[](const ClockSample& s) { return s.state.stratum; }>},
    {"timeball_clock_leap", kGauge, "",
     "Leap indicator served: 0 none, 1 insert, 2 delete, 3 unsynchronised",
     kClock<[](const ClockSample& s) { return static_cast<int>(s.state.leap); }>},
    {"timeball_clock_offset_seconds", kGauge, "", "Estimated UTC minus the kernel's clock",
     kClock<[](const ClockSample& s) { return seconds(s.state.offset); }>},
    {"timeball_clock_root_dispersion_seconds", kGauge, "", "Root dispersion served",
     kClock<[](const ClockSample& s) { return seconds(s.state.root_dispersion(s.now)); }>},
    {"timeball_clock_root_delay_seconds", kGauge, "", "Root delay served",
     kClock<[](const ClockSample& s) { return seconds(s.state.root_delay); }>},
    {"timeball_clock_reference_age_seconds", kGauge, "",
     "Time since a reference clock last corrected the time served",
     kClock<[](const ClockSample& s) { return seconds(s.now - s.state.reference_time); }>},
    {"timeball_clock_error_bound_seconds", kGauge, "",
     "How wrong the time served may be: root dispersion and half of root delay",
     kClock<[](const ClockSample& s) { return seconds(s.error_bound()); }>},

    {"process_cpu_seconds_total", kCounter, "",
     "CPU time of all threads, the kernel's share included", &usage<&ProcessUsage::cpu_s>},
    {"process_start_time_seconds", kGauge, "",
     "When the process was started, in seconds since 1970, by the kernel's clock as it is now",
     &usage<&ProcessUsage::start_s>},
    {"process_resident_memory_bytes", kGauge, "", "Memory in use",
     &usage<&ProcessUsage::resident_bytes>},
    {"process_virtual_memory_bytes", kGauge, "", "Address space in use",
     &usage<&ProcessUsage::virtual_bytes>},
    {"process_threads", kGauge, "", "Threads", &usage<&ProcessUsage::threads>},
    {"process_open_fds", kGauge, "", "Open file descriptors",
     &usage<&ProcessUsage::open_descriptors>},
    {"process_max_fds", kGauge, "", "File descriptors that it may have",
     &usage<&ProcessUsage::most_descriptors>},
};

const std::vector<Metric>& all_metrics() {
  static const std::vector<Metric> kAll = [] {
    std::vector<Metric> all(std::begin(kMetrics), std::end(kMetrics));
    const std::vector<Metric> rack = rack_metrics();
    all.insert(all.end(), rack.begin(), rack.end());
    return all;
  }();
  return kAll;
}

class Collector final : public prometheus::Collectable {
 public:
  explicit Collector(MetricSources sources) : sources_(std::move(sources)) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    const Snapshot snapshot = take_snapshot(sources_);
    std::vector<prometheus::MetricFamily> families;
    for (const Metric& metric : all_metrics()) {
      prometheus::MetricFamily family{
          std::string(metric.name), std::string(metric.help), metric.type, {}};
      metric.fill(snapshot, family.metric);
      if (!family.metric.empty()) families.push_back(std::move(family));
    }
    return families;
  }

 private:
  MetricSources sources_;
};

std::string_view type_name(MetricType type) {
  if (type == kCounter) return "counter";
  return type == kGauge ? "gauge" : "histogram";
}

}  // namespace

std::shared_ptr<prometheus::Collectable> make_metrics(MetricSources sources) {
  return std::make_shared<Collector>(std::move(sources));
}

std::string metrics_text(const prometheus::Collectable& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.Collect());
}

std::string metrics_manual() {
  std::string out = "| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n";
  for (const Metric& metric : all_metrics()) {
    out += "| `" + std::string(metric.name) + "` | " + std::string(type_name(metric.type)) + " | " +
           (metric.labels.empty() ? "" : '`' + std::string(metric.labels) + '`') + " | " +
           std::string(metric.help) + " |\n";
  }
  return out;
}

}  // namespace timeball::server
