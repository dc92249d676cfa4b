#include "server/metrics.h"

#include <gtest/gtest.h>
#include <prometheus/check_names.h>
#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <regex>
#include <set>
#include <sstream>

namespace timeball::server {
namespace {

using namespace std::chrono_literals;
using refclock::HostTime;

std::string scrape(MetricSources sources) {
  return prometheus::TextSerializer().Serialize(make_metrics(std::move(sources))->Collect());
}

// The sample line of a series: its value, as printed; empty when there is no such series.
std::string value_of(const std::string& text, const std::string& series) {
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(series + ' ')) return line.substr(series.size() + 1);
  }
  return {};
}

Counter& verdict(ShardCounters& shard, Verdict v) {
  return shard.verdicts[static_cast<std::size_t>(v)];
}

MetricSources from_shards(std::vector<const ShardCounters*> shards) {
  MetricSources sources;
  sources.shards = [shards] { return shards; };
  return sources;
}

KeSample ke_sample() {
  KeSample sample;
  sample.outcomes[static_cast<std::size_t>(KeOutcome::kCompleted)] = 9;
  sample.outcomes[static_cast<std::size_t>(KeOutcome::kNoAlpn)] = 2;
  sample.open_connections = 4;
  sample.handshakes.counts[0] = 1;
  sample.handshakes.counts[2] = 5;
  sample.handshakes.counts.back() = 1;
  sample.handshakes.sum = 6500ms;
  return sample;
}

refclock::Sky sky() {
  using refclock::Constellation;
  refclock::Sky sky;
  sky.satellites = {{Constellation::kGps, 3, 40, 120, 44, true},
                    {Constellation::kGps, 9, 5, 10, 20, false},
                    {Constellation::kGalileo, 3, 60, 300, 35, true},
                    {Constellation::kGlonass, 3, 60, 300, std::nullopt, false}};
  sky.tdop = 0.41;
  sky.pdop = 1.12;
  sky.survey = {true, false, 90s, 2.5};
  sky.bands = {{0.25, 92}, {0.5, 80}};
  sky.antenna_power = true;
  return sky;
}

