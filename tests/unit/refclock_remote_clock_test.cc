// The clock's helper and who asks it, over a real socket, above a kernel of the test's own.
#include "refclock/linux/remote_clock.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <initializer_list>
#include <optional>
#include <thread>
#include <vector>

#include "refclock/steering.h"

namespace timeball::refclock {
namespace {

using namespace std::chrono_literals;

class RemoteClockTest : public testing::Test {
 protected:
  RemoteClockTest() {
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends_.data()), 0);
  }
  ~RemoteClockTest() override {
    control_.reset();
    adjust_ = nullptr;  // closes the daemon's end, and so ends the helper
    if (helper_.joinable()) helper_.join();
  }
  void start() {
    helper_ = std::thread([this] {
      serve_clock(ends_[1], [this](timex* t) { return kernel(t); });
      close(ends_[1]);
    });
    adjust_ = remote_clock(ends_[0]);
  }
  // As KernelClockControl asks.
  KernelClockControl& control() {
    if (!control_) control_.emplace(adjust_);
    return *control_;
  }
  int ask(timex t) { return adjust_(&t); }
  int kernel(timex* t) {
    seen_.push_back(*t);
    t->freq = 4711;
    if (refuse_ == 0) return TIME_ERROR;
    errno = refuse_;
    return -1;
  }

  std::array<int, 2> ends_{};
  std::thread helper_;
  KernelClockControl::Adjust adjust_;
  std::optional<KernelClockControl> control_;
  std::vector<timex> seen_;  // by the kernel; read between answers only
  int refuse_ = 0;
};

TEST_F(RemoteClockTest, EverythingThatSteeringDoesGetsThereAsItIs) {
  start();
  ASSERT_EQ(control().frequency(), 4711);
  EXPECT_TRUE(control().set_frequency(-500 * kScaledPpm));
  EXPECT_EQ(seen_.back().modes, ADJ_FREQUENCY);
  EXPECT_EQ(seen_.back().freq, -500 * kScaledPpm);
  EXPECT_TRUE(control().step(-1500ms));
  EXPECT_EQ(seen_.back().modes, ADJ_SETOFFSET | ADJ_NANO);
  EXPECT_EQ(seen_.back().time.tv_sec, -2);
  EXPECT_EQ(seen_.back().time.tv_usec, 500'000'000);
  EXPECT_TRUE(control().set_status({20us, 3us, LeapIndicator::kInsert, 37}));
  EXPECT_EQ(seen_.back().modes, ADJ_STATUS | ADJ_MAXERROR | ADJ_ESTERROR | ADJ_TAI);
  EXPECT_EQ(seen_.back().status, STA_INS);
  EXPECT_EQ(seen_.back().maxerror, 20);
  EXPECT_EQ(seen_.back().esterror, 3);
  EXPECT_EQ(seen_.back().constant, 37);
  EXPECT_TRUE(control().set_status({60s, 60s, LeapIndicator::kDelete, std::nullopt}));
}

TEST_F(RemoteClockTest, TheKernelsRefusalComesBack) {
  start();
  refuse_ = EINVAL;
  timex t{};
  EXPECT_EQ(adjust_(&t), -1);
  EXPECT_EQ(errno, EINVAL);
  refuse_ = EPERM;
  EXPECT_THROW(KernelClockControl{adjust_}, std::runtime_error);
}

timex asking(unsigned modes) {
  timex t{};
  t.modes = modes;
  return t;
}

TEST_F(RemoteClockTest, WhatSteeringNeverAsksForIsNotDone) {
  start();
  std::vector<timex> all;
  for (const long scaled : {500 * kScaledPpm + 1, -500 * kScaledPpm - 1}) {
    all.push_back(asking(ADJ_FREQUENCY));
    all.back().freq = scaled;
  }
  for (const int status : {STA_PLL, STA_NANO, STA_INS | STA_DEL, STA_UNSYNC}) {
    all.push_back(asking(ADJ_STATUS | ADJ_MAXERROR | ADJ_ESTERROR));
    all.back().status = status;
  }
  for (const long error : {-1L, 16'000'001L}) {
    all.push_back(asking(ADJ_STATUS | ADJ_MAXERROR | ADJ_ESTERROR));
    all.back().maxerror = error;
    all.push_back(asking(ADJ_STATUS | ADJ_MAXERROR | ADJ_ESTERROR));
    all.back().esterror = error;
  }
  all.push_back(asking(ADJ_STATUS | ADJ_MAXERROR | ADJ_ESTERROR | ADJ_TAI));
  all.back().constant = -1;
  all.push_back(asking(ADJ_STATUS));  // synchronised, says somebody
  all.push_back(asking(ADJ_OFFSET_SINGLESHOT));
  all.back().offset = 1;
  all.push_back(asking(ADJ_STATUS | ADJ_OFFSET | ADJ_TICK));
  all.back().status = STA_PLL | STA_UNSYNC;
  all.back().tick = 9000;
  for (const long ns : {-1L, 1'000'000'000L}) {
    all.push_back(asking(ADJ_SETOFFSET | ADJ_NANO));
    all.back().time.tv_usec = ns;
  }
  all.push_back(asking(ADJ_SETOFFSET | ADJ_NANO));
  all.back().time.tv_sec = 4'000'000'000;
  for (const unsigned modes : std::initializer_list<unsigned>{
           ADJ_SETOFFSET, ADJ_TICK, ADJ_TAI, ADJ_OFFSET, ADJ_TIMECONST, ADJ_MICRO,
           ADJ_FREQUENCY | ADJ_SETOFFSET | ADJ_NANO, 0xffffffffU}) {
    all.push_back(asking(modes));
  }
  for (const timex& t : all) {
    EXPECT_EQ(ask(t), -1) << t.modes;
    EXPECT_EQ(errno, EPERM) << t.modes;
  }
  EXPECT_TRUE(seen_.empty());
}

TEST_F(RemoteClockTest, ItIsSteppedOnce) {
  start();
  refuse_ = EINVAL;
  EXPECT_EQ(ask(asking(ADJ_SETOFFSET | ADJ_NANO)), -1);  // that was none
  refuse_ = 0;
  EXPECT_GE(ask(asking(ADJ_SETOFFSET | ADJ_NANO)), 0);
  EXPECT_EQ(ask(asking(ADJ_SETOFFSET | ADJ_NANO)), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_GE(ask(asking(ADJ_FREQUENCY)), 0);
}

TEST_F(RemoteClockTest, AHelperThatHasEndedIsARefusalForGood) {
  close(ends_[1]);
  adjust_ = remote_clock(ends_[0]);
  for (int i = 0; i < 2; ++i) {
    errno = 0;
    EXPECT_EQ(ask(asking(0)), -1);
    EXPECT_EQ(errno, EPIPE);
  }
}

TEST_F(RemoteClockTest, WhatIsNoRequestEndsTheHelper) {
  start();
  const char text[] = "GET / HTTP/1.0";
  ASSERT_EQ(send(ends_[0], text, sizeof text, 0), static_cast<ssize_t>(sizeof text));
  helper_.join();  // it has ended by itself
  EXPECT_EQ(ask(asking(0)), -1);
  EXPECT_EQ(errno, EPIPE);
  EXPECT_TRUE(seen_.empty());
}

}  // namespace
}  // namespace timeball::refclock
