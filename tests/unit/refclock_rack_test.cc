// The simulated rack in virtual time, as a host sees it: through the real drivers' codecs.
#include "refclock/sim/rack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "common/time/ntp_timestamp.h"
#include "refclock/gnss/configurator.h"
#include "refclock/gnss/receiver.h"
#include "refclock/gnss/stream.h"
#include "refclock/sim/rack_control.h"

namespace timeball::refclock::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kMidnight_s = 1'814'400'000;  // 2027-07-01
// Thirty seconds and a bit before it.
constexpr SimTime kStart{(kMidnight_s - 30) * kNsPerSecond - 300'000'000};

// Of the receiver's pulse, by its contract.
constexpr std::int64_t kPulseError_ns = 151;

struct Heard {
  SimTime at;
  std::string octets;
};

class Host {
 public:
  explicit Host(RackOptions options = {}, Duration latest = 0ns)
      : rack(options, kStart), latest_(latest), line_({.pivot = {}}) {}

  void run(Duration how_long) {
    const SimTime end = rack.now() + how_long;
    while (rack.now() < end) {
      rack.advance(std::min(end, rack.next() + latest_));
      for (const StampedEdge& edge : rack.take_edges()) {
        EXPECT_LE(edge.stamp, rack.now());
        edges.push_back(edge);
      }
      hear(gnss, Port::kGnss);
      hear(rubidium, Port::kRubidium);
      tick();
    }
  }
  // Configures, from now on.
  void configure() {
    configuring_ = true;
    rack.write(Port::kGnss, configurator.start(host_now()));
  }
  void say(std::string_view text) {
    rack.write(Port::kRubidium, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  }
  std::string command(std::string_view line) { return execute(rack, line, {}); }
  boost::json::value status() { return boost::json::parse(command("status")); }

  std::vector<SimTime> pulses(Port port, bool leading = true) const {
    std::vector<SimTime> stamps;
    for (const StampedEdge& edge : edges) {
      if (edge.port == port && edge.leading == leading) stamps.push_back(edge.stamp);
    }
    return stamps;
  }
  std::optional<SimTime> pulse_of(UtcTime second) const {
    for (const SimTime pulse : pulses(Port::kGnssPulse)) {
      if (std::abs(pulse.ns - second.ns) < kNsPerSecond / 2) return pulse;
    }
    return std::nullopt;
  }
  static std::string text(const std::vector<Heard>& heard) {
    std::string all;
    for (const Heard& h : heard) all += h.octets;
    return all;
  }
  template <class T>
  std::vector<T> reported() const {
    std::vector<T> all;
    for (const gnss::Report& report : reports) {
      if (const T* t = std::get_if<T>(&report)) all.push_back(*t);
    }
    return all;
  }
  void forget() {
    edges.clear();
    gnss.clear();
    rubidium.clear();
    reports.clear();
  }

  Rack rack;
  std::vector<StampedEdge> edges;
  std::vector<Heard> gnss, rubidium;
  gnss::Reports reports;
  gnss::Stream stream;
  gnss::Configurator configurator{gnss::ConfiguratorSettings{}};

 private:
  HostTime host_now() const { return {rack.now().ns}; }

  void hear(std::vector<Heard>& heard, Port port) {
    const auto octets = rack.read(port);
    if (octets.empty()) return;
    heard.push_back({rack.now(), {octets.begin(), octets.end()}});
    if (port != Port::kGnss) return;
    stream.add(octets, host_now());
    while (const auto event = stream.next()) {
      const auto* frame = std::get_if<gnss::Frame>(&*event);
      if (frame == nullptr) continue;
      line_.take(*frame, reports);
      if (configuring_ && frame->protocol == gnss::Protocol::kUbx) {
        rack.write(Port::kGnss, configurator.take(host_now(), gnss::ubx::packet_of(*frame)));
      }
    }
  }
  void tick() {
    if (!configuring_ || rack.now() - ticked_ < 1s) return;
    ticked_ = rack.now();
    rack.write(Port::kGnss, configurator.tick(host_now()));
  }

  Duration latest_;
  gnss::Receiver line_;
  bool configuring_ = false;
  SimTime ticked_;
};

// From the nearest whole second.
std::int64_t off_second(SimTime t) {
  return (t.ns + kNsPerSecond / 2) % kNsPerSecond - kNsPerSecond / 2;
}

RackOptions without_latency() {
  RackOptions options;
  options.irq_latency = 0ns;
  return options;
}

TEST(RackTest, GnssPulsesComeWithTheSecondAndAreStampedLateByTheInterruptAlone) {
  Host host;
  host.run(20s);
  const auto pulses = host.pulses(Port::kGnssPulse);
  ASSERT_EQ(pulses.size(), 19U);
  for (std::size_t i = 0; i < pulses.size(); ++i) {
    EXPECT_GE(off_second(pulses[i]), 2000 - kPulseError_ns);
    EXPECT_LE(off_second(pulses[i]), 10'000 + kPulseError_ns);
    EXPECT_EQ(pulses[i].ns / kNsPerSecond, pulses[0].ns / kNsPerSecond + std::int64_t(i));
  }
  const auto trailing = host.pulses(Port::kGnssPulse, false);
  ASSERT_EQ(trailing.size(), 19U);
  EXPECT_NEAR(double((trailing[0] - pulses[0]).count()), 1e8, 9000);
}

TEST(RackTest, WhoWakesUpLateGetsTheSameStamps) {
  Host prompt, late({}, 30ms);
  prompt.run(20s);
  late.run(20s);
  ASSERT_EQ(prompt.edges.size(), late.edges.size());
  for (std::size_t i = 0; i < late.edges.size(); ++i) {
    EXPECT_EQ(prompt.edges[i].port, late.edges[i].port);
    EXPECT_LE(std::abs((prompt.edges[i].stamp - late.edges[i].stamp).count()), 2) << i;
  }
}

TEST(RackTest, OneSeedMakesOneRack) {
  RackOptions other;
  other.seed = 2;
  Host a, b, c(other);
  for (Host* host : {&a, &b, &c}) host->run(10s);
  EXPECT_EQ(a.pulses(Port::kRubidiumPulse), b.pulses(Port::kRubidiumPulse));
  EXPECT_EQ(Host::text(a.gnss), Host::text(b.gnss));
  EXPECT_NE(a.pulses(Port::kRubidiumPulse), c.pulses(Port::kRubidiumPulse));
}

TEST(RackTest, RubidiumPulsesKeepTheContract) {
  Host host(without_latency());
  host.run(12s);
  host.forget();
  host.run(200s);
  const auto pulses = host.pulses(Port::kRubidiumPulse);
  ASSERT_GE(pulses.size(), 199U);
  const RubidiumContract contract;
  for (std::size_t i = 1; i < pulses.size(); ++i) {
    const Duration second = pulses[i] - pulses[i - 1];
    EXPECT_LE(std::abs((second - 1s).count()), std::int64_t(contract.phase_noise_ns) + 3);
  }
  const auto all = pulses.back() - pulses.front();
  const auto n = static_cast<std::int64_t>(pulses.size() - 1);
  EXPECT_LE(std::abs((all - std::chrono::seconds(n)).count()), 2 * n + 5);
  EXPECT_NE(off_second(pulses.front()) / 100'000, 0) << "a phase of its own";
}

TEST(RackTest, SentencesFollowThePulseThatTheyName) {
  for (const ReceiverKind kind : {ReceiverKind::kNmea, ReceiverKind::kUblox9}) {
    RackOptions options;
    options.receiver = kind;
    Host host(options);
    host.run(10s);
    EXPECT_EQ(Host::text(host.gnss).find("$GNRMC,235931.00,A,"), 0U) << Host::text(host.gnss);
    EXPECT_GE(off_second(host.gnss.front().at), 15'000'000);
    for (const Heard& heard : host.gnss) EXPECT_LE(off_second(heard.at), 100'000'000);
    EXPECT_EQ(host.pulses(Port::kGnssPulse).size(), 9U);
  }
}

TEST(RackTest, NmeaReceiverIsNotConfigured) {
  RackOptions options;
  options.receiver = ReceiverKind::kNmea;
  Host host(options);
  host.configure();
  host.run(10s);
  EXPECT_EQ(Host::text(host.gnss).find('\xb5'), std::string::npos);
  EXPECT_GT(host.rack.counts(Port::kGnss).received, 0U);
}

double roughness(const std::vector<double>& values) {
  double sum = 0;
  for (std::size_t i = 1; i < values.size(); ++i) sum += std::pow(values[i] - values[i - 1], 2);
  return sum;
}

TEST(RackTest, ConfiguredReceiverNamesEverySecondAndItsErrors) {
  for (const ReceiverKind kind : {ReceiverKind::kUblox9, ReceiverKind::kUblox8}) {
    RackOptions options = without_latency();
    options.receiver = kind;
    Host host(options);
    host.configure();
    host.run(15s);
    EXPECT_TRUE(host.configurator.satisfied());
    host.forget();
    host.run(300s);
    const auto labels = host.reported<SecondLabel>();
    ASSERT_GE(labels.size(), 299U);
    for (const SecondLabel& label : labels) {
      EXPECT_TRUE(label.trusted);
      EXPECT_EQ(label.second.ns, label.arrival.ns / kNsPerSecond * kNsPerSecond);
    }
    std::vector<double> raw, corrected;
    for (const QuantisationError& error : host.reported<QuantisationError>()) {
      const auto pulse = host.pulse_of(error.second);
      if (!pulse) continue;
      raw.push_back(static_cast<double>(off_second(*pulse)));
      corrected.push_back(raw.back() + error.error_ps * 1e-3);
    }
    ASSERT_GE(raw.size(), 299U);
    EXPECT_LT(roughness(corrected), 0.95 * roughness(raw));
  }
}

TEST(RackTest, ReceiversPulseGoesIntoTheRubidium) {
  Host host(without_latency());
  host.run(12s);
  host.rubidium.clear();
  host.say("TT?\r");
  host.run(100ms);
  const double tag = std::stod(Host::text(host.rubidium));
  const auto gnss = host.pulses(Port::kGnssPulse).back();
  const auto rubidium = host.pulses(Port::kRubidiumPulse);
  const auto before = *std::find_if(rubidium.rbegin(), rubidium.rend(),
                                    [gnss](SimTime pulse) { return pulse <= gnss; });
  EXPECT_NEAR(tag, double((gnss - before).count()), 12);
}

TEST(RackTest, EveryRubidiumAnswersInItsOwnLanguage) {
  const std::tuple<RubidiumKind, const char*, const char*> kinds[] = {
      {RubidiumKind::kPrs10, "ID?\r", "PRS10_"},
      {RubidiumKind::kSa5x, "{get,Locked}", "[=0"},
      {RubidiumKind::kSa22c, "i", "r>"}};
  for (const auto& [kind, question, answer] : kinds) {
    RackOptions options;
    options.rubidium = kind;
    Host host(options);
    host.run(2s);
    host.rubidium.clear();
    host.say(question);
    host.run(1s);
    EXPECT_NE(Host::text(host.rubidium).find(answer), std::string::npos)
        << question << Host::text(host.rubidium);
    EXPECT_GE(host.pulses(Port::kRubidiumPulse).size(), 2U);
  }
}

TEST(RackCommandTest, OffAndOn) {
  Host host;
  host.configure();
  host.run(20s);
  EXPECT_EQ(host.command("gnss off"), "ok");
  host.forget();
  host.run(5s);
  EXPECT_EQ(host.pulses(Port::kGnssPulse).size(), 0U);
  for (const SecondLabel& label : host.reported<SecondLabel>()) EXPECT_FALSE(label.trusted);
  ASSERT_FALSE(host.reported<GnssCondition>().empty());
  EXPECT_FALSE(host.reported<GnssCondition>().back().usable);
  EXPECT_EQ(host.command("gnss on"), "ok");
  EXPECT_FALSE(host.status().at("gnss").at("time_confirmed").as_bool());
  host.run(10s);
  EXPECT_EQ(host.pulses(Port::kGnssPulse).size(), 10U);
  EXPECT_TRUE(host.reported<SecondLabel>().back().trusted);
}

TEST(RackCommandTest, SpoofWalkAndLabel) {
  Host host(without_latency());
  host.run(5s);
  for (const auto& [command, off] : {std::pair{"gnss spoof 250ms", 250'000'000},
                                     {"gnss spoof -50us", -50'000},
                                     {"gnss spoof 0s", 0}}) {
    EXPECT_EQ(host.command(command), "ok");
    host.run(2s);
    EXPECT_NEAR(double(off_second(host.pulses(Port::kGnssPulse).back())), off, kPulseError_ns);
    EXPECT_EQ(host.status().at("gnss").at("spoof_ns").as_double(), off);
  }
  EXPECT_EQ(host.command("gnss walk 1000"), "ok");
  host.run(10s);
  EXPECT_NEAR(double(off_second(host.pulses(Port::kGnssPulse).back())), 8000, kPulseError_ns);
  EXPECT_EQ(host.command("gnss label -1"), "ok");
  host.forget();
  host.run(1s);
  EXPECT_EQ(Host::text(host.gnss).find("$GNRMC,235950.00"), 0U) << Host::text(host.gnss);
}

TEST(RackCommandTest, HostJumps) {
  Host host(without_latency());
  host.run(60s);  // the rubidium is warm
  const auto before = off_second(host.pulses(Port::kRubidiumPulse).back());
  for (const std::int64_t jumps : {1, 2}) {
    EXPECT_EQ(host.command("host jump 2ms"), "ok");
    host.run(2s);
    const auto gnss = off_second(host.pulses(Port::kGnssPulse).back());
    EXPECT_NEAR(double(gnss), double(jumps * 2'000'000), kPulseError_ns);
    const auto rubidium = off_second(host.pulses(Port::kRubidiumPulse).back());
    EXPECT_NEAR(double(rubidium - before), double(jumps * 2'000'000), kPulseError_ns);
  }
}

TEST(RackCommandTest, Jam) {
  Host host;
  host.configure();
  host.run(15s);
  EXPECT_EQ(host.reported<GnssCondition>().back().jamming, Threat::kNone);
  EXPECT_EQ(host.command("gnss jam on"), "ok");
  host.run(2s);
  EXPECT_EQ(host.reported<GnssCondition>().back().jamming, Threat::kCritical);
  EXPECT_EQ(host.command("gnss jam off"), "ok");
  host.run(2s);
  EXPECT_EQ(host.reported<GnssCondition>().back().jamming, Threat::kNone);
}

TEST(RackCommandTest, RebootLosesTheConfiguration) {
  Host host;
  host.configure();
  host.run(15s);
  EXPECT_EQ(host.command("gnss reboot"), "ok");
  host.forget();
  host.run(1900ms);
  EXPECT_EQ(Host::text(host.gnss), "");
  host.run(7s);
  EXPECT_EQ(host.pulses(Port::kGnssPulse).size(), 0U);
  EXPECT_EQ(Host::text(host.gnss).find("$GNRMC,"), 0U);
  EXPECT_EQ(Host::text(host.gnss).find('\xb5'), std::string::npos);
  host.run(5s);
  EXPECT_GE(host.pulses(Port::kGnssPulse).size(), 3U);
}

TEST(RackCommandTest, GarbageIsNoMessageAndEnds) {
  Host host;
  host.run(5s);
  EXPECT_EQ(host.command("gnss garbage 3s"), "ok");
  host.forget();
  const auto frames = host.stream.counts().frames;
  host.run(2900ms);
  EXPECT_GT(Host::text(host.gnss).size(), 200U);
  EXPECT_EQ(host.stream.counts().frames, frames);
  EXPECT_EQ(host.pulses(Port::kGnssPulse).size(), 3U);
  host.run(2s);
  EXPECT_NE(host.stream.counts().frames, frames);
}

TEST(RackCommandTest, UnpluggedDevicesGoOnUnheard) {
  Host host;
  host.run(5s);
  for (const char* wire : {"gnss", "rubidium", "pps-gnss", "pps-rubidium"}) {
    EXPECT_EQ(host.command(std::string(wire) + " unplug"), "ok");
  }
  for (const Port port : kPorts) EXPECT_FALSE(host.rack.plugged(port));
  host.forget();
  const auto pulses = host.rack.counts(Port::kGnssPulse).sent;
  host.say("ID?\r");
  host.run(3s);
  EXPECT_TRUE(host.edges.empty() && host.gnss.empty() && host.rubidium.empty());
  EXPECT_EQ(host.rack.counts(Port::kGnssPulse).sent, pulses + 3);
  for (const char* wire : {"gnss", "rubidium", "pps-gnss", "pps-rubidium"}) {
    EXPECT_EQ(host.command(std::string(wire) + " plug"), "ok");
  }
  host.say("ID?\r");
  host.run(3s);
  EXPECT_EQ(host.pulses(Port::kGnssPulse).size(), 3U);
  EXPECT_EQ(host.pulses(Port::kRubidiumPulse).size(), 3U);
  EXPECT_EQ(Host::text(host.gnss).find("$GNRMC,"), 0U);
  EXPECT_EQ(Host::text(host.rubidium), "PRS10_3.24_SN_12345\r");
}

TEST(RackCommandTest, RubidiumsTroubles) {
  Host host(without_latency());
  const auto locked = [&host] { return host.status().at("rubidium").at("locked").as_bool(); };
  host.run(9s);
  EXPECT_FALSE(locked());
  host.run(2s);
  EXPECT_TRUE(locked());
  EXPECT_EQ(host.command("rubidium unlock 5s"), "ok");
  EXPECT_FALSE(locked());
  host.run(6s);
  EXPECT_TRUE(locked());

  EXPECT_EQ(host.command("rubidium stall 2s"), "ok");
  host.rubidium.clear();
  host.say("ID?\r");
  host.run(1900ms);
  EXPECT_EQ(Host::text(host.rubidium), "");
  host.run(200ms);
  EXPECT_EQ(Host::text(host.rubidium), "PRS10_3.24_SN_12345\r");

  EXPECT_EQ(host.command("rubidium temperature 55.5"), "ok");
  EXPECT_EQ(host.status().at("rubidium").at("temperature_c").as_double(), 55.5);

  const auto before = off_second(host.pulses(Port::kRubidiumPulse).back());
  EXPECT_EQ(host.command("rubidium reboot"), "ok");
  EXPECT_FALSE(locked());
  host.run(3s);
  EXPECT_GT(std::abs(off_second(host.pulses(Port::kRubidiumPulse).back()) - before), 1'000'000);
}

TEST(RackCommandTest, StoresAreCounted) {
  Host host;
  host.run(2s);
  EXPECT_EQ(host.status().at("rubidium").at("stores").as_int64(), 0);
  host.say("PL!\r");
  EXPECT_EQ(host.status().at("rubidium").at("stores").as_int64(), 1);
}

TEST(RackCommandTest, LeapSecondIsInsertedAtTheEndOfTheMonth) {
  Host host;
  host.configure();
  host.run(15s);
  EXPECT_EQ(host.command("leap insert"), "ok");
  EXPECT_EQ(host.status().at("leap").as_string(), "insert");
  EXPECT_EQ(host.status().at("leap_event_s").as_int64(), kMidnight_s);
  host.run(5s);
  const auto notice = host.reported<LeapNotice>().back();
  EXPECT_EQ(notice.change, LeapIndicator::kInsert);
  EXPECT_EQ(notice.event.ns, kMidnight_s * kNsPerSecond);
  host.forget();
  host.run(15s);
  const auto labels = host.reported<SecondLabel>();
  const auto leap = std::ranges::find(labels, true, &SecondLabel::leap_second);
  ASSERT_NE(leap, labels.end());
  EXPECT_EQ(leap->second.ns, kMidnight_s * kNsPerSecond);
  ASSERT_NE(leap + 1, labels.end());
  EXPECT_EQ((leap + 1)->second, leap->second);
  EXPECT_EQ((leap + 2)->second, leap->second + 1s);
  EXPECT_EQ((leap + 1)->arrival.ns / kNsPerSecond, leap->arrival.ns / kNsPerSecond + 1);
  EXPECT_EQ(host.reported<LeapNotice>().back().tai_minus_utc_s, 38);
  EXPECT_EQ(host.status().at("utc_ns").as_int64(), host.rack.now().ns - kNsPerSecond);
}

TEST(RackCommandTest, LeapSecondIsDeletedOnADayThatIsGiven) {
  Host host;
  host.configure();
  host.run(15s);
  EXPECT_EQ(host.command("leap delete 2027-06-30"), "ok");
  host.forget();
  host.run(20s);
  std::vector<std::int64_t> named;
  for (const SecondLabel& label : host.reported<SecondLabel>()) {
    named.push_back(label.second.ns / kNsPerSecond - kMidnight_s);
  }
  EXPECT_EQ(std::ranges::count(named, -2), 1);
  EXPECT_EQ(std::ranges::count(named, -1), 0);
  EXPECT_EQ(std::ranges::count(named, 0), 1);
  EXPECT_EQ(host.command("leap insert 2027-12-31"), "ok");
  EXPECT_EQ(host.command("leap none"), "ok");
  EXPECT_EQ(host.status().at("utc_ns").as_int64(), host.rack.now().ns + kNsPerSecond);
}

TEST(RackCommandTest, StatusComparesWithTheKernelsClock) {
  Host host;
  const auto status =
      boost::json::parse(execute(host.rack, "status", KernelTime{kStart.ns - 1234}));
  EXPECT_EQ(status.at("utc_ns").as_int64(), kStart.ns);
  EXPECT_EQ(status.at("utc_minus_realtime_ns").as_int64(), 1234);
}

TEST(RackCommandTest, WhatIsNotUnderstoodIsRefusedAndChangesNothing) {
  Host host;
  host.run(3s);
  const std::string before = host.command("status");
  for (const char* line : {"",
                           " ",
                           "statuses",
                           "gnss",
                           "gnss of",
                           "gnss off now",
                           "gnss jam",
                           "gnss jam ",
                           "gnss jam yes",
                           "gnss spoof",
                           "gnss spoof 1",
                           "gnss spoof 401ms",
                           "gnss spoof --1ms",
                           "gnss walk fast",
                           "gnss walk nan",
                           "gnss walk 1e9",
                           "gnss label 1.5",
                           "host jump",
                           "host jump 0s",
                           "host jump 101ms",
                           "gnss garbage 0s",
                           "gnss garbage -1s",
                           "gnss garbage 10000d",
                           "rubidium unlock",
                           "rubidium temperature hot",
                           "rubidium temperature 1e3",
                           "leap",
                           "leap maybe",
                           "leap none 2027-12-31",
                           "leap insert 2027-12-30",
                           "leap insert 2027-13-31",
                           "leap insert 2027-1-31",
                           "leap insert 2026-12-31",
                           "leap insert 2199-12-31",
                           "pps unplug"}) {
    EXPECT_EQ(host.command(line).find("error: "), 0U) << line << ": " << host.command(line);
  }
  EXPECT_EQ(host.command("status"), before);
  EXPECT_EQ(host.command("gnss jam yes"), "error: gnss jam takes on|off: write \"gnss jam on\"");
  EXPECT_EQ(host.command("rubidium"),
            "error: no such command; write one of: rubidium unplug, rubidium plug, pps-rubidium "
            "unplug, pps-rubidium plug, rubidium unlock DURATION, rubidium reboot, rubidium stall "
            "DURATION, rubidium temperature CELSIUS");
}

TEST(RackCommandTest, DevicesThatAreNotThereTakeNoCommands) {
  RackOptions options;
  options.receiver = ReceiverKind::kNone;
  options.rubidium = RubidiumKind::kNone;
  Host host(options);
  host.run(3s);
  EXPECT_TRUE(host.edges.empty());
  EXPECT_EQ(host.command("gnss off"),
            "error: no receiver here: start refclock-sim with --receiver ublox9");
  EXPECT_EQ(host.command("pps-rubidium plug"),
            "error: no rubidium here: start refclock-sim with --rubidium prs10");
  EXPECT_TRUE(host.status().at("gnss").is_null());
  EXPECT_TRUE(host.status().at("rubidium").is_null());
  for (const Port port : kPorts) EXPECT_FALSE(host.rack.plugged(port));
}

TEST(RackCommandTest, ManualHasEveryCommandThatRefusalsName) {
  Host host;
  const std::string manual = command_manual();
  std::string names = host.command("?");
  names.erase(0, names.find(": ", 7) + 2);
  for (std::size_t end = 0; end != std::string::npos;) {
    end = names.find(", ");
    EXPECT_NE(manual.find(names.substr(0, end)), std::string::npos) << names.substr(0, end);
    names.erase(0, end == std::string::npos ? end : end + 2);
  }
}

}  // namespace
}  // namespace timeball::refclock::sim
