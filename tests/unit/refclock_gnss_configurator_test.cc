// Frames that configure a u-blox receiver, and the configurator against simulated ones.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/time/ntp_timestamp.h"
#include "refclock/gnss/configurator.h"
#include "refclock/gnss/receiver.h"
#include "refclock/gnss/stream.h"
#include "refclock/gnss/ubx_config.h"
#include "refclock/sim/ublox_model.h"

using namespace timeball;
using namespace timeball::refclock;
using namespace timeball::refclock::gnss;
using ubx::Octets;

namespace {

// A configurator and a receiver on one line.
class Bench {
 public:
  explicit Bench(sim::UbloxGeneration generation, const ConfiguratorSettings& settings = {})
      : model(generation), configurator(settings) {}

  // What the receiver answers may be changed on the way, or lost.
  std::function<Octets(Octets)> on_the_way = [](Octets octets) { return octets; };

  // Until done, or for so many seconds.
  void run(int seconds = 200) {
    exchange(configurator.start(now));
    for (int i = 0; i < seconds && configurator.state() != Configurator::State::kDone; ++i) {
      now = now + std::chrono::seconds(1);
      exchange(configurator.tick(now));
    }
  }
  void exchange(Octets sent) {
    while (!sent.empty()) {
      writes += sent[2] == ubx::kCfg && sent[3] == ubx::kCfgValSet ? 1 : 0;
      stream.add(on_the_way(model.receive(sent)), now);
      sent.clear();
      while (const auto event = stream.next()) {
        const auto* frame = std::get_if<Frame>(&*event);
        if (frame == nullptr || frame->protocol != Protocol::kUbx) continue;
        const Octets more = configurator.take(now, ubx::packet_of(*frame));
        sent.insert(sent.end(), more.begin(), more.end());
      }
    }
  }

  sim::UbloxModel model;
  Configurator configurator;
  Stream stream;
  HostTime now{kNsPerSecond};
  int writes = 0;  // CFG-VALSET
};

std::vector<std::string> complaints(const Configurator& configurator) {
  std::vector<std::string> all;
  for (const Unmet& unmet : configurator.unmet()) {
    constexpr const char* kWhys[] = {" refused", " no answer", " differs"};
    all.push_back(unmet.what + kWhys[static_cast<int>(unmet.why)]);
  }
  return all;
}
using Complaints = std::vector<std::string>;

}  // namespace

TEST(UbxConfig, Frames) {
  // The poll of MON-VER, as u-blox's documents print it.
  EXPECT_EQ(ubx::frame(0x0a, 0x04), (Octets{0xb5, 0x62, 0x0a, 0x04, 0, 0, 0x0e, 0x34}));
  const ubx::KeyValue values[] = {{0x30210001, 1000}, {0x10050007, 1}, {0x50000001, 1ULL << 40}};
  const Octets set = ubx::val_set(values);
  EXPECT_EQ(Octets(set.begin() + 2, set.end() - 2),
            (Octets{0x06, 0x8a, 27,   0,    0,    1,    0,    0,    0x01, 0x00, 0x21,
                    0x30, 0xe8, 0x03, 0x07, 0x00, 0x05, 0x10, 0x01, 0x01, 0x00, 0x00,
                    0x50, 0,    0,    0,    0,    0,    1,    0,    0}));
  const Octets get = ubx::val_get(std::span(values).first(1));
  EXPECT_EQ(Octets(get.begin() + 2, get.end() - 2),
            (Octets{0x06, 0x8b, 8, 0, 0, 0, 0, 0, 0x01, 0x00, 0x21, 0x30}));
}

TEST(UbxConfig, AnswersOfValGet) {
  const Octets good = {1, 0, 0, 0, 0x01, 0x00, 0x21, 0x30, 0xe8, 0x03};
  const auto answer = ubx::val_get_answer({6, 0x8b, good});
  ASSERT_TRUE(answer);
  EXPECT_EQ(*answer, (std::vector<ubx::KeyValue>{{0x30210001, 1000}}));
  for (std::size_t size = 0; size < good.size(); ++size) {
    if (size == 4) continue;  // no keys
    EXPECT_FALSE(ubx::val_get_answer({6, 0x8b, Bytes(good).first(size)})) << size;
  }
  EXPECT_FALSE(ubx::val_get_answer({6, 0x8a, good}));
  EXPECT_FALSE(ubx::val_get_answer({6, 0x8b, Octets{1, 0, 0, 0, 1, 0, 0, 0x70, 1}}));  // no size
}

