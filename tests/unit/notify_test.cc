// What makes the watchdog's food; what is told, and to whom, is shown by tests/e2e/test_notify.py.
#include "server/notify.h"

#include <gtest/gtest.h>

namespace timeball::server {
namespace {

TEST(ProgressWatchTest, EveryThreadMustMove) {
  ProgressWatch watch;
  EXPECT_FALSE(watch.all_moved({0, 0}));  // they have not begun
  EXPECT_TRUE(watch.all_moved({1, 5}));
  EXPECT_FALSE(watch.all_moved({1, 5}));
  EXPECT_FALSE(watch.all_moved({2, 5}));  // the first moves, the second hangs
  EXPECT_FALSE(watch.all_moved({900, 5}));
  EXPECT_TRUE(watch.all_moved({900, 6}));  // both have, though not in the same second
  EXPECT_FALSE(watch.all_moved({900, 7}));
}

TEST(ProgressWatchTest, WithoutShardsThereIsNothingToHang) {
  ProgressWatch watch;
  EXPECT_TRUE(watch.all_moved({}));
  EXPECT_TRUE(watch.all_moved({}));
}

}  // namespace
}  // namespace timeball::server
