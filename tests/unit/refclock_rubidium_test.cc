// The three rubidium models that have no simulator: their words over byte vectors, and the poller
// over short conversations. And what all six have in common.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "refclock/rubidium/fe5680a.h"
#include "refclock/rubidium/mro50.h"
#include "refclock/rubidium/poller.h"
#include "refclock/rubidium/spectratime.h"

namespace timeball::refclock {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using rubidium::Event;
using rubidium::Model;
using rubidium::Report;
using rubidium::Wiring;
namespace spectratime = rubidium::spectratime;
namespace mro50 = rubidium::mro50;
namespace fe5680a = rubidium::fe5680a;

Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// A conversation: each step is 100 ms later, and gives what the poller wrote.
class Conversation {
 public:
  explicit Conversation(const rubidium::Options& options)
      : poller(*rubidium::make_poller(options)) {}

  std::string hear(std::string_view octets) {
    now = now + 100ms;
    report = poller.step(now, bytes_of(octets));
    return {report.write.begin(), report.write.end()};
  }
  // Answers each question by its table until nothing more is asked for.
  void settle(const std::vector<std::pair<std::string, std::string>>& answers) {
    std::string asked = hear("");
    while (!asked.empty()) {
      std::string answer;
      for (const auto& [question, text] : answers) {
        if (asked == question) answer = text;
      }
      all += asked;
      asked = hear(answer);
      for (const auto& condition : report.conditions) last = condition;
      events.insert(events.end(), report.events.begin(), report.events.end());
      if (report.steering) steering = report.steering;
    }
  }
  bool has(Event::Kind kind) const {
    return std::any_of(events.begin(), events.end(), [&](const auto& e) { return e.kind == kind; });
  }