TEST(UbxConfig, PayloadsOfGeneration8) {
  const Octets tp5 = ubx::time_pulse_payload({.cable_delay_ns = -50, .length_us = 100'000});
  ASSERT_EQ(tp5.size(), 32U);
  EXPECT_EQ(tp5[4], 0xce);
  EXPECT_EQ(tp5[5], 0xff);
  EXPECT_EQ((Octets{tp5.begin() + 8, tp5.begin() + 12}), (Octets{0x40, 0x42, 0x0f, 0}));
  EXPECT_EQ((Octets{tp5.begin() + 16, tp5.begin() + 20}), (Octets{0, 0, 0, 0}));  // not locked
  EXPECT_EQ((Octets{tp5.begin() + 20, tp5.begin() + 24}), (Octets{0xa0, 0x86, 0x01, 0}));
  EXPECT_EQ(tp5[28], 0x77);
  const Octets mode = ubx::time_mode_payload({.mode = ubx::TimeMode::Mode::kFixed,
                                              .ecef_cm = {1, -2, 3},
                                              .accuracy_mm = 500,
                                              .survey_s = 0,
                                              .survey_limit_mm = 0});
  ASSERT_EQ(mode.size(), 28U);
  EXPECT_EQ(mode[0], 2);
  EXPECT_EQ((Octets{mode.begin() + 8, mode.begin() + 12}), (Octets{0xfe, 0xff, 0xff, 0xff}));
  EXPECT_EQ((Octets{mode.begin() + 16, mode.begin() + 18}), (Octets{0xf4, 0x01}));
  EXPECT_EQ(ubx::rate_payload(1000), (Octets{0xe8, 0x03, 1, 0, 0, 0}));
}

TEST(GnssConfigurator, Generation9) {
  Bench bench(sim::UbloxGeneration::k9);
  bench.run();
  EXPECT_EQ(bench.configurator.state(), Configurator::State::kDone);
  EXPECT_EQ(complaints(bench.configurator), Complaints{});
  EXPECT_TRUE(bench.configurator.satisfied());
  EXPECT_EQ(bench.configurator.identity().model, "ZED-F9T");
  EXPECT_EQ(bench.configurator.identity().protocol_hundredths, 2920U);
  EXPECT_EQ(bench.model.configured(0x20030001), 1U);
  EXPECT_EQ(bench.model.configured(0x40030011), 90'000U);
  EXPECT_EQ(bench.model.configured(0x40050004), 0U);
  EXPECT_EQ(bench.model.configured(0x40050005), 100'000U);
  for (const auto& [c, i] : {std::pair{0x01, 0x07},
                             {0x01, 0x21},
                             {0x01, 0x26},
                             {0x01, 0x61},
                             {0x0d, 0x01},
                             {0x0d, 0x04},
                             {0x0a, 0x38},
                             {0x27, 0x09}}) {
    EXPECT_TRUE(bench.model.sends(static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(i)));
  }
  EXPECT_FALSE(bench.model.sends(0xf0, 0x04));
}

TEST(GnssConfigurator, Generation8) {
  Bench bench(sim::UbloxGeneration::k8);
  bench.run();
  EXPECT_EQ(complaints(bench.configurator), Complaints{});
  EXPECT_TRUE(bench.configurator.satisfied());
  EXPECT_EQ(bench.configurator.identity().protocol_hundredths, 2200U);
  EXPECT_TRUE(bench.model.sends(0x01, 0x07));
  EXPECT_TRUE(bench.model.sends(0x0d, 0x01));
  EXPECT_TRUE(bench.model.sends(0x0a, 0x09));
  EXPECT_FALSE(bench.model.sends(0xf0, 0x04));
}

TEST(GnssConfigurator, AFixedPosition) {
  ConfiguratorSettings settings;
  settings.position = {.mode = ubx::TimeMode::Mode::kFixed,
                       .ecef_cm = {418'123'456, 85'000'000, -472'000'000},
                       .accuracy_mm = 50,
                       .survey_s = 0,
                       .survey_limit_mm = 0};
  settings.keep_nmea = true;
  for (const auto generation : {sim::UbloxGeneration::k8, sim::UbloxGeneration::k9}) {
    Bench bench(generation, settings);
    bench.run();
    EXPECT_EQ(complaints(bench.configurator), Complaints{});
    EXPECT_TRUE(bench.model.sends(0xf0, 0x04));
  }
  Bench bench(sim::UbloxGeneration::k9, settings);
  bench.run();
  EXPECT_EQ(bench.model.configured(0x20030001), 2U);
  EXPECT_EQ(bench.model.configured(0x40030005), 0xffff'ffffU - 472'000'000 + 1);
  EXPECT_EQ(bench.model.configured(0x4003000f), 500U);
}

TEST(GnssConfigurator, WhatIsSetAlreadyIsNotWrittenAgain) {
  Bench bench(sim::UbloxGeneration::k9);
  bench.run();
  EXPECT_GT(bench.writes, 0);
  bench.writes = 0;
  bench.run();
  EXPECT_TRUE(bench.configurator.satisfied());
  EXPECT_EQ(bench.writes, 0);  // a survey under way goes on
}

TEST(GnssConfigurator, AReceiverThatDoesNotAnswer) {
  Bench bench(sim::UbloxGeneration::k9);
  bench.on_the_way = [](const Octets& /*lost*/) { return Octets{}; };
  bench.run();
  EXPECT_EQ(complaints(bench.configurator), Complaints{"MON-VER no answer"});
  EXPECT_FALSE(bench.configurator.satisfied());
  EXPECT_LT(bench.now, HostTime{} + std::chrono::seconds(10));
}

TEST(GnssConfigurator, LostAndBrokenAnswersAreAskedForAgain) {
  Bench bench(sim::UbloxGeneration::k9);
  int count = 0;
  bench.on_the_way = [&count](Octets octets) {
    ++count;
    if (count % 4 == 1) return Octets{};
    if (count % 4 == 2 && octets.size() > 8) octets[7] ^= 1;
    return octets;
  };
  bench.run();
  EXPECT_TRUE(bench.configurator.satisfied());
  EXPECT_EQ(complaints(bench.configurator), Complaints{});
}

namespace {

// A receiver of generation 9 that does not know some keys, and does not keep others.
class Stubborn {
 public:
  using Keys = std::vector<std::uint32_t>;
  Stubborn(Keys unknown, Keys deaf) : unknown_(std::move(unknown)), deaf_(std::move(deaf)) {}

  Octets answer(const ubx::Packet& packet) {
    if (packet.message_class == 0x0a) {
      Octets version(70);
      std::ranges::copy(std::string("PROTVER=27.50"), version.begin() + 40);
      return ubx::frame(0x0a, 0x04, version);
    }
    Octets out;
    Octets values = {1, 0, 0, 0};
    bool known = true;
    for (Bytes rest = packet.payload.subspan(4); !rest.empty();) {
      const auto key = static_cast<std::uint32_t>(rest[0] | rest[1] << 8 | rest[2] << 16 |
                                                  static_cast<std::uint32_t>(rest[3]) << 24);
      constexpr std::size_t kSizes[] = {0, 1, 1, 2, 4, 8, 0, 0};
      const std::size_t size = kSizes[key >> 28];
      known = known && std::ranges::count(unknown_, key) == 0;
      Octets& value = values_[key];
      value.resize(size);
      if (packet.id == ubx::kCfgValSet) {
        if (std::ranges::count(deaf_, key) == 0)
          std::ranges::copy(rest.subspan(4, size), value.begin());
        rest = rest.subspan(4 + size);
      } else {
        values.insert(values.end(), rest.begin(), rest.begin() + 4);
        values.insert(values.end(), value.begin(), value.end());
        rest = rest.subspan(4);
      }
    }
    if (packet.id == ubx::kCfgValGet && known) out = ubx::frame(0x06, 0x8b, values);
    const Octets about = {0x06, packet.id};
    const Octets ack = ubx::frame(0x05, known ? 1 : 0, about);
    out.insert(out.end(), ack.begin(), ack.end());
    return out;
  }

 private:
  Keys unknown_;
  Keys deaf_;
  std::map<std::uint32_t, Octets> values_;
};

Complaints complaints_of(Stubborn::Keys unknown, Stubborn::Keys deaf, bool* satisfied) {
  Stubborn receiver(std::move(unknown), std::move(deaf));
  Configurator configurator{{}};
  Stream to_receiver;
  Stream to_us;
  Octets sent = configurator.start({});
  while (!sent.empty()) {
    to_receiver.add(sent, {});
    sent.clear();
    while (const auto event = to_receiver.next()) {
      to_us.add(receiver.answer(ubx::packet_of(std::get<Frame>(*event))), {});
    }
    while (const auto event = to_us.next()) {
      const Octets more = configurator.take({}, ubx::packet_of(std::get<Frame>(*event)));
      sent.insert(sent.end(), more.begin(), more.end());
    }
  }
  EXPECT_EQ(configurator.state(), Configurator::State::kDone);
  *satisfied = configurator.satisfied();
  return complaints(configurator);
}

}  // namespace

TEST(GnssConfigurator, SaysWhatDoesNotHold) {
  bool satisfied = false;
  EXPECT_EQ(complaints_of({}, {}, &satisfied), Complaints{});
  EXPECT_TRUE(satisfied);
  // An older firmware: no SEC-SIG, and time can be had without it.
  EXPECT_EQ(complaints_of({0x20910635}, {}, &satisfied), Complaints{"SEC-SIG refused"});
  EXPECT_TRUE(satisfied);
  // One key of a group is named; the others are set all the same.
  EXPECT_EQ(complaints_of({0x2005000c}, {}, &satisfied),
            Complaints{"time pulse: TP-TIMEGRID_TP1 refused"});
  EXPECT_FALSE(satisfied);
  EXPECT_EQ(complaints_of({}, {0x20030001, 0x1041000d}, &satisfied),
            (Complaints{"position differs", "jamming monitor differs"}));
  EXPECT_FALSE(satisfied);
}

namespace {

// What our receiver makes of so many seconds of a simulated one, after it has been configured.
Reports heard(Bench& bench, UtcTime begin, int seconds, const sim::UbloxSky& sky,
              const ReceiverOptions& options) {
  bench.run();
  EXPECT_TRUE(bench.configurator.satisfied());
  Receiver receiver(options);
  Reports reports;
  for (int i = 0; i < seconds; ++i) {
    const HostTime at{(1'000'000 + i) * kNsPerSecond};
    bench.stream.add(bench.model.epoch(begin + std::chrono::seconds(i), 1000 + i, sky), at);
    while (const auto event = bench.stream.next()) {
      EXPECT_TRUE(std::holds_alternative<Frame>(*event));
      EXPECT_FALSE(receiver.take(std::get<Frame>(*event), reports));
    }
  }
  return reports;
}
template <class T>
std::vector<T> all(const Reports& reports) {
  std::vector<T> found;
  for (const Report& report : reports) {
    if (const auto* one = std::get_if<T>(&report)) found.push_back(*one);
  }
  return found;
}
constexpr UtcTime kBegin{1'764'000'000 * kNsPerSecond};
constexpr ReceiverOptions kOptions = {
    .pivot = UtcTime{1'760'000'000 * kNsPerSecond},
    .position = SurveyedPosition{48.1, 11.5, 560},
};

}  // namespace

TEST(GnssReceiverAndModel, GoodDays) {
  for (const auto generation : {sim::UbloxGeneration::k8, sim::UbloxGeneration::k9}) {
    Bench bench(generation);
    const Reports reports = heard(bench, kBegin, 10, {}, kOptions);
    const auto labels = all<SecondLabel>(reports);
    const auto errors = all<QuantisationError>(reports);
    const auto conditions = all<GnssCondition>(reports);
    const auto notices = all<LeapNotice>(reports);
    ASSERT_EQ(labels.size(), 10U);
    ASSERT_EQ(errors.size(), 10U);
    ASSERT_EQ(conditions.size(), 10U);
    ASSERT_EQ(notices.size(), 10U);
    for (int i = 0; i < 10; ++i) {
      const auto n = static_cast<std::size_t>(i);
      EXPECT_EQ(labels[n].second, kBegin + std::chrono::seconds(i));
      EXPECT_TRUE(labels[n].trusted);
      EXPECT_EQ(errors[n].second, kBegin + std::chrono::seconds(i + 1));
      EXPECT_EQ(errors[n].error_ps, 1000 + i);
      EXPECT_TRUE(errors[n].valid);
      EXPECT_TRUE(notices[n].trusted);
      EXPECT_EQ(notices[n].tai_minus_utc_s, 37);
    }
    const GnssCondition& condition = conditions.back();
    EXPECT_TRUE(condition.usable);
    EXPECT_EQ(condition.satellites_used, 14U);
    EXPECT_EQ(condition.satellites_in_view, 14U);
    EXPECT_EQ(condition.time_accuracy, Duration(12));
    EXPECT_EQ(condition.jamming, Threat::kNone);
    EXPECT_EQ(condition.spoofing, Threat::kNone);
    EXPECT_EQ(condition.jamming_indicator, 8U);
    EXPECT_EQ(condition.antenna, Antenna::kOk);
    EXPECT_NEAR(condition.position_offset_m.value(), 0, 0.01);
    EXPECT_TRUE(all<WeekRollover>(reports).empty());
  }
}

TEST(GnssReceiverAndModel, BadDays) {
  for (const auto generation : {sim::UbloxGeneration::k8, sim::UbloxGeneration::k9}) {
    const auto day = [generation](const sim::UbloxSky& sky) {
      Bench bench(generation);
      return heard(bench, kBegin, 3, sky, kOptions);
    };
    sim::UbloxSky sky;
    sky.fix = false;
    Reports reports = day(sky);
    EXPECT_FALSE(all<GnssCondition>(reports).back().usable);
    EXPECT_FALSE(all<SecondLabel>(reports).back().trusted);
    EXPECT_FALSE(all<QuantisationError>(reports).back().valid);

    sky = {};
    sky.time_confirmed = false;
    reports = day(sky);
    EXPECT_TRUE(all<GnssCondition>(reports).back().usable);
    EXPECT_FALSE(all<SecondLabel>(reports).back().trusted);
    EXPECT_FALSE(all<LeapNotice>(reports).back().trusted);

    sky = {};
    sky.jamming = Threat::kCritical;
    sky.spoofing = Threat::kWarning;
    sky.antenna = Antenna::kOpen;
    sky.moved_m = 25;
    reports = day(sky);
    EXPECT_EQ(all<GnssCondition>(reports).back().jamming, Threat::kCritical);
    EXPECT_EQ(all<GnssCondition>(reports).back().spoofing, Threat::kWarning);
    EXPECT_EQ(all<GnssCondition>(reports).back().antenna, Antenna::kOpen);
    EXPECT_NEAR(all<GnssCondition>(reports).back().position_offset_m.value(), 25, 0.01);

    sky = {};
    sky.week_rollover = true;
    reports = day(sky);
    EXPECT_EQ(all<WeekRollover>(reports).size(), 1U);
    EXPECT_EQ(all<SecondLabel>(reports).back().second, kBegin + std::chrono::seconds(2));
    EXPECT_EQ(all<QuantisationError>(reports).back().second, kBegin + std::chrono::seconds(3));

    sky = {};
    sky.leap = LeapIndicator::kInsert;
    sky.leap_event = UtcTime{1'767'225'600 * kNsPerSecond};  // 2026-01-01
    reports = day(sky);
    EXPECT_EQ(all<LeapNotice>(reports).back().change, LeapIndicator::kInsert);
    EXPECT_EQ(all<LeapNotice>(reports).back().event, sky.leap_event);
    EXPECT_TRUE(all<LeapNotice>(reports).back().trusted);
  }
}

TEST(GnssReceiverAndModel, FromTheFactoryItIsPlainNmea) {
  sim::UbloxModel model(sim::UbloxGeneration::k8);
  ReceiverOptions options = kOptions;
  options.nmea_settling = Duration(0);
  Receiver receiver(options);
  Stream stream;
  Reports reports;
  for (int i = 0; i < 8; ++i) {
    stream.add(model.epoch(kBegin + std::chrono::seconds(i), 0, {}), HostTime{i * kNsPerSecond});
    while (const auto event = stream.next()) receiver.take(std::get<Frame>(*event), reports);
  }
  const auto labels = all<SecondLabel>(reports);
  ASSERT_EQ(labels.size(), 7U);
  EXPECT_FALSE(labels[3].trusted);
  EXPECT_TRUE(labels[4].trusted);
  EXPECT_EQ(labels[6].second, kBegin + std::chrono::seconds(6));
  EXPECT_EQ(all<GnssCondition>(reports).back().satellites_used, 12U);
}
