// What `timeball status` and its kin print.
#include "server/status_text.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace timeball::server {
namespace {

namespace json = boost::json;

constexpr const char* kLocked = R"({"time":{"synchronised":true,"stratum":1,"leap":0,
  "reference_id":"GPS","error_bound_s":3.12e-7,"offset_s":0.0001,"reference_age_s":0.4,
  "state":"LOCKED","state_s":7260,"flags":["degraded"],"holdover_remaining_s":null},
  "ntp":{"requests_per_s":12345.6,"nts_per_s":8.25,"t3_to_wire_s":{"p50":1e-6,"p99":4.5e-6}},
  "nts_ke":{"handshakes_per_s":0.5,"open":3,"handshake_s":null},
  "keys":{"provider":"file","age_s":3600,"next_rotation_s":82800,"generations":[{},{},{}]},
  "certificates":[{"file":"/c.pem","days_left":89.2,"refused":true}],
  "receiver":{"kind":"gnss","model":"ZED-F9T","usable":true,"satellites_used":12,
    "satellites_in_view":20,"time_accuracy_s":6e-9,"jamming":"none","spoofing":"none",
    "antenna":"good","satellites":[{"system":"GPS","number":12,"elevation_deg":45,
    "azimuth_deg":123,"cno_dbhz":41,"used":true}]},
  "rubidium":{"model":"prs10","locked":false,"temperature_c":45.25},
  "pulses":[{"device":"/dev/pps0","pulses":100,"missed":2}],"samples":[],"alarms":[]})";

json::object locked() {
  return json::parse(kLocked).as_object();
}

json::object alarm(const char* name, const char* severity) {
  return {{"name", name},
          {"severity", severity},
          {"for_s", 12},
          {"meaning", "It is."},
          {"action", "Mend it."}};
}

TEST(StatusText, FirstLineSaysWhetherTheTimeIsRight) {
  EXPECT_EQ(status_text(locked(), false),
            "time         right, within 312 ns\n"
            "             LOCKED for 2 h 1 min, stratum 1, reference GPS, 400 ms old\n"
            "             degraded\n"
            "NTP          12346/s, 8.2/s of them NTS; T3 to the wire p50 1 us, p99 4.5 us\n"
            "NTS-KE       0.5/s, 3 open; handshake not measured yet\n"
            "keys         3 (file), rotated 60 min ago, next in 23 h 0 min\n"
            "certificate  /c.pem: 89 days left, what is in its files is refused\n"
            "receiver     ZED-F9T: usable, 12 of 20 satellites used, accuracy 6 ns\n"
            "             jamming none, spoofing none, antenna good\n"
            "rubidium     prs10: NOT locked, 45.2 C\n"
            "alarms       none\n");
}

TEST(StatusText, HoldoverSaysHowLongItIsGoodFor) {
  json::object status = locked();
  status["time"].as_object()["state"] = "HOLDOVER";
  status["time"].as_object()["holdover_remaining_s"] = 90000;
  EXPECT_EQ(status_text(status, false)
                .find("time         HOLDOVER, within 312 ns, good for 25 h 0 min more\n"),
            0U);
}

TEST(StatusText, ColourIsForTerminalsOnly) {
  json::object status = locked();
  status["time"].as_object()["synchronised"] = false;
  EXPECT_EQ(status_text(status, false).find('\x1b'), std::string::npos);
  EXPECT_NE(status_text(status, true).find("\x1b[1;31mNOT SYNCHRONISED"), std::string::npos);
}

TEST(StatusText, AlarmsSayWhatToDo) {
  json::object status = locked();
  status["alarms"] = json::array{alarm("jamming", "major")};
  EXPECT_EQ(alarms_text(status, false),
            "alarm        jamming (major), for 12 s\n"
            "             It is.\n"
            "             -> Mend it.\n");
}

TEST(StatusText, SourcesListSatellites) {
  const std::string text = sources_text(locked(), false);
  EXPECT_NE(text.find("pulse        /dev/pps0: 100 pulses, 2 missed\n"), std::string::npos);
  EXPECT_NE(text.find("  GPS        12         45      123     41  used\n"), std::string::npos);
}

TEST(StatusText, ClientsAreATable) {
  const auto clients = json::parse(R"({"clients":[{"address":"2001:db8::1","requests":7}]})");
  EXPECT_NE(clients_text(clients.as_object()).find("2001:db8::1"), std::string::npos);
  EXPECT_EQ(clients_text({}), "nobody has asked yet\n");
}

// Another version's daemon, or a broken one, is no reason to crash; nor are its escapes obeyed.
TEST(StatusText, NothingIsTakenForGranted) {
  for (const char* text :
       {"{}", R"({"time":null,"alarms":null})", R"({"time":{},"ntp":{},"nts_ke":{},"keys":{},
        "certificates":[1,{}],"receiver":{"satellites":[null,{}]},"rubidium":{},"pulses":[{}, 2],
        "samples":[{}],"alarms":[{}, 3]})"}) {
    const json::object status = json::parse(text).as_object();
    EXPECT_NO_THROW({
      (void)status_text(status, true);
      (void)sources_text(status, true);
      (void)alarms_text(status, true);
      (void)clients_text(status);
      (void)plugin_text(status, {});
    });
  }
  json::object hostile = locked();
  hostile["alarms"] = json::array{alarm("\x1b[2J", "minor")};
  EXPECT_EQ(status_text(hostile, false).find('\x1b'), std::string::npos);
}

TEST(StatusHealth, IsAsBadAsTheWorstThing) {
  const HealthLimits limits{std::chrono::microseconds(1), std::chrono::microseconds(10)};
  const auto with_bound = [](double bound) {
    json::object status = locked();
    status["time"].as_object()["error_bound_s"] = bound;
    return status;
  };
  EXPECT_EQ(health_of(locked(), limits), Health::kOk);
  EXPECT_EQ(health_of(with_bound(2e-6), limits), Health::kWarning);
  EXPECT_EQ(health_of(with_bound(2e-5), limits), Health::kCritical);
  EXPECT_EQ(health_of(with_bound(2e-5), {}), Health::kOk);
  EXPECT_EQ(health_of({}, {}), Health::kUnknown);

  json::object status = locked();
  status["alarms"] = json::array{alarm("a", "minor")};
  EXPECT_EQ(health_of(status, {}), Health::kOk);
  status["alarms"] = json::array{alarm("a", "major"), alarm("b", "minor")};
  EXPECT_EQ(health_of(status, {}), Health::kWarning);
  status["alarms"] = json::array{alarm("a", "major"), alarm("b", "critical")};
  EXPECT_EQ(health_of(status, {}), Health::kCritical);

  json::object alone = locked();
  alone["time"].as_object()["synchronised"] = false;
  EXPECT_EQ(health_of(alone, {}), Health::kCritical);
}

TEST(StatusHealth, IsOneLineForAPlugin) {
  json::object status = locked();
  status["alarms"] = json::array{alarm("jamming", "major")};
  EXPECT_EQ(plugin_text(status, {std::nullopt, std::chrono::microseconds(10)}),
            "TIMEBALL WARNING - right, within 312 ns, jamming | "
            "error_bound=3.12e-07s;;1e-05;0 offset=0.0001s requests=12345.6 handshakes=0.5\n");
  EXPECT_EQ(plugin_text({}, {}),
            "TIMEBALL UNKNOWN - the daemon does not say what time it serves\n");
}

}  // namespace
}  // namespace timeball::server
