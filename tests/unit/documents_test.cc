// The tables in the documents are those the code prints: a metric or a setting that is added,
// renamed or changed shows here.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

#include "server/metrics.h"
#include "server/settings.h"

namespace timeball::server {
namespace {

void expect_holds(const std::string& name, const std::string& table) {
  const std::string path = TIMEBALL_SOURCE_ROOT "/" + name;
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  ASSERT_FALSE(text.str().empty()) << "cannot read " << path;
  EXPECT_NE(text.str().find(table), std::string::npos) << "put this in " << name << ":\n" << table;
}

TEST(Documents, MetricsHoldsTheTableOfMetrics) {
  expect_holds("deploy/METRICS.md", metrics_manual());
}

TEST(Documents, SettingsHoldsTheTableOfSettings) {
  expect_holds("deploy/SETTINGS.md", settings_manual());
}

}  // namespace
}  // namespace timeball::server
