// What /proc/self tells of this process.
#include "server/process_usage.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <thread>

namespace timeball::server {
namespace {

TEST(ProcessUsage, IsThisProcesses) {
  const ProcessFiles files;
  const ProcessUsage usage = files.read();
  EXPECT_NEAR(usage.start_s.value(), static_cast<double>(time(nullptr)), 600);
  EXPECT_GT(usage.resident_bytes.value(), 500'000U);
  EXPECT_GT(usage.virtual_bytes.value(), usage.resident_bytes.value());
  EXPECT_EQ(usage.most_descriptors.value(), static_cast<std::uint64_t>(sysconf(_SC_OPEN_MAX)));
}

TEST(ProcessUsage, CountsDescriptors) {
  const ProcessFiles files;
  const auto before = files.read().open_descriptors.value();
  EXPECT_EQ(files.read().open_descriptors, before);
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(files.read().open_descriptors, before + 1);
  close(null);
  EXPECT_EQ(files.read().open_descriptors, before);
}

TEST(ProcessUsage, CountsThreads) {
  const ProcessFiles files;
  const auto before = files.read().threads.value();
  std::jthread other([](const std::stop_token& stop) {
    while (!stop.stop_requested()) std::this_thread::yield();
  });
  EXPECT_EQ(files.read().threads, before + 1);
}

TEST(ProcessUsage, CpuTimeGrowsWithWork) {
  const ProcessFiles files;
  const double before = files.read().cpu_s.value();
  while (files.read().cpu_s.value() < before + 0.02) {
  }
  EXPECT_LT(files.read().cpu_s.value(), before + 10);
}

}  // namespace
}  // namespace timeball::server