refclock::RackStatus rack_status() {
  refclock::RackStatus rack;
  rack.clock.state = refclock::State::kHoldover;
  rack.clock.state_since = HostTime{5'000'000'000};
  rack.clock.at = HostTime{12'500'000'000};
  rack.clock.suspect = true;
  rack.clock.alarms.set(refclock::Alarm::kPhaseStep);
  rack.clock.raised[static_cast<std::size_t>(refclock::Alarm::kPhaseStep)] = 3;
  rack.clock.bound = 1500ns;
  rack.kernel_steered = true;
  rack.clock.gnss.emplace();
  rack.clock.gnss->satellites_used = 11;
  rack.clock.gnss->spoofing = refclock::Threat::kWarning;
  rack.clock.gnss->time_accuracy = 12ns;
  rack.clock.gnss->position_offset_m = 2.5;
  rack.clock.gnss->jamming_indicator = 9;
  rack.clock.gnss->satellites_in_view = 20;
  rack.clock.oscillator.emplace();
  rack.clock.oscillator->locked = true;
  rack.clock.oscillator->phase = -20ns;
  rack.clock.oscillator->temperature_c = 61.5;
  rack.clock.quantisation = {UtcTime{}, -4250, true};
  rack.clock.leap.emplace();
  rack.clock.leap->tai_minus_utc_s = 37;
  rack.clock.leap->source = refclock::LeapNotice::Source::kReceiver;
  rack.clock.holdover = 7500ms;
  rack.clock.holdover_remaining = 2h;
  rack.clock.leap_file_expires = UtcTime{1'800'000'000'000'000'000};
  rack.gnss.emplace();
  rack.gnss->line.octets_received = 100;
  rack.gnss->stream.frames[static_cast<std::size_t>(refclock::gnss::Protocol::kUbx)] = 7;
  rack.gnss->labels_trusted = 6;
  rack.gnss->configured = true;
  rack.gnss->model = "ZED-F9T";
  rack.gnss->sky = sky();
  rack.gpsd.emplace();
  rack.gpsd->counts.reports = 8;
  rack.pulses.resize(2);
  rack.pulses[0].width = 100ms;
  rack.pulses[1].input = refclock::PulseInput::kOscillator;
  rack.pulses[1].lost = 2;
  rack.pulses[0].counts.missed = 4;
  rack.pulses[0].last = HostTime{12'000'000'000};
  rack.pulses[0].jitter = 40ns;
  rack.pulses[1].open = true;
  rack.rubidium.emplace();
  rack.rubidium->line.lost = 1;
  rack.rubidium->counts.timeouts = 5;
  rack.rubidium->readings["lamp_volts"] = 6.25;
  rack.samples.resize(1);
  rack.samples[0].samples = 9;
  rack.samples[0].offset = 3us;
  return rack;
}

MetricSources all_sources(const ShardCounters& shard) {
  MetricSources sources = from_shards({&shard});
  sources.xdp = [] { return std::vector<net::XdpStatus>(1); };
  sources.nts_ke = ke_sample;
  sources.keys = [] {
    KeysSample sample;
    sample.status.cluster = ClusterStatus{};
    return sample;
  };
  sources.certificates = [] { return CertificatesStatus{{{}}, 0, 0}; };
  sources.clock = [] { return ClockSample{}; };
  sources.rack = rack_status;
  sources.process = [] {
    ProcessSample sample;
    sample.usage = {2.5, 1.7e9, 4096, 8192, 3, 20, 1024};
    return sample;
  };
  return sources;
}

TEST(Metrics, TheProcessIsTold) {
  const ShardCounters shard;
  const std::string text = scrape(all_sources(shard));
  EXPECT_EQ(value_of(text, "process_cpu_seconds_total"), "2.5");
  EXPECT_EQ(value_of(text, "process_start_time_seconds"), "1700000000");
  EXPECT_EQ(value_of(text, "process_resident_memory_bytes"), "4096");
  EXPECT_EQ(value_of(text, "process_virtual_memory_bytes"), "8192");
  EXPECT_EQ(value_of(text, "process_threads"), "3");
  EXPECT_EQ(value_of(text, "process_open_fds"), "20");
  EXPECT_EQ(value_of(text, "process_max_fds"), "1024");
}

TEST(Metrics, ARackIsTold) {
  MetricSources sources;
  sources.rack = rack_status;
  const std::string text = scrape(sources);
  const std::pair<const char*, const char*> expected[] = {
      {"timeball_refclock_state{state=\"HOLDOVER\"}", "1"},
      {"timeball_refclock_state{state=\"LOCKED\"}", "0"},
      {"timeball_refclock_state_seconds", "7.5"},
      {"timeball_refclock_flag{flag=\"suspect\"}", "1"},
      {"timeball_refclock_flag{flag=\"degraded\"}", "0"},
      {"timeball_alarm{alarm=\"phase-step\",severity=\"major\"}", "1"},
      {"timeball_alarm{alarm=\"jamming\",severity=\"major\"}", "0"},
      {"timeball_alarm{alarm=\"certificate-expired\",severity=\"critical\"}", ""},
      {"timeball_refclock_alarms_total{alarm=\"phase-step\"}", "3"},
      {"timeball_refclock_bound_seconds", "1.5e-06"},
      {"timeball_leap_tai_minus_utc_seconds", "37"},
      {"timeball_leap_file_expires_timestamp_seconds", "1800000000"},
      {"timeball_gnss_satellites_used", "11"},
      {"timeball_gnss_spoofing", "2"},
      {"timeball_gnss_position_offset_meters", "2.5"},
      {"timeball_gnss_quantisation_error_seconds", "-4.25e-09"},
      {"timeball_gnss_frames_total{protocol=\"ubx\"}", "7"},
      {"timeball_gnss_labels_total{trusted=\"yes\"}", "6"},
      {"timeball_gnss_configured", "1"},
      {"timeball_gnss_info{model=\"ZED-F9T\"}", "1"},
      {"timeball_gnss_constellation_satellites_in_view{constellation=\"GPS\"}", "2"},
      {"timeball_gnss_constellation_satellites_used{constellation=\"GPS\"}", "1"},
      {"timeball_gnss_constellation_satellites_used{constellation=\"GLONASS\"}", "0"},
      {"timeball_gnss_constellation_satellites_used{constellation=\"BeiDou\"}", ""},
      {"timeball_gnss_cn0_mean_dbhz", "33"},
      {"timeball_gnss_cn0_max_dbhz", "44"},
      {"timeball_gnss_cn0_min_dbhz", "20"},
      {"timeball_gnss_pdop", "1.12"},
      {"timeball_gnss_tdop", "0.41"},
      {"timeball_gnss_survey_active", "1"},
      {"timeball_gnss_survey_valid", "0"},
      {"timeball_gnss_survey_seconds", "90"},
      {"timeball_gnss_survey_accuracy_meters", "2.5"},
      {"timeball_gnss_agc_ratio{band=\"1\"}", "0.5"},
      {"timeball_gnss_noise{band=\"0\"}", "92"},
      {"timeball_gnss_antenna_power", "1"},
      {"timeball_refclock_holdover_seconds", "7.5"},
      {"timeball_refclock_holdover_remaining_seconds", "7200"},
      {"timeball_leap_source{source=\"receiver\"}", "1"},
      {"timeball_leap_source{source=\"file\"}", "0"},
      {"timeball_pulse_age_seconds{pulse=\"gnss\"}", "0.5"},
      {"timeball_pulse_age_seconds{pulse=\"rubidium\"}", ""},
      {"timeball_pulse_jitter_seconds{pulse=\"gnss\"}", "4e-08"},
      {"timeball_pulse_open{pulse=\"rubidium\"}", "1"},
      {"timeball_rubidium_disciplined", "0"},
      {"timeball_rubidium_answering", "0"},
      {"timeball_gpsd_reports_total", "8"},
      {"timeball_serial_received_bytes_total{line=\"gnss\"}", "100"},
      {"timeball_serial_lost_total{line=\"rubidium\"}", "1"},
      {"timeball_pulses_missed_total{pulse=\"gnss\"}", "4"},
      {"timeball_pulse_lost_total{pulse=\"rubidium\"}", "2"},
      {"timeball_pulse_width_seconds{pulse=\"gnss\"}", "0.1"},
      {"timeball_pulse_width_seconds{pulse=\"rubidium\"}", ""},
      {"timeball_rubidium_locked", "1"},
      {"timeball_rubidium_temperature_celsius", "61.5"},
      {"timeball_rubidium_phase_seconds", "-2e-08"},
      {"timeball_rubidium_timeouts_total", "5"},
      {"timeball_rubidium_reading{reading=\"lamp_volts\"}", "6.25"},
      {"timeball_samples_total{source=\"0\"}", "9"},
      {"timeball_sample_offset_seconds{source=\"0\"}", "3e-06"},
  };
  for (const auto& [series, value] : expected) {
    const std::string found = value_of(text, series);
    ASSERT_EQ(found.empty(), std::string_view(value).empty()) << series;
    if (found.empty()) continue;
    EXPECT_DOUBLE_EQ(std::stod(found), std::stod(value)) << series;
  }
}

TEST(Metrics, WhatIsNotConfiguredIsNotTold) {
  MetricSources sources;
  sources.rack = [] { return refclock::RackStatus{}; };
  const std::string text = scrape(sources);
  EXPECT_EQ(value_of(text, "timeball_refclock_state{state=\"COLD\"}"), "1");
  for (const char* kin : {"timeball_gnss_", "timeball_gpsd_", "timeball_serial_", "timeball_pulse",
                          "timeball_rubidium_", "timeball_sample", "timeball_leap_"}) {
    EXPECT_EQ(text.find(std::string("\n") + kin), std::string::npos) << kin;
  }
}

TEST(Metrics, RequestsAreSummedOverShardsByVerdict) {
  ShardCounters a;
  ShardCounters b;
  verdict(a, Verdict::kAnsweredNts).add(5);
  verdict(b, Verdict::kAnsweredNts).add(7);
  verdict(b, Verdict::kDroppedRate).add(1);
  const std::string text = scrape(from_shards({&a, &b}));
  EXPECT_EQ(value_of(text, "timeball_requests_total{verdict=\"answered_nts\"}"), "12");
  EXPECT_EQ(value_of(text, "timeball_requests_total{verdict=\"dropped_rate\"}"), "1");
  EXPECT_EQ(value_of(text, "timeball_requests_total{verdict=\"nak\"}"), "0");
}

TEST(Metrics, T3ToWireIsSummedOverShardsAndMayBeNegative) {
  ShardCounters a;
  ShardCounters b;
  a.t3_to_wire.add(-1500ns);
  a.t3_to_wire.add(1000ns);  // bounds are inclusive
  b.t3_to_wire.add(-9us);
  b.t3_to_wire.add(1ms);
  b.t3_compensation_ns.set(2500);
  const std::string text = scrape(from_shards({&a, &b}));
  const std::string bucket = "timeball_t3_to_wire_seconds_bucket";
  EXPECT_EQ(value_of(text, bucket + "{le=\"-8e-06\"}"), "1");
  EXPECT_EQ(value_of(text, bucket + "{le=\"-2e-06\"}"), "1");
  EXPECT_EQ(value_of(text, bucket + "{le=\"-1e-06\"}"), "2");
  EXPECT_EQ(value_of(text, bucket + "{le=\"0\"}"), "2");
  EXPECT_EQ(value_of(text, bucket + "{le=\"1e-06\"}"), "3");
  EXPECT_EQ(value_of(text, bucket + "{le=\"0.000256\"}"), "3");
  EXPECT_EQ(value_of(text, bucket + "{le=\"+Inf\"}"), "4");
  EXPECT_NEAR(std::stod(value_of(text, "timeball_t3_to_wire_seconds_sum")), 990.5e-6, 1e-12);
  EXPECT_EQ(value_of(text, "timeball_t3_compensation_seconds{shard=\"0\"}"), "0");
  EXPECT_EQ(value_of(text, "timeball_t3_compensation_seconds{shard=\"1\"}"), "2.5e-06");
}

TEST(Metrics, EveryVerdictHasASeriesFromTheStart) {
  const ShardCounters shard;
  const std::string text = scrape(from_shards({&shard}));
  for (std::size_t i = 0; i < kVerdicts; ++i) {
    const std::string label(name(static_cast<Verdict>(i)));
    EXPECT_EQ(value_of(text, "timeball_requests_total{verdict=\"" + label + "\"}"), "0");
  }
}

TEST(Metrics, DatagramsTellTheirShard) {
  ShardCounters a;
  ShardCounters b;
  a.datagrams_received.add(3);
  b.datagrams_received.add(4);
  b.batches.add(2);
  b.datagrams_sent.add(2);
  const std::string text = scrape(from_shards({&a, &b}));
  EXPECT_EQ(value_of(text, "timeball_receive_batches_total{shard=\"1\"}"), "2");
  EXPECT_EQ(value_of(text, "timeball_datagrams_received_total{shard=\"0\"}"), "3");
  EXPECT_EQ(value_of(text, "timeball_datagrams_received_total{shard=\"1\"}"), "4");
  EXPECT_EQ(value_of(text, "timeball_datagrams_sent_total{shard=\"0\"}"), "0");
  EXPECT_EQ(value_of(text, "timeball_datagrams_sent_total{shard=\"1\"}"), "2");
}

TEST(Metrics, EachShardCounterHasItsOwnMetric) {
  ShardCounters a;
  ShardCounters b;
  a.datagrams_truncated.add(1);
  a.datagrams_unanswerable.add(4);
  b.datagrams_truncated.add(1);
  a.sends_refused.add(3);
  a.receive_errors.add(4);
  a.octets_received.add(5);
  a.octets_sent.add(6);
  b.without_kernel_timestamp.add(7);
  const std::string text = scrape(from_shards({&a, &b}));
  EXPECT_EQ(value_of(text, "timeball_datagrams_truncated_total"), "2");
  EXPECT_EQ(value_of(text, "timeball_datagrams_unanswerable_total"), "4");
  EXPECT_EQ(value_of(text, "timeball_sends_refused_total"), "3");
  EXPECT_EQ(value_of(text, "timeball_receive_errors_total"), "4");
  EXPECT_EQ(value_of(text, "timeball_received_bytes_total"), "5");
  EXPECT_EQ(value_of(text, "timeball_sent_bytes_total"), "6");
  EXPECT_EQ(value_of(text, "timeball_receive_timestamps_missing_total"), "7");
}

TEST(Metrics, SourcesAreReadAtEachScrape) {
  ShardCounters shard;
  const auto metrics = make_metrics(from_shards({&shard}));
  const prometheus::TextSerializer serializer;
  const std::string series = "timeball_sends_refused_total";
  EXPECT_EQ(value_of(serializer.Serialize(metrics->Collect()), series), "0");
  shard.sends_refused.add(2);
  EXPECT_EQ(value_of(serializer.Serialize(metrics->Collect()), series), "2");
}

TEST(Metrics, NtsKeConnectionsAreCountedByOutcome) {
  MetricSources sources;
  sources.nts_ke = ke_sample;
  const std::string text = scrape(std::move(sources));
  EXPECT_EQ(value_of(text, "timeball_nts_ke_connections_total{outcome=\"completed\"}"), "9");
  EXPECT_EQ(value_of(text, "timeball_nts_ke_connections_total{outcome=\"no_alpn\"}"), "2");
  EXPECT_EQ(value_of(text, "timeball_nts_ke_connections_open"), "4");
}

TEST(Metrics, HandshakeBucketsAreCumulative) {
  MetricSources sources;
  sources.nts_ke = ke_sample;
  const std::string text = scrape(std::move(sources));
  const std::string bucket = "timeball_nts_ke_handshake_seconds_bucket";
  EXPECT_EQ(value_of(text, bucket + "{le=\"0.001\"}"), "1");
  EXPECT_EQ(value_of(text, bucket + "{le=\"0.0025\"}"), "1");
  EXPECT_EQ(value_of(text, bucket + "{le=\"0.005\"}"), "6");
  EXPECT_EQ(value_of(text, bucket + "{le=\"5\"}"), "6");
  EXPECT_EQ(value_of(text, bucket + "{le=\"+Inf\"}"), "7");
  EXPECT_EQ(value_of(text, "timeball_nts_ke_handshake_seconds_count"), "7");
  EXPECT_EQ(value_of(text, "timeball_nts_ke_handshake_seconds_sum"), "6.5");
}

TEST(Metrics, KeyTimesCountFromNow) {
  MetricSources sources;
  sources.keys = [] {
    KeysSample sample;
    sample.status = {.current_id = 4'000'000'000,
                     .generations = 9,
                     .current_since = MonotonicTime{-10'000'000'000},
                     .next_rotation = MonotonicTime{80'500'000'000},
                     .write_failures = 3,
                     .cluster = std::nullopt};
    sample.now = MonotonicTime{90'000'000'000};
    return sample;
  };
  const std::string text = scrape(std::move(sources));
  EXPECT_EQ(value_of(text, "timeball_keys_current_id"), "4000000000");
  EXPECT_EQ(value_of(text, "timeball_keys_generations"), "9");
  EXPECT_EQ(value_of(text, "timeball_keys_age_seconds"), "100");
  EXPECT_EQ(value_of(text, "timeball_keys_next_rotation_seconds"), "-9.5");
  EXPECT_EQ(value_of(text, "timeball_keys_write_failures_total"), "3");
  EXPECT_EQ(text.find("timeball_cluster"), std::string::npos);
}

TEST(Metrics, AMemberOfAClusterTellsWhetherItHearsTheOthers) {
  MetricSources sources;
  sources.keys = [] {
    KeysSample sample;
    sample.status.cluster = {.in_contact = true,
                             .rotates = false,
                             .refused = true,
                             .contact = {},
                             .sequence = 7,
                             .failures = 5};
    return sample;
  };
  const std::string text = scrape(std::move(sources));
  EXPECT_EQ(value_of(text, "timeball_cluster_in_contact"), "1");
  EXPECT_EQ(value_of(text, "timeball_cluster_rotates"), "0");
  EXPECT_EQ(value_of(text, "timeball_cluster_keys_refused"), "1");
  EXPECT_EQ(value_of(text, "timeball_cluster_sequence"), "7");
  EXPECT_EQ(value_of(text, "timeball_cluster_failures_total"), "5");
}

TEST(Metrics, EachCertificateTellsItsExpiryAndAllTheirRenewals) {
  MetricSources sources;
  sources.certificates = [] {
    return CertificatesStatus{
        {{"/a.pem", 1'900'000'001, true}, {"/b.pem", 1'900'000'002, false}}, 2, 3};
  };
  const std::string text = scrape(std::move(sources));
  const std::string ends = "timeball_certificate_not_after_timestamp_seconds";
  EXPECT_EQ(value_of(text, ends + "{certificate=\"/a.pem\"}"), "1900000001");
  EXPECT_EQ(value_of(text, ends + "{certificate=\"/b.pem\"}"), "1900000002");
  EXPECT_EQ(value_of(text, "timeball_certificate_reloads_total"), "2");
  EXPECT_EQ(value_of(text, "timeball_certificate_reload_failures_total"), "3");
  EXPECT_EQ(value_of(text, "timeball_certificate_refused{certificate=\"/a.pem\"}"), "1");
  EXPECT_EQ(value_of(text, "timeball_certificate_refused{certificate=\"/b.pem\"}"), "0");
}

TEST(Metrics, ClockBoundGrowsWithAge) {
  MetricSources sources;
  sources.clock = [] {
    ClockState state;
    state.as_of = KernelTime{1'000'000'000};
    state.offset = -250us;
    state.error_bound = 1ms;
    state.growth_ppb = 500'000;
    state.root_delay = 500us;
    state.leap = LeapIndicator::kInsert;
    state.stratum = 2;
    return ClockSample{state, KernelTime{3'000'000'000}};
  };
  const std::string text = scrape(std::move(sources));
  EXPECT_EQ(value_of(text, "timeball_clock_synchronised"), "1");
  EXPECT_EQ(value_of(text, "timeball_clock_stratum"), "2");
  EXPECT_EQ(value_of(text, "timeball_clock_leap"), "1");
  EXPECT_DOUBLE_EQ(std::stod(value_of(text, "timeball_clock_offset_seconds")), -0.00025);
  EXPECT_DOUBLE_EQ(std::stod(value_of(text, "timeball_clock_root_dispersion_seconds")), 0.002);
  EXPECT_DOUBLE_EQ(std::stod(value_of(text, "timeball_clock_root_delay_seconds")), 0.0005);
  EXPECT_DOUBLE_EQ(std::stod(value_of(text, "timeball_clock_error_bound_seconds")), 0.00225);
}

TEST(Metrics, UnsynchronisedClockSaysSo) {
  MetricSources sources;
  sources.clock = [] { return ClockSample{}; };
  const std::string text = scrape(std::move(sources));
  EXPECT_EQ(value_of(text, "timeball_clock_synchronised"), "0");
  EXPECT_EQ(value_of(text, "timeball_clock_stratum"), "16");
  EXPECT_EQ(value_of(text, "timeball_clock_leap"), "3");
}

TEST(Metrics, WithoutSourcesOnlyTheVersionIsLeft) {
  const auto families = make_metrics({})->Collect();
  ASSERT_EQ(families.size(), 1u);
  EXPECT_EQ(value_of(scrape({}), "timeball_build_info{version=\"" TIMEBALL_VERSION "\"}"), "1");
}

TEST(Metrics, NamesFollowPrometheusConventions) {
  const ShardCounters shard;
  std::set<std::string> seen;
  for (const auto& family : make_metrics(all_sources(shard))->Collect()) {
    EXPECT_TRUE(prometheus::CheckMetricName(family.name)) << family.name;
    EXPECT_TRUE(family.name.starts_with("timeball_") || family.name.starts_with("process_"))
        << family.name;
    EXPECT_EQ(family.name.ends_with("_total"), family.type == prometheus::MetricType::Counter)
        << family.name;
    EXPECT_FALSE(family.help.empty()) << family.name;
    EXPECT_TRUE(seen.insert(family.name).second) << family.name;
  }
}

TEST(Metrics, ManualHasOneRowForEachMetricAndItsLabels) {
  const ShardCounters shard;
  const std::string manual = metrics_manual();
  std::size_t rows = 0;
  for (const auto& family : make_metrics(all_sources(shard))->Collect()) {
    const std::string start = "| `" + family.name + "` | ";
    const auto at = manual.find(start);
    ASSERT_NE(at, std::string::npos) << family.name;
    ++rows;
    for (const auto& label : family.metric.front().label) {
      const std::string row = manual.substr(at, manual.find('\n', at) - at);
      EXPECT_TRUE(std::regex_search(row, std::regex("[ `]" + label.name + "[`,]"))) << row;
    }
  }
  EXPECT_EQ(static_cast<std::size_t>(std::count(manual.begin(), manual.end(), '\n')), rows + 2);
}

}  // namespace
}  // namespace timeball::server
