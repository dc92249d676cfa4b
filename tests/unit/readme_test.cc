// README.md's tables are those the code prints: a metric that is added or renamed shows here.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

#include "server/metrics.h"

namespace timeball::server {
namespace {

TEST(Readme, HoldsTheTableOfMetricsAsTheCodePrintsIt) {
  std::ifstream file(TIMEBALL_SOURCE_ROOT "/README.md");
  std::stringstream readme;
  readme << file.rdbuf();
  ASSERT_FALSE(readme.str().empty()) << "cannot read " TIMEBALL_SOURCE_ROOT "/README.md";
  EXPECT_NE(readme.str().find(metrics_manual()), std::string::npos) << "put this in README.md:\n"
                                                                    << metrics_manual();
}

}  // namespace
}  // namespace timeball::server
