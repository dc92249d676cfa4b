// gpsd's reports, from lines that gpsd 3.22 wrote, and the connection to it.
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <chrono>

#include "common/time/ntp_timestamp.h"
#include "refclock/gpsd/gpsd_client.h"
#include "refclock/gpsd/gpsd_report.h"

namespace timeball::refclock {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using namespace std::chrono_literals;

constexpr std::int64_t kSecond_ns = 1'614'103'469 * kNsPerSecond;  // 2021-02-23 18:04:29 UTC
constexpr std::string_view kTpv =
    R"({"class":"TPV","device":"/dev/pts/1","mode":0,"time":"2021-02-23T18:04:29.000Z","leapseconds":18,"ept":0.005})";
constexpr std::string_view kPps =
    R"({"class":"PPS","device":"/dev/ttyS0","real_sec":1614103469,"real_nsec":0,"clock_sec":1614103468,"clock_nsec":999999123,"precision":-20,"qErr":-4331})";

template <class T>
T parsed(std::string_view line) {
  const auto report = parse_gpsd(line);
  EXPECT_TRUE(report) << line;
  return std::get<T>(*report);
}

TEST(GpsdReportTest, Tpv) {
  const auto tpv = parsed<GpsdTpv>(kTpv);
  EXPECT_EQ(tpv.device, "/dev/pts/1");
  EXPECT_EQ(tpv.time->ns, kSecond_ns);
  EXPECT_EQ(tpv.time_error, Duration(5ms));
  EXPECT_EQ(tpv.leap_seconds, 18);
}

TEST(GpsdReportTest, Pps) {
  const auto pps = parsed<GpsdPps>(kPps);
  EXPECT_EQ(pps.real.ns, kSecond_ns);
  EXPECT_EQ(pps.clock.ns, kSecond_ns - 877);
  EXPECT_EQ(pps.precision, -20);
  EXPECT_EQ(pps.error_ps, -4331);
}

// A satellite without gnssid, one that is not received, and what is no satellite.
constexpr std::string_view kSky =
    R"({"class":"SKY","device":"/dev/ttyS0","pdop":1.28,"tdop":0.63,"nSat":4,"uSat":1,"satellites":[)"
    R"({"PRN":12,"gnssid":0,"svid":12,"el":41.6,"az":359.8,"ss":43.0,"used":true,"health":1},)"
    R"({"PRN":131,"gnssid":1,"svid":131,"el":39.0,"az":174.0,"ss":0.0,"used":false},)"
    R"({"PRN":70,"el":-91,"az":20,"ss":30,"used":false},7]})";

TEST(GpsdReportTest, SkyHasItsSatellites) {
  const auto report = parsed<GpsdSky>(kSky);
  EXPECT_EQ(report.in_view, 4U);
  EXPECT_DOUBLE_EQ(report.sky.pdop.value(), 1.28);
  EXPECT_DOUBLE_EQ(report.sky.tdop.value(), 0.63);
  const std::vector<Satellite> expected = {
      {Constellation::kGps, 12, 42, 0, 43, true},
      {Constellation::kSbas, 131, 39, 174, std::nullopt, false},
      {Constellation::kUnknown, 70, std::nullopt, 20, 30, false}};
  EXPECT_EQ(report.sky.satellites, expected);
  GpsdFold fold;
  EXPECT_EQ(fold.step(report, HostTime{1}).sky.value().satellites, expected);
}

TEST(GpsdReportTest, SkyIsBounded) {
  std::string line = R"({"class":"SKY","satellites":[{"PRN":1})";
  for (int i = 0; i < 500; ++i) line += R"(,{"PRN":2})";
  EXPECT_EQ(parsed<GpsdSky>(line + "]}").sky.satellites.size(), kMaxSatellites);
}

TEST(GpsdReportTest, VersionAndOthers) {
  const auto version = parsed<GpsdVersion>(
      R"({"class":"VERSION","release":"3.22","rev":"3.22","proto_major":3,"proto_minor":14})");
  EXPECT_EQ(version.release, "3.22");
  EXPECT_EQ(version.protocol_major, 3);
  EXPECT_EQ(parsed<GpsdOther>(R"({"class":"WATCH","enable":true})").report_class, "WATCH");
}

TEST(GpsdReportTest, RefusesWhatIsNoReport) {
  for (const std::string_view line :
       {"", "$GPRMC,1", "[1]", "{}", R"({"class":7})", R"({"class":"TPV")",
        R"({"class":"PPS","real_sec":1})", R"({"class":"PPS","real_sec":1e400})"}) {
    EXPECT_FALSE(parse_gpsd(line)) << line;
  }
  EXPECT_FALSE(parse_gpsd(std::string(kMaxGpsdLine + 1, ' ')));
}

TEST(GpsdReportTest, LeavesOutValuesThatCannotBe) {
  const auto tpv = parsed<GpsdTpv>(
      R"({"class":"TPV","mode":9,"time":"2021-02-30T18:04:29.000Z","leapseconds":"18","ept":-1,"jam":999})");
  EXPECT_EQ(tpv.mode, 0);
  EXPECT_FALSE(tpv.time);
  EXPECT_FALSE(tpv.leap_seconds);
  EXPECT_FALSE(tpv.time_error);
  EXPECT_FALSE(tpv.jamming_indicator);
}

TEST(GpsdReportTest, Times) {
  EXPECT_EQ(parse_gpsd_time("2021-02-23T18:04:29Z")->time.ns, kSecond_ns);
  EXPECT_EQ(parse_gpsd_time("2021-02-23T18:04:29.25Z")->time.ns, kSecond_ns + 250'000'000);
  const auto leap = parse_gpsd_time("2016-12-31T23:59:60.000Z");
  EXPECT_EQ(leap->time.ns, 1'483'228'800 * kNsPerSecond);
  EXPECT_TRUE(leap->leap_second);
  for (const std::string_view text :
       {"", "Z", "2021-02-23T18:04:29.Z", "2021-02-23T18:04:29", "2021-02-23T24:04:29Z",
        "2021-2-23T18:04:29.000Z", "2021-02-23T18:04:61.000Z", "9999-01-01T00:00:00Z",
        "0471-02-23T18:04:29.000Z", "1969-12-31T23:59:59Z", "2021-02-23T18:04:29.-1Z"}) {
    EXPECT_FALSE(parse_gpsd_time(text)) << text;
  }
}

TEST(GpsdFoldTest, LabelsAreTrustedOnlyWithAFixAndLeapSeconds) {
  GpsdFold fold;
  GpsdTpv tpv = parsed<GpsdTpv>(kTpv);
  const auto seen = fold.step(tpv, {5});
  EXPECT_TRUE(seen.label->trusted);
  EXPECT_EQ(seen.label->second.ns, kSecond_ns);
  EXPECT_EQ(seen.label->arrival.ns, 5);
  EXPECT_TRUE(seen.condition->usable);
  EXPECT_EQ(seen.leap->tai_minus_utc_s, 37);

  for (const int status : {5, 6, 8}) {
    tpv.status = status;
    EXPECT_FALSE(fold.step(tpv, {6}).label->trusted) << status;
  }
  tpv.status = 7;
  EXPECT_TRUE(fold.step(tpv, {7}).label->trusted);
  tpv.mode = 1;
  EXPECT_FALSE(fold.step(tpv, {8}).label->trusted);
  tpv.mode = 3;
  tpv.leap_seconds.reset();
  EXPECT_FALSE(fold.step(tpv, {9}).label->trusted);
  tpv.time->ns += 1;
  EXPECT_FALSE(fold.step(tpv, {10}).label);
}

TEST(GpsdFoldTest, StaysWithOneReceiver) {
  GpsdFold fold;
  EXPECT_TRUE(fold.step(parsed<GpsdTpv>(kTpv), {}).label);
  EXPECT_FALSE(fold.step(parsed<GpsdPps>(kPps), {}).pulse);
  GpsdFold named("/dev/ttyS0");
  EXPECT_FALSE(named.step(parsed<GpsdTpv>(kTpv), {}).label);
  const auto seen = named.step(parsed<GpsdPps>(kPps), {});
  EXPECT_TRUE(seen.pulse);
  EXPECT_EQ(seen.quantisation->error_ps, -4331);
}

class GpsdClientTest : public testing::Test {
 protected:
  void start() {
    client_ = std::make_unique<GpsdClient>(
        context_, GpsdOptions{"127.0.0.1", std::to_string(acceptor_.local_endpoint().port())},
        [this](const GpsdReport& report, HostTime arrival) {
          reports_.push_back(report);
          EXPECT_GT(arrival.ns, 0);
        });
    client_->start();
  }
  template <class Condition>
  bool becomes(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + 5s;
    while (!condition() && std::chrono::steady_clock::now() < end) context_.run_for(10ms);
    return condition();
  }
  // The next connection, once it is there.
  tcp::socket accept() {
    tcp::socket socket(context_);
    bool there = false;
    acceptor_.async_accept(socket, [&](auto error) { there = !error; });
    EXPECT_TRUE(becomes([&] { return there; }));
    return socket;
  }

  asio::io_context context_;
  tcp::acceptor acceptor_{context_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)};
  std::unique_ptr<GpsdClient> client_;
  std::vector<GpsdReport> reports_;
};

TEST_F(GpsdClientTest, AsksTakesLinesInPiecesAndCountsWhatIsNone) {
  start();
  tcp::socket gpsd = accept();
  std::string asked(128, '\0');
  asked.resize(gpsd.read_some(asio::buffer(asked)));
  EXPECT_EQ(asked, "?WATCH={\"enable\":true,\"json\":true,\"pps\":true};\n");
  const std::string lines = std::string(kTpv) + "\r\nnonsense\n\n" + std::string(kPps) + "\n";
  for (const char c : lines) {
    asio::write(gpsd, asio::buffer(&c, 1));
    context_.poll();
  }
  EXPECT_TRUE(becomes([&] { return reports_.size() == 2; }));
  EXPECT_EQ(client_->counts().reports, 2U);
  EXPECT_EQ(client_->counts().refused, 1U);
}

TEST_F(GpsdClientTest, ConnectsAgain) {
  start();
  accept().close();
  EXPECT_TRUE(becomes([&] { return client_->counts().lost == 1; }));
  accept();
  EXPECT_TRUE(becomes([&] { return client_->counts().connected == 2; }));
}

TEST_F(GpsdClientTest, ALineWithoutEndEndsTheConnection) {
  start();
  tcp::socket gpsd = accept();
  asio::write(gpsd, asio::buffer(std::string(kMaxGpsdLine + 1, 'x')));
  EXPECT_TRUE(becomes([&] { return client_->counts().lost == 1; }));
}

}  // namespace
}  // namespace timeball::refclock