  rubidium::Poller poller;
  HostTime now;
  Report report;
  OscillatorCondition last;
  std::vector<Event> events;
  std::optional<double> steering;
  std::string all;
};

TEST(Rubidium, WiringsThatAModelCannotDoAreRefused) {
  for (const Model model : {Model::kMro50, Model::kFe5680a}) {
    const auto poller = rubidium::make_poller({model, Wiring::kSelfDisciplined, 1e-13});
    ASSERT_FALSE(poller);
    EXPECT_NE(poller.error().message.find("no loop of its own"), std::string::npos);
  }
  const auto unmeasured = rubidium::make_poller({Model::kFe5680a, Wiring::kHostSteered, 0});
  ASSERT_FALSE(unmeasured);
  EXPECT_NE(unmeasured.error().message.find("measure"), std::string::npos);
  EXPECT_TRUE(rubidium::make_poller({Model::kFe5680a, Wiring::kPaperClock, 0}));
}

TEST(Rubidium, LineSettings) {
  EXPECT_EQ(rubidium::line_settings(Model::kSa22c).baud, (std::vector<unsigned>{57600, 9600}));
  EXPECT_TRUE(rubidium::line_settings(Model::kPrs10).xon_xoff);
  for (const Model model : {Model::kPrs10, Model::kSa5x, Model::kSa22c, Model::kSpectratime,
                            Model::kMro50, Model::kFe5680a}) {
    EXPECT_FALSE(rubidium::line_settings(model).baud.empty());
  }
}

TEST(Spectratime, TheRecordedSentence) {
  const auto phase = spectratime::parse_ptnta("$PTNTA,20160203131536,2,T4,000000066,+108,3,0,3*18");
  ASSERT_TRUE(phase);
  EXPECT_EQ(phase->in_after_out, 66ns);
  EXPECT_EQ(phase->fine, 108ns);
  EXPECT_EQ(phase->status, spectratime::Status::kSynchronised);
}

std::string with_checksum(std::string_view body) {
  std::uint8_t sum = 0;
  for (const char c : body) sum ^= static_cast<std::uint8_t>(c);
  std::array<char, 8> text{};
  std::snprintf(text.data(), text.size(), "*%02X", sum);
  return "$"s.append(body).append(text.data());
}

TEST(Spectratime, PhaseFarFromZeroHasNoFinePart) {
  const auto late = spectratime::parse_ptnta(with_checksum("PTNTA,0,2,T4,999999000,-033,6,0,3"));
  ASSERT_TRUE(late);
  EXPECT_EQ(late->in_after_out, -1000ns);
  EXPECT_FALSE(late->fine);
}

TEST(Spectratime, WhatIsNoPhaseSentence) {
  EXPECT_FALSE(spectratime::parse_ptnta("$PTNTA,20160203131536,2,T4,000000066,+108,3,0,3*19"));
  EXPECT_FALSE(spectratime::parse_ptnta("$PTNTA,20160203131536,2,T4,000000066,+108,3,0,3"));
  for (const char* body : {"PTNTA,0,2,T4,1000000000,+1,3,0,3", "PTNTA,0,2,T3,000000066,+1,3,0,3",
                           "PTNTA,0,2,T4,66,+1,x,0,3", "PTNTS,B", "PTNTA"}) {
    EXPECT_FALSE(spectratime::parse_ptnta(with_checksum(body))) << body;
  }
}

TEST(Spectratime, SteeringWords) {
  EXPECT_EQ(spectratime::steering_command(spectratime::steering_word(5.12e-12)), "FC+00010");
  EXPECT_EQ(spectratime::steering_command(-32767), "FC-32767");
  EXPECT_EQ(spectratime::steering_word(-1), -32767);
  EXPECT_EQ(spectratime::parse_frequency("-00012"), -12);
  for (const char* text : {"12", "+", "+32768", "+1x", ""}) {
    EXPECT_FALSE(spectratime::parse_frequency(text)) << text;
  }
}

const std::vector<std::pair<std::string, std::string>> kSpectratime = {
    {"\rID\r", "\r\nTNTSRO-100/00/1.05\r\n"},
    {"ST\r", "4\r\n"},
    {"TR?\r", "1\r\n"},
    {"SY?\r", "0\r\n"},
    {"TR0\r", "0\r\n"},
    {"FC??????\r", "+00012\r\n"},
    {"M\r", "80 00 FF 40 20 10 08 00\r\n"},
};

TEST(Spectratime, PollsAndTurnsTrackingOff) {
  Conversation talk({Model::kSpectratime, Wiring::kPaperClock, 0});
  talk.settle(kSpectratime);
  EXPECT_TRUE(talk.has(Event::Kind::kIdentified));
  EXPECT_TRUE(talk.has(Event::Kind::kReconfigured));
  EXPECT_NE(talk.all.find("TR0\r"), std::string::npos);
  EXPECT_EQ(talk.all.find("SY0\r"), std::string::npos);
  EXPECT_TRUE(talk.last.locked);
  EXPECT_FALSE(talk.last.disciplined);
  EXPECT_DOUBLE_EQ(*talk.steering, 12 * 5.12e-13);
}

TEST(Spectratime, ASentenceInTheMiddleOfAnotherIsRead) {
  Conversation talk({Model::kSpectratime, Wiring::kSelfDisciplined, 0});
  talk.settle(kSpectratime);
  talk.hear("$GPRMC,131519.00,A,4717$PTNTA,20160203131536,2,T4,000000066,+108,3,0,3*18\r\n");
  ASSERT_EQ(talk.report.conditions.size(), 1U);
  EXPECT_EQ(talk.report.conditions[0].phase, 108ns);
  EXPECT_TRUE(talk.report.conditions[0].disciplined);
  EXPECT_TRUE(talk.report.conditions[0].jumped);  // it had not been following before
  talk.hear(".112,N,00833.9,E,0.0,,030216,,,A*55\r\n");
  EXPECT_TRUE(talk.report.conditions.empty());
}

TEST(Spectratime, WarmingUpAfterLockIsARestart) {
  Conversation talk({Model::kSpectratime, Wiring::kPaperClock, 0});
  talk.settle(kSpectratime);
  talk.hear(with_checksum("PTNTA,0,0,T4,000000066,+108,0,0,0") + "\r\n");
  ASSERT_EQ(talk.report.conditions.size(), 2U);
  EXPECT_TRUE(talk.report.conditions[0].restarted);
  EXPECT_FALSE(talk.report.conditions[1].locked);
}

std::string monitor_with(std::string_view temperature, char lock) {
  std::string digits(60, '0');
  digits.replace(52, 4, temperature);
  digits[56] = lock;
  return digits;
}

TEST(Mro50, Monitor) {
  // 47 kOhm beside 100 kOhm: 25 degrees, but for the 273.14 of the maker's formula.
  const auto monitor = mro50::parse_monitor(monitor_with("0AE1", '4'));
  ASSERT_TRUE(monitor);
  EXPECT_NEAR(monitor->temperature_c, 25, 0.05);
  EXPECT_TRUE(monitor->locked);
  EXPECT_FALSE(mro50::parse_monitor(monitor_with("0AE1", 'B'))->locked);
  EXPECT_TRUE(mro50::parse_monitor(monitor_with("0AE1", 'F'))->locked);
  EXPECT_FALSE(mro50::parse_monitor(monitor_with("0000", '4')));
  EXPECT_FALSE(mro50::parse_monitor(monitor_with("FFFF", '4')));
  EXPECT_FALSE(mro50::parse_monitor(monitor_with("0AE1", 'G')));
  EXPECT_FALSE(mro50::parse_monitor("0AE1"));
}

TEST(Mro50, Registers) {
  EXPECT_EQ(mro50::parse_register("0960"), 2400U);
  EXPECT_FALSE(mro50::parse_register(""));
  EXPECT_FALSE(mro50::parse_register("096G"));
  EXPECT_FALSE(mro50::parse_register("123456789"));
  EXPECT_EQ(mro50::fine_command(2400), "MON_tpcb PIL_cfield C 0960\r");
}

TEST(Mro50, PollsAndSteersWithinTheSafePart) {
  Conversation talk({Model::kMro50, Wiring::kHostSteered, 0});
  EXPECT_FALSE(talk.poller.steer(1e-12));  // what it would be a change to is not known
  const std::string monitor = monitor_with("0AE1", '4') + "\n\n";
  std::vector<std::pair<std::string, std::string>> answers = {
      {"MONITOR1\r", monitor},
      {"MON_tpcb PIL_cfield C\r", "0960\n\n"},
      {"FD\r", "00200000\n\n"},
      {"MON_tpcb PIL_cfield C 095F\r", "\n\n"}};
  talk.settle(answers);
  EXPECT_TRUE(talk.last.locked);
  EXPECT_NEAR(*talk.last.temperature_c, 25, 0.05);
  EXPECT_EQ(talk.steering, 0.0);
  EXPECT_DOUBLE_EQ(*talk.poller.steer(1), 800 * 3e-12);
  EXPECT_DOUBLE_EQ(*talk.poller.steer(-1), -800 * 3e-12);
  EXPECT_DOUBLE_EQ(*talk.poller.steer(3.1e-12), 3e-12);
  talk.all.clear();
  talk.settle(answers);
  EXPECT_EQ(talk.all, "MON_tpcb PIL_cfield C 095F\r");  // only the last
  answers[1].second = "095F\n\n";
  talk.now = talk.now + 10s;
  talk.settle(answers);
  EXPECT_DOUBLE_EQ(*talk.steering, 3e-12);
}

TEST(Mro50, RefusalsAndRestarts) {
  Conversation talk({Model::kMro50, Wiring::kPaperClock, 0});
  talk.settle({{"MONITOR1\r", monitor_with("0AE1", '4') + "\n\n"},
               {"FD\r", "?unknown\n\n"},
               {"MON_tpcb PIL_cfield C\r", "0960\n\n"}});
  EXPECT_TRUE(talk.has(Event::Kind::kRefused));
  EXPECT_EQ(talk.hear("boot\r\nStart done>"), "MONITOR1\r");  // the fence
  ASSERT_EQ(talk.report.conditions.size(), 1U);
  EXPECT_TRUE(talk.report.conditions[0].restarted);
}

TEST(Fe5680a, Frames) {
  EXPECT_EQ(fe5680a::read_command(), (std::array<std::uint8_t, 4>{0x2d, 0x04, 0x00, 0x29}));
  EXPECT_EQ(fe5680a::word_frame(fe5680a::kSetVolatile, -190),
            (fe5680a::WordFrame{0x2e, 0x09, 0x00, 0x27, 0xff, 0xff, 0xff, 0x42, 0xbd}));
  EXPECT_EQ(fe5680a::parse_word(fe5680a::word_frame(fe5680a::kRead, -190)), -190);
  fe5680a::WordFrame frame = fe5680a::word_frame(fe5680a::kRead, 77);
  for (std::size_t i = 0; i < frame.size(); ++i) {
    frame[i] ^= 0x10;
    EXPECT_FALSE(fe5680a::parse_word(frame)) << i;
    frame[i] ^= 0x10;
  }
  EXPECT_FALSE(fe5680a::parse_word(Bytes(frame).first(8)));
}

std::string text_of(Bytes b) {
  return {b.begin(), b.end()};
}

TEST(Fe5680a, PollsSteersAndTakesTheLockPin) {
  constexpr double kStep = 6.80789e-13;
  Conversation talk({Model::kFe5680a, Wiring::kHostSteered, kStep});
  const std::string read = text_of(fe5680a::read_command());
  const auto word = [](std::int32_t w) { return text_of(fe5680a::word_frame(fe5680a::kRead, w)); };
  EXPECT_EQ(talk.hear(""), read);
  talk.hear("\x01\x2d\x09"s + word(5));  // noise that begins like a frame
  ASSERT_EQ(talk.report.conditions.size(), 1U);
  EXPECT_FALSE(talk.report.conditions[0].locked);
  EXPECT_DOUBLE_EQ(*talk.report.steering, 5 * kStep);
  EXPECT_EQ(talk.hear(word(5)), "");  // the fence, then the first of the schedule

  talk.poller.lock_pin(true);
  EXPECT_DOUBLE_EQ(*talk.poller.steer(-190.4 * kStep), -190 * kStep);
  const std::string set = text_of(fe5680a::word_frame(fe5680a::kSetVolatile, -190));
  EXPECT_EQ(talk.hear(""), set);
  talk.now = talk.now + 10s;
  EXPECT_EQ(talk.hear(""), read);
  EXPECT_EQ(talk.hear(word(5)), set);  // it was lost: once more
  EXPECT_TRUE(talk.report.conditions.at(0).locked);
  talk.now = talk.now + 10s;
  talk.hear("");
  talk.hear(word(-190));
  EXPECT_DOUBLE_EQ(*talk.report.steering, -190 * kStep);
  EXPECT_NEAR(*talk.poller.steer(1), 1e-8, kStep);
}

TEST(Fe5680a, HalfAFrameDoesNotSpoilTheNext) {
  Conversation talk({Model::kFe5680a, Wiring::kPaperClock, 0});
  const std::string frame = text_of(fe5680a::word_frame(fe5680a::kRead, 5));
  talk.hear("");
  talk.hear(frame.substr(0, 5));
  talk.now = talk.now + 2s;  // the other half never comes
  talk.hear("");
  talk.now = talk.now + 2s;
  talk.hear("");
  talk.hear(frame);
  EXPECT_EQ(talk.report.conditions.size(), 1U);
  EXPECT_FALSE(talk.report.steering);  // a count without a unit is no frequency
  EXPECT_EQ(talk.report.readings.at(0).value, 5);
}

}  // namespace
}  // namespace timeball::refclock
