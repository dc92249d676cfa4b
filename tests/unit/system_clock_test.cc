#include <gtest/gtest.h>
#include <sys/timex.h>

#include <thread>

#include "refclock/refclock.h"

namespace timeball::refclock {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr KernelTime kNow{1'800'000'000'000'000'000};

KernelClock synchronised_kernel() {
  KernelClock kernel;
  kernel.state = TIME_OK;
  kernel.status = STA_PLL;
  kernel.maxerror_us = 2'000;
  return kernel;
}
KernelClock unsynchronised_kernel() {
  KernelClock kernel;
  kernel.state = TIME_ERROR;
  kernel.status = STA_UNSYNC;
  kernel.maxerror_us = 16'000'000;
  return kernel;
}

TEST(SystemClock, UnsynchronisedKernelIsNotServedAsTime) {
  const ClockState state = state_of(unsynchronised_kernel(), {}, kNow);
  EXPECT_FALSE(state.synchronised());
  EXPECT_EQ(state.leap, LeapIndicator::kUnknown);
  EXPECT_EQ(state.stratum, kMaxStratum);
}

TEST(SystemClock, EitherSignOfTimeErrorSuffices) {
  KernelClock kernel = synchronised_kernel();
  kernel.state = TIME_ERROR;
  EXPECT_FALSE(state_of(kernel, {}, kNow).synchronised());
  kernel = synchronised_kernel();
  kernel.status |= STA_UNSYNC;
  EXPECT_FALSE(state_of(kernel, {}, kNow).synchronised());
}

TEST(SystemClock, TrustServesItWithTheOperatorsBound) {
  const SystemClockOptions options{.trust = true, .stratum = 10, .error_bound = milliseconds(7)};
  const ClockState state = state_of(unsynchronised_kernel(), options, kNow);
  EXPECT_TRUE(state.synchronised());
  EXPECT_EQ(state.stratum, 10);
  EXPECT_EQ(state.root_dispersion(kNow), milliseconds(7));
}

TEST(SystemClock, SynchronisedKernelIsServedWithItsMaxerrorNeverLess) {
  const ClockState state = state_of(synchronised_kernel(), {.stratum = 3}, kNow);
  EXPECT_TRUE(state.synchronised());
  EXPECT_EQ(state.stratum, 3);
  EXPECT_GE(state.root_dispersion(kNow), milliseconds(2));
  EXPECT_LE(state.root_dispersion(kNow), milliseconds(3));
  // The kernel's tolerance, 500 ppm, from then on.
  EXPECT_EQ(state.root_dispersion(kNow + seconds(2)) - state.root_dispersion(kNow),
            milliseconds(1));
}

TEST(SystemClock, LeapFlagsPassThrough) {
  KernelClock kernel = synchronised_kernel();
  kernel.state = TIME_INS;
  kernel.status |= STA_INS;
  EXPECT_EQ(state_of(kernel, {}, kNow).leap, LeapIndicator::kInsert);
  kernel.state = TIME_DEL;
  kernel.status = STA_PLL | STA_DEL;
  EXPECT_EQ(state_of(kernel, {}, kNow).leap, LeapIndicator::kDelete);
}

TEST(SystemClock, PrecisionIsTheResolutionInPowersOfTwo) {
  KernelClock kernel = synchronised_kernel();
  kernel.precision_us = 1;
  EXPECT_EQ(state_of(kernel, {}, kNow).precision, -19);  // 1.9 us: the first that is not finer
  kernel.precision_us = 1'000;
  EXPECT_EQ(state_of(kernel, {}, kNow).precision, -9);
}

TEST(SystemClock, ReadsTheRealKernelWithoutRights) {
  const KernelClock kernel = read_kernel_clock();
  EXPECT_GE(kernel.state, TIME_OK);
  EXPECT_LE(kernel.state, TIME_ERROR);
  EXPECT_GT(kernel.tolerance_ppm, 0);
}

// The kernel loses its reference while we serve: within two polls nothing is promised any more.
TEST(SystemClock, PublishesWhatTheKernelSaysNow) {
  static std::atomic<bool> good{true};
  good = true;
  SystemClock clock({}, [] { return good ? synchronised_kernel() : unsynchronised_kernel(); });
  EXPECT_TRUE(clock.state().load().synchronised());
  clock.start();
  good = false;
  for (int i = 0; i < 300 && clock.state().load().synchronised(); ++i) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_FALSE(clock.state().load().synchronised());
}

}  // namespace
}  // namespace timeball::refclock
