#include "server/refclock_options.h"

#include <gtest/gtest.h>

namespace timeball::server {
namespace {

using namespace std::chrono_literals;

Config with_phc(ClockMode mode) {
  Config config;
  config.refclocks.resize(2);
  config.refclocks[0].driver = RefclockDriver::kGnss;
  config.refclocks[1].driver = RefclockDriver::kPhc;
  config.clock.mode = mode;
  return config;
}

TEST(RackOptions, TheKernelsClockIsLeftAloneUnlessTold) {
  const refclock::RackOptions rack = rack_options(with_phc(ClockMode::kSoftware));
  EXPECT_FALSE(rack.steer_kernel);
  EXPECT_EQ(rack.discipline.locked_bound, 500ns);
  EXPECT_EQ(rack.discipline.contract.kernel.phase_noise_ns, 2);
}

TEST(RackOptions, SteeringItIsInTheContractAndInWhatLockedMeans) {
  Config config = with_phc(ClockMode::kSystem);
  const refclock::RackOptions rack = rack_options(config);
  EXPECT_TRUE(rack.steer_kernel);
  EXPECT_EQ(rack.discipline.locked_bound, 800ns);
  EXPECT_EQ(rack.discipline.contract.kernel.phase_noise_ns,
            refclock::KernelContract::steered().phase_noise_ns);
  config.clock.locked_bound = 3us;
  EXPECT_EQ(rack_options(config).discipline.locked_bound, 3us);
}

}  // namespace
}  // namespace timeball::server
