// The tables in the documents are those the code prints: a metric or a setting that is added,
// renamed or changed shows here.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

#include "server/alarms.h"
#include "server/metrics.h"
#include "server/settings.h"

namespace timeball::server {
namespace {

std::string text_of(const std::string& name) {
  const std::string path = TIMEBALL_SOURCE_ROOT "/" + name;
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_FALSE(text.str().empty()) << "cannot read " << path;
  return text.str();
}

void expect_holds(const std::string& name, const std::string& table) {
  EXPECT_NE(text_of(name).find(table), std::string::npos) << "put this in " << name << ":\n"
                                                          << table;
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t found = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; ++at) ++found;
  return found;
}

TEST(Documents, MetricsHoldsTheTableOfMetrics) {
  expect_holds("deploy/METRICS.md", metrics_manual());
}

TEST(Documents, SettingsHoldsTheTableOfSettings) {
  expect_holds("deploy/SETTINGS.md", settings_manual());
}

// Each alarm has an entry in the runbook and an alert of its severity, and neither has others.
TEST(Documents, AlarmsRunbookAndAlertsAgree) {
  const std::string manual = text_of("deploy/OPERATIONS.md");
  const std::string alerts = text_of("deploy/prometheus/alerts.yml");
  for (const AlarmKind& kind : alarm_kinds()) {
    const std::string name(kind.name);
    const std::string label = "alarm: " + name + "\n          severity: ";
    EXPECT_EQ(count(manual, "\n### alarm " + name + "\n"), 1U) << name;
    EXPECT_EQ(count(alerts, label + std::string(name_of(kind.severity)) + "\n"), 1U) << name;
    EXPECT_TRUE(kind.runbook().ends_with("OPERATIONS.md#alarm-" + name));
  }
  EXPECT_EQ(count(manual, "\n### alarm "), alarm_kinds().size());
  EXPECT_EQ(count(alerts, "\n          alarm: "), alarm_kinds().size());
}

}  // namespace
}  // namespace timeball::server
